package audit

import (
	"net/http"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	"k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// secret reports whether requests to a resource have Secrets or tokens in them.
func secret(group, resource, subresource string) bool {
	switch {
	case group == "" && resource == "secrets",
		group == "" && resource == "serviceaccounts" && subresource == "token",
		group == "authentication.k8s.io" && resource == "tokenreviews":
		return true
	}
	return false
}

// closed logs no more than the metadata of requests with Secrets or tokens,
// whatever the policy says.
type closed struct{ audit.PolicyRuleEvaluator }

// EvaluatePolicyRule implements audit.PolicyRuleEvaluator.
func (c closed) EvaluatePolicyRule(a authorizer.Attributes) audit.RequestAuditConfig {
	config := c.PolicyRuleEvaluator.EvaluatePolicyRule(a)
	if a.IsResourceRequest() && secret(a.GetAPIGroup(), a.GetResource(), a.GetSubresource()) && auditinternal.LevelMetadata.Less(config.Level) {
		config.Level = auditinternal.LevelMetadata
	}
	return config
}

// redacted takes out of events about Secrets and tokens what may quote them: a
// decoder's or a webhook's message, and the annotations of policies.
type redacted struct{ audit.Backend }

// ProcessEvents implements audit.Backend.
func (r redacted) ProcessEvents(events ...*auditinternal.Event) bool {
	events = slices.Clone(events) // they are their caller's
	for i, e := range events {
		if ref := e.ObjectRef; ref != nil && secret(ref.APIGroup, ref.Resource, ref.Subresource) {
			events[i] = redact(e)
		}
	}
	return r.Backend.ProcessEvents(events...)
}

// libraryAnnotations begin the annotations that quote no object.
var libraryAnnotations = []string{"authorization.k8s.io/", "authentication.k8s.io/", "authentication.kubernetes.io/", "apiserver.latency.k8s.io/"}

func redact(e *auditinternal.Event) *auditinternal.Event {
	next := *e
	next.RequestObject, next.ResponseObject = nil, nil
	if e.ResponseStatus != nil && quotes(e) {
		next.ResponseStatus = &metav1.Status{Status: e.ResponseStatus.Status, Reason: e.ResponseStatus.Reason, Code: e.ResponseStatus.Code}
	}
	next.Annotations = map[string]string{}
	for name, value := range e.Annotations {
		if slices.ContainsFunc(libraryAnnotations, func(prefix string) bool { return strings.HasPrefix(name, prefix) }) {
			next.Annotations[name] = value
		}
	}
	return &next
}

// quotes reports whether the message of a response may have something of the
// request's body in it.
func quotes(e *auditinternal.Event) bool {
	switch code := e.ResponseStatus.Code; code {
	case http.StatusUnauthorized: // a plugin, whose message may say anything, is asked after authorization
		return e.Annotations["authorization.k8s.io/decision"] != ""
	case http.StatusForbidden:
		return e.Annotations["authorization.k8s.io/decision"] != "forbid"
	default:
		return code >= http.StatusMultipleChoices
	}
}
