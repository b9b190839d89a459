// Package bootstrap maintains the objects that every cluster has: its system
// namespaces and priority classes, the default StorageClass, the IngressClass of Headway's
// own proxy, the Service default/kubernetes with the address of the API, what the servers of aggregated APIs need to know whom requests are
// from, and what machines need to join.
package bootstrap

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	bootstrapapi "k8s.io/cluster-bootstrap/token/api"

	"headway.dev/engine/controllers/control"
	"headway.dev/engine/rbac"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/kinds/networking"
	"headway.dev/manifests/model/kinds/scheduling"
	"headway.dev/manifests/model/kinds/storage"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/nodeconfig"
)

// SystemNamespace is where Headway keeps its own objects.
const SystemNamespace = "headway-system"

const (
	serviceName = "kubernetes"
	portName    = "https"
	servicePort = 443
)

// Options of New.
type Options struct {
	// APIServer is where pods reach the API; the Service is not created if it
	// is not valid.
	APIServer netip.AddrPort
	// ServiceIP is the cluster IP of the Service.
	ServiceIP netip.Addr
	// ClientCA are the authorities of client certificates, and FrontProxyCA those of
	// whoever hands requests on with the names of FrontProxyNames, all PEM. They are
	// not published without the second.
	ClientCA, FrontProxyCA []byte
	FrontProxyNames        []string
	Join                   Join
}

type controller struct {
	control.Env
	Options
}

// New makes the controller.
func New(env control.Env, opts Options) control.Controller {
	c := &controller{env, opts}
	return control.Controller{
		Name: "bootstrap-controller",
		Keys: func(ev object.Event, add func(object.Key)) {
			if c.keeps(ev.Key) {
				add(object.Key{})
			}
		},
		Reconcile: func(ctx context.Context, _ object.Key) (time.Duration, error) { return 0, c.ensure(ctx) },
		Start:     c.ensure,
	}
}

func namespaces() []string {
	return []string{metav1.NamespaceDefault, metav1.NamespaceSystem, metav1.NamespacePublic, corev1.NamespaceNodeLease, SystemNamespace}
}

func (c *controller) keeps(key object.Key) bool {
	switch key.GroupKind {
	case control.PriorityClass:
		return scheduling.IsSystem(key.Name)
	case control.StorageClass:
		return key.Name == storage.LocalClass
	case control.Namespace:
		return slices.Contains(namespaces(), key.Name)
	case control.ConfigMap:
		return key.Namespace == metav1.NamespaceSystem && (key.Name == authenticationName || key.Name == nodeconfig.Name) ||
			key.Namespace == metav1.NamespacePublic && key.Name == bootstrapapi.ConfigMapClusterInfo
	case readerKind, bindingKind:
		return key.Namespace == metav1.NamespaceSystem && (key.Name == rbac.AuthenticationReader || key.Name == nodeConfigRole) ||
			key.Namespace == metav1.NamespacePublic && key.Name == clusterInfoRole
	case control.Service, control.Endpoints, control.EndpointSlice:
		return key.Namespace == metav1.NamespaceDefault && key.Name == serviceName
	}
	return false
}

func (c *controller) ensure(ctx context.Context) error {
	now := c.Now()
	var changes []change.Change
	for _, name := range namespaces() {
		if c.Store.Get(object.Key{GroupKind: control.Namespace, Name: name}) == nil {
			changes = append(changes, change.Absent(change.Create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, now)))
		}
	}
	for _, class := range scheduling.SystemClasses() {
		if c.Store.Get(object.Key{GroupKind: control.PriorityClass, Name: class.Name}) == nil {
			changes = append(changes, change.Absent(change.Create(class, now)))
		}
	}
	if c.Store.Get(object.Key{GroupKind: control.StorageClass, Name: storage.LocalClass}) == nil {
		changes = append(changes, change.Absent(change.Create(storage.Local(), now)))
	}
	changes = append(changes, c.ingressClass(now)...)
	authentication, err := c.authentication(now)
	if err != nil {
		return err
	}
	changes = append(changes, authentication...)
	join, err := c.join(now)
	if err != nil {
		return err
	}
	changes = append(changes, join...)
	if c.APIServer.IsValid() && c.ServiceIP.IsValid() {
		changes = append(changes, c.service(now)...)
	}
	// Not through Env.Commit: at the start the feed does not run yet.
	if len(changes) == 0 {
		return nil
	}
	if _, err := c.Store.Commit(ctx, change.Tx{Changes: changes}); err != nil {
		return fmt.Errorf("create the objects that every cluster has: %w", err)
	}
	return nil
}

// madeIngressClass is the annotation of SystemNamespace that remembers that the cluster
// was given its IngressClass.
const madeIngressClass = "headway.dev/made-ingress-class"

