// Package gateway gives clusters the definitions of the Gateway API and a GatewayClass of
// Headway's own proxy (nodes/ingress), and tells in the statuses of GatewayClasses, Gateways
// and their routes what is served. What that is decides manifests/gateway.
package gateway

import (
	"context"
	"crypto/tls"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"headway.dev/engine/controllers/control"
	"headway.dev/engine/controllers/ingress"
	"headway.dev/manifests/gateway"
	"headway.dev/manifests/model/object"
)

// Name is the one of the controller in --controllers.
const Name = "gateway-controller"

type controller struct {
	control.Env
	apiPort int32
	// read are the objects as they were read last, by their UID; for one worker alone.
	read map[types.UID]read
	// secrets are what is wrong about certificates, by their Secret.
	secrets map[types.NamespacedName]checked
}

type read struct {
	version string
	object  any
}

type checked struct{ version, problem string }

// New makes the controller. No Gateway gets the API's port.
func New(env control.Env, apiServer netip.AddrPort) control.Controller {
	c := &controller{Env: env, apiPort: int32(apiServer.Port()), read: map[types.UID]read{}, secrets: map[types.NamespacedName]checked{}}
	return control.Controller{
		Name: Name, Workers: 1, Keys: keys,
		Reconcile: func(ctx context.Context, _ object.Key) (time.Duration, error) { return 0, c.reconcile(ctx) },
	}
}

// keys has all looked at after what may change a decision.
func keys(ev object.Event, add func(object.Key)) {
	switch ev.Key.GroupKind {
	case gateway.ClassKind, gateway.GatewayKind, gateway.HTTPRouteKind, gateway.GRPCRouteKind, gateway.GrantKind:
	case control.Service:
		before, _ := ev.Old.(*corev1.Service)
		after, _ := ev.Object.(*corev1.Service)
		if ev.Type == object.Modified && before != nil && after != nil && before.Spec.Type == after.Spec.Type && apiequality.Semantic.DeepEqual(before.Spec.Ports, after.Spec.Ports) {
			return
		}
	case control.Secret:
		if !isTLS(ev.Old) && !isTLS(ev.Object) {
			return
		}
	case control.Namespace:
		if ev.Type == object.Modified && ev.Old != nil && ev.Key != systemNamespace && maps.Equal(ev.Old.GetLabels(), ev.Object.GetLabels()) {
			return
		}
	case control.Node:
		if ev.Type == object.Modified && ingress.Address(ev.Old) == ingress.Address(ev.Object) && agentPort(ev.Old) == agentPort(ev.Object) {
			return
		}
	case definitionKind:
		if crd, ok := ev.Object.(*apiextensionsv1.CustomResourceDefinition); !ok || crd.Spec.Group != gatewayv1.GroupName {
			return
		}
	default:
		return
	}
	add(object.Key{})
}

func isTLS(obj object.Object) bool {
	s, ok := obj.(*corev1.Secret)
	return ok && s != nil && s.Type == corev1.SecretTypeTLS
}

func agentPort(obj object.Object) int32 {
	if n, ok := obj.(*corev1.Node); ok && n != nil {
		return n.Status.DaemonEndpoints.KubeletEndpoint.Port
	}
	return 0
}

func (c *controller) reconcile(ctx context.Context) error {
	if err := c.define(ctx); err != nil {
		return err
	}
	if err := c.makeClass(ctx); err != nil {
		return err
	}
	used := map[types.UID]read{}
	in := gateway.Input{
		Classes: list[gatewayv1.GatewayClass](c, gateway.ClassKind, used), Gateways: list[gatewayv1.Gateway](c, gateway.GatewayKind, used),
		HTTPRoutes: list[gatewayv1.HTTPRoute](c, gateway.HTTPRouteKind, used), GRPCRoutes: list[gatewayv1.GRPCRoute](c, gateway.GRPCRouteKind, used),
		Grants: list[gatewayv1.ReferenceGrant](c, gateway.GrantKind, used),
	}
	c.read = used
	if len(in.Classes)+len(in.Gateways)+len(in.HTTPRoutes)+len(in.GRPCRoutes) == 0 {
		return nil
	}
	nodes, _ := c.Store.List(control.Node, "")
	taken := map[int32]string{22: "SSH", c.apiPort: "the API"}
	for _, n := range nodes {
		if p := agentPort(n); p != 0 {
			taken[p] = "the agent"
		}
	}
	ports := map[int32]types.NamespacedName{}
	services, _ := c.Store.List(control.Service, "")
	for _, obj := range services {
		if svc, ok := obj.(*corev1.Service); ok {
			for _, p := range gateway.NodePorts(svc) {
				ports[p] = types.NamespacedName{Namespace: svc.Namespace, Name: svc.Name}
			}
		}
	}
	in.Taken = gateway.Taken(taken, ports)
	in.Namespaces = map[string]map[string]string{}
	namespaces, _ := c.Store.List(control.Namespace, "")
	for _, ns := range namespaces {
		in.Namespaces[ns.GetName()] = ns.GetLabels()
	}
	in.Service = func(name types.NamespacedName) *corev1.Service {
		return control.Get[corev1.Service](c.Store, object.Key{GroupKind: control.Service, Namespace: name.Namespace, Name: name.Name})
	}
	before := c.secrets
	c.secrets = map[types.NamespacedName]checked{}
	in.Certificate = func(name types.NamespacedName) string { return c.certificate(name, before) }
	return c.write(ctx, in, gateway.Decide(in), ingress.Addresses(nodes))
}

// certificate says what is wrong about a Secret as a certificate.
func (c *controller) certificate(name types.NamespacedName, before map[types.NamespacedName]checked) string {
	s := control.Get[corev1.Secret](c.Store, object.Key{GroupKind: control.Secret, Namespace: name.Namespace, Name: name.Name})
	switch {
	case s == nil:
		return "there is none of that name"
	case s.Type != corev1.SecretTypeTLS:
		return fmt.Sprintf("its type is %q, not %q", s.Type, corev1.SecretTypeTLS)
	}
	now := checked{version: s.ResourceVersion}
	if was, ok := before[name]; ok && was.version == now.version {
		now = was
	} else if _, err := tls.X509KeyPair(s.Data[corev1.TLSCertKey], s.Data[corev1.TLSPrivateKeyKey]); err != nil {
		now.problem = "tls.crt and tls.key are no certificate and its key" // and nothing of what is in them
	}
	c.secrets[name] = now
	return now.problem
}

// list reads all objects of a kind. What cannot be read as one is left out: its schema is
// another than the one that Headway knows.
func list[T any](c *controller, kind schema.GroupKind, used map[types.UID]read) []*T {
	objects, _ := c.Store.List(kind, "")
	out := make([]*T, 0, len(objects))
	for _, obj := range objects {
		u, ok := obj.(*unstructured.Unstructured)
		if !ok {
			continue
		}
		r, known := c.read[u.GetUID()]
		if !known || r.version != u.GetResourceVersion() {
			next := new(T)
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, next); err != nil {
				c.Log.Error("an object of the Gateway API cannot be read", "kind", kind.Kind, "namespace", u.GetNamespace(), "name", u.GetName(), "err", err)
				continue
			}
			r = read{u.GetResourceVersion(), next}
		}
		if t, ok := r.object.(*T); ok {
			used[u.GetUID()] = r
			out = append(out, t)
		}
	}
	return slices.Clip(out)
}

// same reports whether two statuses say the same, whatever the order of their fields.
func same(a, b map[string]any) bool { return reflect.DeepEqual(a, b) }
