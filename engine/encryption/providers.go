package encryption

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/server/healthz"
	"k8s.io/apiserver/pkg/server/options/encryptionconfig"
	"k8s.io/apiserver/pkg/storage/value"

	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

// providers are those of an EncryptionConfiguration.
type providers struct {
	path         string
	kinds        *scheme.Registry
	transformers encryptionconfig.StaticTransformers
	checks       []healthz.HealthChecker
	// stop ends what speaks with KMS plugins.
	stop context.CancelFunc
}

// loadProviders reads the EncryptionConfiguration; without one there are no
// providers.
func loadProviders(cfg Config) (p providers, err error) {
	path := cfg.ProviderConfig
	if path == "" {
		return providers{stop: func() {}}, nil
	}
	ctx, stop := context.WithCancel(context.Background())
	// Without the library's reloading: a rotation reads the file again, and
	// encrypts everything anew.
	loaded, err := encryptionconfig.LoadEncryptionConfig(ctx, path, false, "")
	if err != nil {
		stop()
		return p, fmt.Errorf("--encryption-provider-config %s: %w", path, err)
	}
	return providers{path: path, kinds: cfg.Kinds, transformers: loaded.Transformers, checks: loaded.HealthChecks, stop: stop}, nil
}

// provider returns the one for a resource; nil if the file does not name it.
func (p providers) provider(r schema.GroupResource) value.Transformer {
	for _, named := range []schema.GroupResource{r, {Group: r.Group, Resource: "*"}, {Group: "*", Resource: "*"}} {
		if p.transformers[named] != nil {
			return p.transformers.TransformerForResource(r)
		}
	}
	return nil
}

// custom finds how custom resources of a kind are encrypted. Of one that comes in the
// same transaction as its definition, and of one whose definition is gone, the name
// of the resource is not known: they are encrypted if the file names anything that
// they may be.
func (p providers) custom(kind schema.GroupKind) route {
	if len(p.transformers) == 0 {
		return route{}
	}
	if k, ok := p.kinds.ForKind(kind); ok {
		return route{provider: p.provider(k.Resource().GroupResource())}
	}
	r := route{guessed: true}
	guess, _ := meta.UnsafeGuessKindToResource(kind.WithVersion(""))
	if r.provider = p.provider(guess.GroupResource()); r.provider == nil {
		for _, t := range p.ofGroup(kind.Group) {
			r.provider = t
			break
		}
	}
	return r
}

// ofGroup returns the providers that may be those of a custom resource of a group, in
// the order of their resources.
func (p providers) ofGroup(group string) []value.Transformer {
	var list []value.Transformer
	for _, r := range slices.SortedFunc(maps.Keys(p.transformers), func(a, b schema.GroupResource) int { return strings.Compare(a.Resource, b.Resource) }) {
		if r.Group == group || r.Group == "*" {
			list = append(list, p.transformers[r])
		}
	}
	return list
}

// otherwise decrypts a custom resource that was encrypted when its definition was not
// known yet, or was another one.
func (p providers) otherwise(k object.Key, data []byte) ([]byte, bool) {
	if _, own := scheme.ForKind(k.GroupKind); own {
		return nil, false
	}
	for _, t := range p.ofGroup(k.Group) {
		// Of two keys of one name, the wrong one makes nonsense of it.
		if plain, _, err := t.TransformFromStorage(context.Background(), data, about(k)); err == nil && json.Valid(plain) {
			return plain, true
		}
	}
	return nil, false
}

// healthy returns an error if a KMS plugin does not work.
func (p providers) healthy(ctx context.Context) error {
	if len(p.checks) == 0 {
		return nil
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "/readyz/kms-providers", http.NoBody)
	if err != nil {
		return err
	}
	var errs []error
	for _, check := range p.checks {
		errs = append(errs, check.Check(request))
	}
	return errors.Join(errs...)
}
