package api

import (
	"net/http"
	"strings"

	"k8s.io/apimachinery/pkg/util/sets"
	genericapifilters "k8s.io/apiserver/pkg/endpoints/filters"
	"k8s.io/apiserver/pkg/endpoints/filters/impersonation"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	genericapiserver "k8s.io/apiserver/pkg/server"
	genericfilters "k8s.io/apiserver/pkg/server/filters"

	"headway.dev/engine/api/authz"
	"headway.dev/engine/api/limits"
	"headway.dev/engine/rbac"
)

// longRunning tells the requests without a deadline: those of the library, and
// those to our own routes, whose handlers know how long they may take. A sync
// waits until a commit has been rolled out. The same holds for streams that another
// server makes of the connection of a request.
func longRunning(routes map[string]http.Handler, upgrades func(*http.Request) bool) genericapirequest.LongRunningRequestCheck {
	known := genericfilters.BasicLongRunningRequestCheck(sets.NewString("watch", "proxy"), sets.NewString("attach", "exec", "proxy", "log", "portforward"))
	return func(r *http.Request, info *genericapirequest.RequestInfo) bool {
		if known(r, info) || upgrades(r) {
			return true
		}
		for path := range routes {
			if r.URL.Path == path || strings.HasSuffix(path, "/") && strings.HasPrefix(r.URL.Path, path) {
				return true
			}
		}
		return false
	}
}

// filters is the chain that every request goes through, the last line first.
// It is the library's own without tracing and what only matters to a server
// behind a load balancer. The order matters:
//
//   - a panic is answered by whatever stands outside of it: recoverPanics stands
//     outside of everything;
//   - the deadline starts before authentication, which may be slow;
//   - impersonation changes the user and so stands between authentication and
//     authorization;
//   - the audit log has who really asked, and what the limits refuse;
//   - a request waits for its body before it takes a seat that others wait for.
func (s *Server) filters(handler http.Handler, c *genericapiserver.Config) http.Handler {
	sink, policy := c.AuditBackend, c.AuditPolicyRuleEvaluator // nil without an audit log
	failed := genericapifilters.WithFailedAuthenticationAudit(genericapifilters.Unauthorized(c.Serializer), sink, policy)
	handler = s.aggregate.Handler(handler)
	handler = genericapifilters.WithAuthorization(handler, c.Authorization.Authorizer, c.Serializer)
	handler = limits.WithWholeAnswers(handler)
	handler = s.fairness.Filter(handler, c.LongRunningFunc, c.RequestTimeout/4)
	handler = limits.WithLimits(handler, c.LongRunningFunc, maxBody+1)
	handler = impersonation.WithImpersonation(handler, c.Authorization.Authorizer, c.Serializer)
	handler = genericapifilters.WithAudit(handler, sink, policy, c.LongRunningFunc)
	handler = genericapifilters.WithAuthentication(handler, c.Authentication.Authenticator, failed, c.Authentication.APIAudiences, nil)
	handler = genericapifilters.WithWarningRecorder(handler)
	handler = limits.WithDeadlines(handler, c.LongRunningFunc, c.Serializer, s.conns.Count)
	handler = genericapifilters.WithRequestDeadline(handler, sink, policy, c.LongRunningFunc, c.Serializer, c.RequestTimeout)
	handler = genericfilters.WithWaitGroup(handler, c.LongRunningFunc, c.NonLongRunningRequestWaitGroup)
	handler = genericapifilters.WithCacheControl(handler)
	handler = genericapifilters.WithLatencyTrackers(handler)
	handler = genericapifilters.WithRequestInfo(handler, c.RequestInfoResolver)
	handler = genericapifilters.WithRequestReceivedTimestamp(handler)
	return limits.RecoverPanics(genericapifilters.WithAuditInit(handler))
}

// RequestUser returns the user of a request to one of Config.Routes.
func RequestUser(r *http.Request) (u rbac.User, ok bool) {
	info, ok := genericapirequest.UserFrom(r.Context())
	if !ok {
		return rbac.User{}, false
	}
	return authz.User(info), true
}
