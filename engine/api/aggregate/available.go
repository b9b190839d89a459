package aggregate

import (
	"context"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/kube-aggregator/pkg/apis/apiregistration/v1/helper"

	"headway.dev/manifests/guard"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

// attempts is how many answers are asked for at a time, of which one is enough: some
// endpoints may be gone.
const attempts = 5

const (
	// asker is who asks whether a server answers, and for its discovery.
	asker = "system:kube-aggregator"
	// mayAll is the group that makes sure that it is answered.
	mayAll = "system:masters"
)

// judge tells in Kubernetes' words why an APIService is not available, as far as the
// objects show that. ok: they show nothing.
func judge(s *apiregistrationv1.APIService, svc *corev1.Service, endpoints []*discoveryv1.EndpointSlice) (c apiregistrationv1.APIServiceCondition, ok bool) {
	ref := s.Spec.Service
	no := func(reason, format string, args ...any) (apiregistrationv1.APIServiceCondition, bool) {
		return condition(apiregistrationv1.ConditionFalse, reason, fmt.Sprintf(format, args...)), false
	}
	if svc == nil {
		return no("ServiceNotFound", "service/%s in %q is not present", ref.Name, ref.Namespace)
	}
	if svc.Spec.Type != corev1.ServiceTypeClusterIP {
		return c, true
	}
	at := slices.IndexFunc(svc.Spec.Ports, func(p corev1.ServicePort) bool { return p.Port == *ref.Port })
	if at < 0 {
		return no("ServicePortError", "service/%s in %q is not listening on port %d", ref.Name, ref.Namespace, *ref.Port)
	}
	if len(endpoints) == 0 {
		return no("EndpointsNotFound", "cannot find endpointslices for service/%s in %q", ref.Name, ref.Namespace)
	}
	port := svc.Spec.Ports[at].Name
	if !slices.ContainsFunc(endpoints, func(s *discoveryv1.EndpointSlice) bool { return serves(s, port) }) {
		return no("MissingEndpoints", "endpointslices for service/%s in %q have no addresses with port name %q", ref.Name, ref.Namespace, port)
	}
	return c, true
}

// serves reports whether a slice has a ready endpoint with a port of a name.
func serves(s *discoveryv1.EndpointSlice, port string) bool {
	return slices.ContainsFunc(s.Endpoints, func(e discoveryv1.Endpoint) bool { return e.Conditions.Ready == nil || *e.Conditions.Ready }) &&
		slices.ContainsFunc(s.Ports, func(p discoveryv1.EndpointPort) bool { return p.Name != nil && *p.Name == port && p.Port != nil })
}

func condition(status apiregistrationv1.ConditionStatus, reason, message string) apiregistrationv1.APIServiceCondition {
	return apiregistrationv1.APIServiceCondition{
		Type: apiregistrationv1.Available, Status: status, LastTransitionTime: metav1.NewTime(time.Now().Truncate(time.Second)), Reason: reason, Message: message,
	}
}

// check returns why the server of an APIService does not answer, nil if it does.
func (b *backend) check(ctx context.Context, s *apiregistrationv1.APIService) error {
	results := make(chan error, attempts)
	var all sync.WaitGroup
	defer all.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for range attempts {
		all.Go(func() {
			results <- guard.Call(ctx, "ask the API server of "+b.name, func() error { return b.answers(ctx, s) })
		})
	}
	var last error
	for range attempts {
		if last = <-results; last == nil {
			return nil
		}
	}
	return last
}

// answers asks one endpoint for what every server of a group version has to serve.
func (b *backend) answers(ctx context.Context, s *apiregistrationv1.APIService) error {
	got, err := b.ask(ctx, s, question{path: "/apis/" + s.Spec.Group + "/" + s.Spec.Version, user: asker, groups: []string{mayAll}})
	if err == nil && (got.status < http.StatusOK || got.status >= http.StatusMultipleChoices) {
		err = fmt.Errorf("bad status from %s: %d", got.location, got.status)
	}
	if err != nil && got.location != "" {
		err = fmt.Errorf("failing or missing response from %s: %w", got.location, err)
	}
	return err
}

// note stores a condition of an APIService that is still the one which was judged.
func (b *backend) note(ctx context.Context, judged *apiregistrationv1.APIService, c apiregistrationv1.APIServiceCondition) error {
	edit := change.PatchStatus(object.Key{GroupKind: kind, Name: b.name}, func(obj object.Object) bool {
		s, ok := obj.(*apiregistrationv1.APIService)
		if !ok || s.UID != judged.UID || !reflect.DeepEqual(s.Spec, judged.Spec) {
			return false
		}
		helper.SetAPIServiceCondition(s, c)
		return true
	})
	if _, err := b.Store.Commit(ctx, change.Tx{Changes: []change.Change{present(edit)}}); err != nil {
		return fmt.Errorf("note whether %s is available: %w", b.name, err)
	}
	now := judged.DeepCopy()
	helper.SetAPIServiceCondition(now, c)
	b.availability.SetUnavailableCounter(judged, now)
	return nil
}
