package configured

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/util/proxy"
	webhookutil "k8s.io/apiserver/pkg/util/webhook"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/rest"

	"headway.dev/manifests/egress"
	"headway.dev/manifests/model/object"
)

const (
	// mostAnswer is how much of an answer is read: a patch is no larger than what
	// the API takes of a request.
	mostAnswer = 3 << 20
	// dialTimeout bounds the attempt to reach one address.
	dialTimeout = 10 * time.Second
)

// never are the addresses that no endpoint of a Service may have: users may write
// EndpointSlices. Others are the cluster's own.
var never = sync.OnceValues(func() (*egress.Policy, error) { return egress.Parse([]string{"link-local", "metadata"}) })

// guarded makes the clients of webhooks careful, which read no more than most bytes
// of an answer.
func guarded(policy *egress.Policy, pods Dial, most int64) webhookutil.AuthenticationInfoResolverWrapper {
	known := &debts{}
	return func(inner webhookutil.AuthenticationInfoResolver) webhookutil.AuthenticationInfoResolver {
		careful := func(cfg *rest.Config, err error, dial func(context.Context, string, string) (net.Conn, error)) (*rest.Config, error) {
			if err != nil {
				return nil, err
			}
			cfg = rest.CopyConfig(cfg)
			cfg.Dial = dial
			// A proxy of the environment would dial in our place.
			cfg.Proxy = func(*http.Request) (*url.URL, error) { return nil, nil }
			cfg.Wrap(func(rt http.RoundTripper) http.RoundTripper { return patient{bounded{rt, most}, known} })
			return cfg, nil
		}
		return &webhookutil.AuthenticationInfoResolverDelegator{
			ClientConfigForFunc: func(hostPort string) (*rest.Config, error) {
				cfg, err := inner.ClientConfigFor(hostPort)
				return careful(cfg, err, dial(policy))
			},
			ClientConfigForServiceFunc: func(name, namespace string, port int) (*rest.Config, error) {
				cfg, err := inner.ClientConfigForService(name, namespace, port)
				return careful(cfg, err, DialService(policy, pods))
			},
		}
	}
}

func dial(policy *egress.Policy) func(context.Context, string, string) (net.Conn, error) {
	return policy.Dialer(dialTimeout).DialContext
}

// Dial connects to an address, as net.Dialer's DialContext.
type Dial func(ctx context.Context, network, address string) (net.Conn, error)

// DialService dials the endpoint of a Service by pods, which may be nil, or the name that
// one stands for, which is as any other URL.
func DialService(policy *egress.Policy, pods Dial) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		at, err := netip.ParseAddrPort(address)
		if err != nil {
			return dial(policy)(ctx, network, address)
		}
		inside, err := never()
		if err != nil {
			return nil, err
		}
		if pods == nil {
			return dial(inside)(ctx, network, address)
		}
		if err := inside.Check(at.Addr()); err != nil {
			return nil, err
		}
		return pods(ctx, network, address)
	}
}

// bounded follows no redirect, and reads a part of the answer at most.
type bounded struct {
	http.RoundTripper
	most int64
}

// RoundTrip implements http.RoundTripper.
func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := b.RoundTripper.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if res.StatusCode >= 300 && res.StatusCode < 400 {
		_ = res.Body.Close()
		return nil, fmt.Errorf("the webhook answered with a redirect (%s), which is not followed", res.Status)
	}
	res.Body = &body{ReadCloser: res.Body, left: b.most, most: b.most}
	return res, nil
}

// WrappedRoundTripper implements net.RoundTripperWrapper.
func (b bounded) WrappedRoundTripper() http.RoundTripper { return b.RoundTripper }

type body struct {
	io.ReadCloser
	left, most int64
	// done is called once the answer is read; nil: nobody waits for that.
	done func()
}

// Close implements io.Closer.
func (b *body) Close() error {
	if b.done != nil {
		b.done()
	}
	return b.ReadCloser.Close()
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, fmt.Errorf("the webhook's answer is larger than %d bytes", b.most)
	}
	return n, err
}

var (
	serviceKind = schema.GroupKind{Kind: "Service"}
	sliceKind   = schema.GroupKind{Group: discoveryv1.GroupName, Kind: "EndpointSlice"}
)

// Services finds the endpoints of Services in the store, so that what is behind one
// is reached as soon as its pod is ready, whether or not a proxy runs on this machine.
type Services struct{ stored object.Reader }

// NewServices returns the Services of a store.
func NewServices(stored object.Reader) Services { return Services{stored} }

// ResolveEndpoint implements webhookutil.ServiceResolver.
func (s Services) ResolveEndpoint(namespace, name string, port int32) (*url.URL, error) {
	lister := oneService{stored: s.stored, namespace: namespace}
	svc, err := lister.Get(name)
	if err != nil {
		return nil, err
	}
	if svc.Spec.Type == corev1.ServiceTypeExternalName {
		// An address would be taken for that of an endpoint, which more may be dialled of.
		if _, err := netip.ParseAddr(svc.Spec.ExternalName); err == nil {
			return nil, fmt.Errorf("the Service %s/%s stands for the address %s, and not for a name: use clientConfig.url for it", namespace, name, svc.Spec.ExternalName)
		}
		return proxy.ResolveCluster(lister, namespace, name, port)
	}
	return proxy.ResolveEndpoint(lister, s, namespace, name, port)
}

// GetEndpointSlices implements proxy.EndpointSliceGetter.
func (s Services) GetEndpointSlices(namespace, service string) ([]*discoveryv1.EndpointSlice, error) {
	all, _ := s.stored.List(sliceKind, namespace)
	var out []*discoveryv1.EndpointSlice
	for _, obj := range all {
		if slice, ok := obj.(*discoveryv1.EndpointSlice); ok && slice.Labels[discoveryv1.LabelServiceName] == service {
			out = append(out, slice)
		}
	}
	return out, nil
}

// oneService implements corelisters.ServiceLister and its lister of one namespace.
type oneService struct {
	corelisters.ServiceListerExpansion
	corelisters.ServiceNamespaceListerExpansion
	stored    object.Reader
	namespace string
}

// List implements corelisters.ServiceLister. Nobody lists.
func (s oneService) List(labels.Selector) ([]*corev1.Service, error) { return nil, nil }

// Services implements corelisters.ServiceLister.
func (s oneService) Services(namespace string) corelisters.ServiceNamespaceLister {
	s.namespace = namespace
	return s
}

// Get implements corelisters.ServiceNamespaceLister.
func (s oneService) Get(name string) (*corev1.Service, error) {
	if svc, ok := s.stored.Get(object.Key{GroupKind: serviceKind, Namespace: s.namespace, Name: name}).(*corev1.Service); ok {
		return svc, nil
	}
	return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "services"}, name)
}
