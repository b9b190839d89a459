package encryption

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/server/healthz"
	"k8s.io/apiserver/pkg/server/options/encryptionconfig"
	"k8s.io/apiserver/pkg/storage/value"
)

// providers are those of an EncryptionConfiguration.
type providers struct {
	path         string
	transformers encryptionconfig.StaticTransformers
	checks       []healthz.HealthChecker
	// stop ends what speaks with KMS plugins.
	stop context.CancelFunc
}

// loadProviders reads an EncryptionConfiguration; without a path it has no
// providers.
func loadProviders(path string) (p providers, err error) {
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
	return providers{path: path, transformers: loaded.Transformers, checks: loaded.HealthChecks, stop: stop}, nil
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
