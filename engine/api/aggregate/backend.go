package aggregate

import (
	"context"
	"errors"
	"reflect"
	"sync/atomic"
	"time"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"headway.dev/manifests/loop"
)

// refresh is how often a server is asked that nothing is known to have happened to.
const refresh = 30 * time.Second

// again is when a server is asked again that did not answer.
var again = loop.Backoff{First: 100 * time.Millisecond, Last: refresh, Spread: 0.1}

// backend is what is known of the server behind one APIService.
type backend struct {
	*Aggregator
	name    string
	version schema.GroupVersion
	flag    loop.Flag
	stop    context.CancelFunc
	// ended is closed when its loop has ended.
	ended chan struct{}

	// spec is that of the APIService when discovered and told were learned.
	spec       apiregistrationv1.APIServiceSpec
	discovered apidiscoveryv2.APIVersionDiscovery
	etag       string
	told       atomic.Pointer[documents]
}

// behind reports whether a Service is the one of the backend.
func (b *backend) behind(s *apiregistrationv1.APIService, namespace, service string) bool {
	return s != nil && s.Spec.Service != nil && s.Spec.Service.Namespace == namespace && s.Spec.Service.Name == service
}

// look finds out whether the server answers, and what it says of itself.
func (b *backend) look(ctx context.Context) (time.Duration, error) {
	s := b.remote(b.version)
	if s == nil {
		return 0, nil // follow ends the loop
	}
	if !reflect.DeepEqual(b.spec, s.Spec) {
		b.spec, b.etag, b.discovered = s.Spec, "", apidiscoveryv2.APIVersionDiscovery{}
		b.told.Store(nil)
	}
	endpoints, err := b.services.GetEndpointSlices(s.Spec.Service.Namespace, s.Spec.Service.Name)
	if err != nil {
		return 0, err
	}
	c, ok := judge(s, b.service(s), endpoints)
	var failure error
	if ok {
		c = condition(apiregistrationv1.ConditionTrue, "Passed", "all checks passed")
		if failure = b.check(ctx, s); failure != nil {
			c = condition(apiregistrationv1.ConditionFalse, "FailedDiscoveryCheck", failure.Error())
		}
	}
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	// What is noted is what requests go by.
	failure = errors.Join(failure, b.note(ctx, s, c))
	if c.Status != apiregistrationv1.ConditionTrue {
		b.announce(s, apidiscoveryv2.APIVersionDiscovery{}, apidiscoveryv2.DiscoveryFreshnessStale)
		return refresh, failure
	}
	return refresh, errors.Join(failure, b.discover(ctx, s), b.describe(ctx, s))
}
