package authn

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/token/cache"
	webhookutil "k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/apiserver/plugin/pkg/authenticator/token/webhook"

	"headway.dev/engine/api/outbound"
)

const (
	webhookFile    = "authentication-token-webhook-config-file"
	webhookVersion = "authentication-token-webhook-version"
	webhookTTL     = "authentication-token-webhook-cache-ttl"
)

// webhookTimeout is how long one answer of the webhook may take. All attempts
// together end with the request, and after half a minute at the latest.
const webhookTimeout = 10 * time.Second

// webhookFlags are those of the webhook that is asked about tokens.
type webhookFlags struct {
	file, version string
	ttl           time.Duration
}

func (f *webhookFlags) addFlags(flags *pflag.FlagSet) {
	flags.StringVar(&f.file, webhookFile, "", "kubeconfig of a service that is asked about bearer tokens, by TokenReviews")
	flags.StringVar(&f.version, webhookVersion, "v1beta1", "version of the TokenReviews: v1 or v1beta1")
	flags.DurationVar(&f.ttl, webhookTTL, 2*time.Minute, "how long the service's answers hold")
}

// open makes the client of the webhook; nil without one.
func (f webhookFlags) open() (authenticator.Token, error) {
	if f.file == "" {
		return nil, nil
	}
	if f.ttl < 0 {
		return nil, errors.New("the time that answers hold must not be negative")
	}
	config, err := webhookutil.LoadKubeconfig(f.file, nil)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.file, err)
	}
	config.Timeout = webhookTimeout
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return outbound.WithBoundedAnswers(next, maxAnswer) })
	hook, err := webhook.New(config, f.version, Audiences, *webhook.DefaultRetryBackoff())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.file, err)
	}
	return cache.New(hook, false, f.ttl, f.ttl), nil
}
