package api

import (
	"context"
	"crypto/x509"
	"errors"
	"net/http"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/group"
	"k8s.io/apiserver/pkg/authentication/request/anonymous"
	"k8s.io/apiserver/pkg/authentication/request/bearertoken"
	"k8s.io/apiserver/pkg/authentication/request/union"
	x509request "k8s.io/apiserver/pkg/authentication/request/x509"
	"k8s.io/apiserver/pkg/authentication/user"
	genericapifilters "k8s.io/apiserver/pkg/endpoints/filters"
	"k8s.io/apiserver/pkg/endpoints/filters/impersonation"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	genericapiserver "k8s.io/apiserver/pkg/server"
	genericfilters "k8s.io/apiserver/pkg/server/filters"

	"headway.dev/engine/api/limits"
	"headway.dev/engine/satoken"
)

// longRunning tells the requests without a deadline: those of the library, and
// those to our own routes, whose handlers know how long they may take. A sync
// waits until a commit has been rolled out.
func longRunning(routes map[string]http.Handler) genericapirequest.LongRunningRequestCheck {
	known := genericfilters.BasicLongRunningRequestCheck(sets.NewString("watch", "proxy"), sets.NewString("attach", "exec", "proxy", "log", "portforward"))
	return func(r *http.Request, info *genericapirequest.RequestInfo) bool {
		if known(r, info) {
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
	handler = genericapifilters.WithAuthorization(handler, c.Authorization.Authorizer, c.Serializer)
	handler = limits.WithWholeAnswers(handler)
	handler = s.fairness.Filter(handler, c.LongRunningFunc, c.RequestTimeout/4)
	handler = limits.WithReceivedBodies(handler, c.LongRunningFunc, maxBody+1)
	handler = limits.WithLimits(handler, c.LongRunningFunc)
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

// authentication asks, in this order: who the process itself says it is, the
// client certificate, the bearer token. A request with none of them is
// anonymous; one with a wrong one is refused.
func authentication(clientCAs *x509.CertPool, tokens authenticator.Token) authenticator.Request {
	options := x509request.DefaultVerifyOptions()
	options.Roots = clientCAs
	known := union.New(
		authenticator.RequestFunc(inProcessUser),
		newVerifiedCertificates(x509request.New(options, x509request.CommonNameUserConversion)),
		bearertoken.New(tokens),
	)
	return union.NewFailOnError(group.NewAuthenticatedGroupAdder(known), anonymous.NewAuthenticator(nil))
}

// RequestUser returns the user of a request to one of Config.Routes.
func RequestUser(r *http.Request) (name string, groups []string, ok bool) {
	u, ok := genericapirequest.UserFrom(r.Context())
	if !ok {
		return "", nil, false
	}
	return u.GetName(), u.GetGroups(), true
}

// bearerTokens asks users' tokens first, then those of service accounts.
func bearerTokens(users Tokens, accounts *satoken.Issuer) authenticator.Token {
	return authenticator.TokenFunc(func(ctx context.Context, token string) (*authenticator.Response, bool, error) {
		if users != nil {
			if info, ok := users.User(token); ok {
				return &authenticator.Response{User: info}, true, nil
			}
		}
		audiences, _ := authenticator.AudiencesFrom(ctx)
		id, err := accounts.Check(token, audiences)
		if errors.Is(err, satoken.ErrForeign) {
			return nil, false, nil
		}
		if err != nil {
			return nil, false, err
		}
		info := &user.DefaultInfo{Name: id.Name, UID: id.UID, Groups: id.Groups, Extra: id.Extra}
		return &authenticator.Response{User: info, Audiences: id.Audiences}, true, nil
	})
}

// authenticated adds to the users of tokens the group that everyone is in who
// is known.
func authenticated(tokens authenticator.Token) authenticator.Token {
	return authenticator.TokenFunc(func(ctx context.Context, token string) (*authenticator.Response, bool, error) {
		response, ok, err := tokens.AuthenticateToken(ctx, token)
		if err != nil || !ok {
			return nil, false, err
		}
		u := response.User
		return &authenticator.Response{Audiences: response.Audiences, User: &user.DefaultInfo{
			Name: u.GetName(), UID: u.GetUID(), Extra: u.GetExtra(), Groups: append(slices.Clone(u.GetGroups()), user.AllAuthenticated),
		}}, true, nil
	})
}
