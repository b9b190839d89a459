package authz

import (
	"fmt"
	"net/http"
	"time"

	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	authorizationcel "k8s.io/apiserver/pkg/authorization/cel"
	webhookutil "k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/apiserver/plugin/pkg/authorizer/webhook"
	webhookmetrics "k8s.io/apiserver/plugin/pkg/authorizer/webhook/metrics"

	"headway.dev/engine/api/outbound"
)

const (
	// webhookTimeout is how long a webhook of flags may take to answer.
	webhookTimeout = 30 * time.Second
	// maxAnswer bounds what it answers, in bytes.
	maxAnswer = 1 << 20
)

// hookMetrics are those that kube-apiserver has.
type hookMetrics struct {
	webhookmetrics.NoopRequestMetrics
	webhookmetrics.WebhookMetrics
	authorizationcel.MatcherMetrics
}

// webhooks makes the clients of a configuration's webhooks, by their names.
func webhooks(config *apiserver.AuthorizationConfiguration) (map[string]*webhook.WebhookAuthorizer, error) {
	made := map[string]*webhook.WebhookAuthorizer{}
	var compiler authorizationcel.Compiler
	for _, a := range config.Authorizers {
		if a.Type != modeWebhook {
			continue
		}
		if compiler == nil {
			compiler = authorizationcel.NewDefaultCompiler()
		}
		hook, err := newWebhook(a.Name, *a.Webhook, compiler)
		if err != nil {
			return nil, fmt.Errorf("authorizer %s: %w", a.Name, err)
		}
		made[a.Name] = hook
	}
	return made, nil
}

func newWebhook(name string, w apiserver.WebhookConfiguration, compiler authorizationcel.Compiler) (*webhook.WebhookAuthorizer, error) {
	client, err := webhookutil.LoadKubeconfig(*w.ConnectionInfo.KubeConfigFile, nil)
	if err != nil {
		return nil, err
	}
	client.Timeout = w.Timeout.Duration
	client.Wrap(func(next http.RoundTripper) http.RoundTripper { return outbound.WithBoundedAnswers(next, maxAnswer) })
	allowed, notAllowed := w.AuthorizedTTL.Duration, w.UnauthorizedTTL.Duration
	if !w.CacheAuthorizedRequests {
		allowed = 0
	}
	if !w.CacheUnauthorizedRequests {
		notAllowed = 0
	}
	onError := authorizer.DecisionNoOpinion
	if w.FailurePolicy == apiserver.FailurePolicyDeny {
		onError = authorizer.DecisionDeny
	}
	return webhook.New(client, w.SubjectAccessReviewVersion, allowed, notAllowed, *webhook.DefaultRetryBackoff(), onError, w.MatchConditions, name,
		hookMetrics{WebhookMetrics: webhookmetrics.NewWebhookMetrics(), MatcherMetrics: authorizationcel.NewMatcherMetrics()}, compiler)
}
