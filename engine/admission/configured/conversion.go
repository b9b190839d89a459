package configured

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/conversion"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	webhookutil "k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/client-go/rest"

	"headway.dev/manifests/egress"
	"headway.dev/manifests/guard"
	"headway.dev/manifests/model/custom"
	"headway.dev/manifests/model/object"
)

const (
	// mostConverted is how much of the answer of a conversion webhook is read: the
	// objects that it was given are no larger than what the API takes of a request,
	// and another version may need more words.
	mostConverted = 8 << 20
	// patience is for how long a Converter waits for an answer, and resting for how
	// long it asks nothing of a webhook that gave none in that time.
	patience, resting = 5 * time.Second, 10 * time.Second
)

// Conversion returns how conversion webhooks are reached: as those of admission are.
func Conversion(stored object.Reader, policy *egress.Policy, pods Dial) (webhookutil.ServiceResolver, webhookutil.AuthenticationInfoResolverWrapper) {
	return NewServices(stored), guarded(policy, pods, mostConverted)
}

// Converter asks conversion webhooks for who must not wait for long: the syncer, and
// admission of what the process itself writes. A webhook that does not answer is left
// alone for a moment, so that a thousand objects wait for it once.
type Converter struct {
	factory *conversion.CRConverterFactory
	// patience is for how long an answer is waited for.
	patience time.Duration

	mu sync.Mutex
	// silent are the webhooks that gave no answer in time, by their definitions.
	silent map[string]silence
}

// silence is what came of asking in vain, and until when that is taken for an answer.
type silence struct {
	of    *apiextensionsv1.CustomResourceConversion
	err   error
	until time.Time
}

var _ custom.Converter = (*Converter)(nil)

// errPanicked is told of a conversion that panicked, as the log tells.
var errPanicked = errors.New("the conversion was not finished")

// NewConverter returns a Converter that reaches webhooks as the API does.
func NewConverter(stored object.Reader, policy *egress.Policy, pods Dial) (*Converter, error) {
	return newConverter(stored, policy, pods, patience)
}

func newConverter(stored object.Reader, policy *egress.Policy, pods Dial, patience time.Duration) (*Converter, error) {
	resolver, wrapper := Conversion(stored, policy, pods)
	factory, err := conversion.NewCRConverterFactory(resolver, func(inner webhookutil.AuthenticationInfoResolver) webhookutil.AuthenticationInfoResolver {
		return hurried(wrapper(inner), patience)
	})
	if err != nil {
		return nil, fmt.Errorf("set up the conversion webhooks: %w", err)
	}
	return &Converter{factory: factory, patience: patience, silent: map[string]silence{}}, nil
}

// hurried gives clients less time than the library does.
func hurried(inner webhookutil.AuthenticationInfoResolver, patience time.Duration) webhookutil.AuthenticationInfoResolver {
	soon := func(cfg *rest.Config, err error) (*rest.Config, error) {
		if err != nil {
			return nil, err
		}
		cfg = rest.CopyConfig(cfg)
		cfg.Timeout = patience
		return cfg, nil
	}
	return &webhookutil.AuthenticationInfoResolverDelegator{
		ClientConfigForFunc: func(hostPort string) (*rest.Config, error) { return soon(inner.ClientConfigFor(hostPort)) },
		ClientConfigForServiceFunc: func(name, namespace string, port int) (*rest.Config, error) {
			return soon(inner.ClientConfigForService(name, namespace, port))
		},
	}
}

// Convert implements custom.Converter. Once ctx ends it returns; the webhook may still be
// asked for as long as an answer is waited for, by which it is known whether it is silent.
func (c *Converter) Convert(ctx context.Context, crd *apiextensionsv1.CustomResourceDefinition, u *unstructured.Unstructured, version schema.GroupVersion) (*unstructured.Unstructured, error) {
	if err := c.rests(crd); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("conversion webhook for %v was not asked: %w", u.GroupVersionKind(), err)
	}
	type answer struct {
		out *unstructured.Unstructured
		err error
	}
	answered := make(chan answer, 1) // also if nobody waits any more
	given := u.DeepCopy()            // who waits no more may change u
	go guard.Do(ctx, "conversion webhook of "+crd.Name, func() {
		a := answer{err: errPanicked}
		defer func() { answered <- a }()
		a.out, a.err = c.ask(crd, given, version)
	})
	select {
	case a := <-answered:
		return a.out, a.err
	case <-ctx.Done():
		return nil, fmt.Errorf("conversion webhook for %v has not answered: %w", u.GroupVersionKind(), ctx.Err())
	}
}

// ask waits for an answer.
func (c *Converter) ask(crd *apiextensionsv1.CustomResourceDefinition, u *unstructured.Unstructured, version schema.GroupVersion) (*unstructured.Unstructured, error) {
	safe, _, err := c.factory.NewConverter(crd)
	if err != nil {
		return nil, fmt.Errorf("conversion webhook for %v failed: %w", u.GroupVersionKind(), err)
	}
	begun := time.Now()
	converted, err := safe.ConvertToVersion(u, version)
	if err != nil {
		if time.Since(begun) >= c.patience {
			c.rest(crd, err)
		}
		return nil, err
	}
	out, ok := converted.(*unstructured.Unstructured)
	if !ok {
		return nil, fmt.Errorf("conversion webhook for %v failed: unexpected %T", u.GroupVersionKind(), converted)
	}
	return out, nil
}

// rests returns why the webhook of a definition is not asked now.
func (c *Converter) rests(crd *apiextensionsv1.CustomResourceDefinition) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, ok := c.silent[crd.Name]
	switch {
	case !ok:
		return nil
	case s.of != crd.Spec.Conversion && !equality.Semantic.DeepEqual(s.of, crd.Spec.Conversion), time.Now().After(s.until):
		delete(c.silent, crd.Name)
		return nil
	}
	return s.err
}

func (c *Converter) rest(crd *apiextensionsv1.CustomResourceDefinition, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.silent[crd.Name] = silence{crd.Spec.Conversion, err, time.Now().Add(resting)}
}