// ingressClass makes the IngressClass of Headway's own proxy, once: whoever changes or
// deletes it is obeyed.
func (c *controller) ingressClass(now time.Time) []change.Change {
	key := object.Key{GroupKind: control.Namespace, Name: SystemNamespace}
	ns := control.Get[corev1.Namespace](c.Store, key)
	if ns == nil || ns.Annotations[madeIngressClass] != "" {
		return nil
	}
	return []change.Change{
		control.Present(change.Patch(key, func(obj object.Object) bool {
			metav1.SetMetaDataAnnotation(&obj.(*corev1.Namespace).ObjectMeta, madeIngressClass, networking.HeadwayClass)
			return true
		})),
		change.Absent(change.Create(networking.Headway(), now)),
	}
}

func (c *controller) service(now time.Time) []change.Change {
	meta := metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: serviceName}
	labeled := func(k, v string) metav1.ObjectMeta {
		m := meta
		m.Labels = map[string]string{k: v}
		return m
	}
	family, slice := corev1.IPv4Protocol, discoveryv1.AddressTypeIPv4
	if c.ServiceIP.Is6() {
		family, slice = corev1.IPv6Protocol, discoveryv1.AddressTypeIPv6
	}
	port := int32(c.APIServer.Port())
	address := c.APIServer.Addr().String()
	subsets := []corev1.EndpointSubset{{
		Addresses: []corev1.EndpointAddress{{IP: address}},
		Ports:     []corev1.EndpointPort{{Name: portName, Port: port, Protocol: corev1.ProtocolTCP}},
	}}
	endpoints := []discoveryv1.Endpoint{{Addresses: []string{address}, Conditions: discoveryv1.EndpointConditions{Ready: new(true)}}}
	ports := []discoveryv1.EndpointPort{{Name: new(portName), Port: &port, Protocol: new(corev1.ProtocolTCP)}}

	var changes []change.Change
	key := func(o object.Key) object.Key { o.Namespace, o.Name = meta.Namespace, meta.Name; return o }
	wantPorts := []corev1.ServicePort{{Name: portName, Protocol: corev1.ProtocolTCP, Port: servicePort, TargetPort: intstr.FromInt32(port)}}
	if svc := control.Get[corev1.Service](c.Store, key(object.Key{GroupKind: control.Service})); svc == nil {
		changes = append(changes, change.Create(&corev1.Service{
			ObjectMeta: func() metav1.ObjectMeta {
				m := labeled("component", "apiserver")
				m.Labels["provider"] = "kubernetes"
				return m
			}(),
			Spec: corev1.ServiceSpec{
				Type: corev1.ServiceTypeClusterIP, ClusterIP: c.ServiceIP.String(), ClusterIPs: []string{c.ServiceIP.String()},
				IPFamilies: []corev1.IPFamily{family}, IPFamilyPolicy: new(corev1.IPFamilyPolicySingleStack), Ports: wantPorts,
			},
		}, now))
	} else if !apiequality.Semantic.DeepEqual(svc.Spec.Ports, wantPorts) {
		changes = append(changes, control.Present(change.Patch(key(object.Key{GroupKind: control.Service}), func(obj object.Object) bool {
			obj.(*corev1.Service).Spec.Ports = wantPorts
			return true
		})))
	}
	if ep := control.Get[corev1.Endpoints](c.Store, key(object.Key{GroupKind: control.Endpoints})); ep == nil {
		changes = append(changes, change.Create(&corev1.Endpoints{ObjectMeta: labeled(discoveryv1.LabelSkipMirror, "true"), Subsets: subsets}, now))
	} else if !apiequality.Semantic.DeepEqual(ep.Subsets, subsets) {
		changes = append(changes, control.Present(change.Patch(key(object.Key{GroupKind: control.Endpoints}), func(obj object.Object) bool {
			obj.(*corev1.Endpoints).Subsets = subsets
			return true
		})))
	}
	if es := control.Get[discoveryv1.EndpointSlice](c.Store, key(object.Key{GroupKind: control.EndpointSlice})); es == nil {
		changes = append(changes, change.Create(&discoveryv1.EndpointSlice{
			ObjectMeta:  labeled(discoveryv1.LabelServiceName, serviceName),
			AddressType: slice, Endpoints: endpoints, Ports: ports,
		}, now))
	} else if !apiequality.Semantic.DeepEqual(es.Endpoints, endpoints) || !apiequality.Semantic.DeepEqual(es.Ports, ports) {
		changes = append(changes, control.Present(change.Patch(key(object.Key{GroupKind: control.EndpointSlice}), func(obj object.Object) bool {
			s := obj.(*discoveryv1.EndpointSlice)
			s.Endpoints, s.Ports = endpoints, ports
			return true
		})))
	}
	return changes
}
