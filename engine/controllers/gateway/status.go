package gateway

import (
	"context"
	"errors"
	"fmt"
	"slices"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"headway.dev/engine/controllers/control"
	"headway.dev/manifests/gateway"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

// write tells in the statuses what was decided.
func (c *controller) write(ctx context.Context, in gateway.Input, d *gateway.Decision, addresses []string) error {
	var changes []change.Change
	var faults []error
	add := func(kind schema.GroupKind, obj metav1.Object, status any) {
		one, err := c.tell(kind, obj, status)
		if err != nil {
			faults = append(faults, err)
		}
		if one != nil {
			changes = append(changes, *one)
		}
	}
	version := c.version()
	now := metav1.NewTime(c.Now())
	for _, class := range in.Classes {
		if gateway.Own(class) {
			status := class.Status.DeepCopy()
			status.Conditions = merge(class.Status.Conditions, gateway.ClassConditions(class, version), now)
			status.SupportedFeatures = features()
			add(gateway.ClassKind, class, status)
		}
	}
	for _, g := range slices.Concat(d.Gateways, d.Abandoned) {
		status := gateway.StatusOf(g, addresses)
		status.Conditions = merge(g.Status.Conditions, status.Conditions, now)
		status.AttachedListenerSets = g.Status.AttachedListenerSets
		for i := range status.Listeners {
			l := &status.Listeners[i]
			for _, was := range g.Status.Listeners {
				if was.Name == l.Name {
					l.Conditions = merge(was.Conditions, l.Conditions, now)
				}
			}
			l.Conditions = merge(nil, l.Conditions, now)
		}
		add(gateway.GatewayKind, g, &status)
	}
	for _, r := range d.Routes {
		if status := routeStatus(r, now); status != nil {
			add(r.Kind, r, status)
		}
	}
	for i, err := range c.CommitEach(ctx, changes) {
		if err != nil {
			faults = append(faults, fmt.Errorf("tell what is served in the status of %s: %w", changes[i].Key, err))
		}
	}
	return errors.Join(faults...)
}

// version is that of the definitions, or that of the first one of another version than
// Headway's.
func (c *controller) version() string {
	for _, plural := range []string{"gatewayclasses", "gateways", "httproutes", "grpcroutes", "referencegrants"} {
		version := ""
		if crd := control.Get[apiextensionsv1.CustomResourceDefinition](c.Store, object.Key{GroupKind: definitionKind, Name: plural + "." + gatewayv1.GroupName}); crd != nil {
			version = crd.Annotations[bundleVersion]
		}
		if version != gateway.Version {
			return version
		}
	}
	return gateway.Version
}

// routeStatus is nil if there is nothing of Headway's in it, and was not before.
func routeStatus(r *gateway.Route, now metav1.Time) *gatewayv1.RouteStatus {
	var before []gatewayv1.RouteParentStatus
	if r.HTTP != nil {
		before = r.HTTP.Status.Parents
	} else {
		before = r.GRPC.Status.Parents
	}
	list := r.ParentStatuses()
	own := len(r.Parents) > 0
	for _, was := range before {
		own = own || was.ControllerName == gateway.Controller
		for i := range list {
			if list[i].ControllerName == gateway.Controller && was.ControllerName == gateway.Controller && sameRef(list[i].ParentRef, was.ParentRef) {
				list[i].Conditions = merge(was.Conditions, list[i].Conditions, now)
			}
		}
	}
	if !own {
		return nil
	}
	for i := range list {
		list[i].Conditions = merge(nil, list[i].Conditions, now)
	}
	return &gatewayv1.RouteStatus{Parents: list}
}

func sameRef(a, b gatewayv1.ParentReference) bool {
	text := func(r gatewayv1.ParentReference) string {
		s := string(r.Name)
		if r.Namespace != nil {
			s += " in " + string(*r.Namespace)
		}
		if r.SectionName != nil {
			s += " at " + string(*r.SectionName)
		}
		if r.Port != nil {
			s += fmt.Sprint(" on ", *r.Port)
		}
		return s
	}
	return text(a) == text(b)
}

// merge gives conditions the times since when they hold, and keeps those of other types.
func merge(before, next []metav1.Condition, now metav1.Time) []metav1.Condition {
	out := make([]metav1.Condition, 0, len(next))
	for _, c := range next {
		if c.LastTransitionTime.IsZero() { // it has none yet
			if was := meta.FindStatusCondition(before, c.Type); was != nil && was.Status == c.Status {
				c.LastTransitionTime = was.LastTransitionTime
			} else {
				c.LastTransitionTime = now
			}
		}
		out = append(out, c)
	}
	for _, was := range before {
		if meta.FindStatusCondition(next, was.Type) == nil {
			out = append(out, was)
		}
	}
	return out
}

// tell is the change of a status, if there is one.
func (c *controller) tell(kind schema.GroupKind, obj metav1.Object, status any) (*change.Change, error) {
	next, err := runtime.DefaultUnstructuredConverter.ToUnstructured(status)
	if err != nil {
		return nil, fmt.Errorf("write the status of the %s %s/%s: %w", kind.Kind, obj.GetNamespace(), obj.GetName(), err)
	}
	uid, version := obj.GetUID(), obj.GetResourceVersion()
	key := object.Key{GroupKind: kind, Namespace: obj.GetNamespace(), Name: obj.GetName()}
	stored, ok := c.Store.Get(key).(*unstructured.Unstructured)
	if !ok {
		return nil, nil //nolint:nilnil // it is gone, and there is nothing to tell
	}
	if now, _, _ := unstructured.NestedMap(stored.Object, "status"); same(now, next) {
		return nil, nil //nolint:nilnil // nothing has changed
	}
	out := control.Present(change.PatchStatus(key, func(obj object.Object) bool {
		u, ok := obj.(*unstructured.Unstructured)
		if !ok || u.GetUID() != uid || u.GetResourceVersion() != version {
			return false // its event is on the way; another controller may have written its part
		}
		u.Object["status"] = runtime.DeepCopyJSON(next)
		return true
	}))
	return &out, nil
}

// features are those of the Gateway API beyond what every implementation has, and those that
// it has, sorted.
func features() []gatewayv1.SupportedFeature {
	var list []gatewayv1.SupportedFeature
	for _, name := range []gatewayv1.FeatureName{
		"GRPCRoute", "GRPCRouteNamedRouteRule", "Gateway", "GatewayHTTPListenerIsolation", "GatewayPort8080", "HTTPRoute",
		"HTTPRoute303RedirectStatusCode", "HTTPRoute307RedirectStatusCode", "HTTPRoute308RedirectStatusCode",
		"HTTPRouteBackendProtocolH2C", "HTTPRouteBackendProtocolWebSocket", "HTTPRouteBackendRequestHeaderModification",
		"HTTPRouteBackendTimeout", "HTTPRouteDestinationPortMatching", "HTTPRouteHostRewrite", "HTTPRouteMethodMatching",
		"HTTPRouteNamedRouteRule", "HTTPRouteParentRefPort", "HTTPRoutePathRedirect", "HTTPRoutePathRewrite", "HTTPRoutePortRedirect",
		"HTTPRouteQueryParamMatching", "HTTPRouteRequestMirror", "HTTPRouteRequestMultipleMirrors", "HTTPRouteRequestPercentageMirror",
		"HTTPRouteRequestTimeout", "HTTPRouteResponseHeaderModification", "HTTPRouteSchemeRedirect", "ReferenceGrant",
	} {
		list = append(list, gatewayv1.SupportedFeature{Name: name})
	}
	return list
}
