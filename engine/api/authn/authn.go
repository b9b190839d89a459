package authn

import (
	"context"
	"crypto/x509"
	"errors"
	"slices"

	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/group"
	"k8s.io/apiserver/pkg/authentication/request/anonymous"
	"k8s.io/apiserver/pkg/authentication/request/bearertoken"
	"k8s.io/apiserver/pkg/authentication/request/union"
	"k8s.io/apiserver/pkg/authentication/request/websocket"
	x509request "k8s.io/apiserver/pkg/authentication/request/x509"
	tokenunion "k8s.io/apiserver/pkg/authentication/token/union"
	"k8s.io/apiserver/pkg/authentication/user"

	"headway.dev/engine/satoken"
	"headway.dev/manifests/model/object"
)

// Audiences are what tokens are for that name no audience, and those of requests
// to the API server.
var Audiences = authenticator.Audiences{satoken.URL}

// Tokens knows the bearer tokens of users.
type Tokens interface {
	// User returns the user of a token; ok is false if the token is unknown or
	// no longer valid.
	User(token string) (info user.Info, ok bool)
}

// Config of New.
type Config struct {
	// Inside knows the requests of the process itself.
	Inside    authenticator.Request
	ClientCAs *x509.CertPool
	// Users may be nil.
	Users    Tokens
	Accounts *satoken.Issuer
	// Secrets has those of bootstrap tokens.
	Secrets object.Reader
	// Methods are what the flags add; nil is what is so without flags.
	Methods *Methods
}

// New returns what knows the user of a request, and what knows that of a token
// alone. A request that says nothing of its user is anonymous; one that says
// something wrong is refused.
func New(cfg Config) (authenticator.Request, authenticator.Token) {
	methods := cfg.Methods
	if methods == nil {
		methods = &Methods{anonymous: apiserver.AnonymousAuthConfig{Enabled: true}}
	}
	options := x509request.DefaultVerifyOptions()
	options.Roots = cfg.ClientCAs
	tokens := bearerTokens(cfg, methods)
	known := group.NewAuthenticatedGroupAdder(union.New(
		cfg.Inside,
		newVerifiedCertificates(x509request.New(options, x509request.CommonNameUserConversion)),
		bearertoken.New(tokens),
		websocket.NewProtocolAuthenticator(tokens),
	))
	if !methods.anonymous.Enabled {
		return known, authenticated(tokens)
	}
	return union.NewFailOnError(known, anonymous.NewAuthenticator(methods.anonymous.Conditions)), authenticated(tokens)
}

// bearerTokens asks those who can tell at once first, and a webhook last.
func bearerTokens(cfg Config, methods *Methods) authenticator.Token {
	var all []authenticator.Token
	agnostic := func(t authenticator.Token) { all = append(all, authenticator.WrapAudienceAgnosticToken(Audiences, t)) }
	if cfg.Users != nil {
		agnostic(users(cfg.Users))
	}
	all = append(all, accounts(cfg.Accounts))
	if methods.bootstrap {
		agnostic(bootstrapTokens{cfg.Secrets})
	}
	if methods.jwt != nil {
		agnostic(methods.jwt)
	}
	if methods.webhook != nil {
		all = append(all, methods.webhook)
	}
	return tokenunion.New(all...)
}

func users(of Tokens) authenticator.TokenFunc {
	return func(_ context.Context, token string) (*authenticator.Response, bool, error) {
		if info, ok := of.User(token); ok {
			return &authenticator.Response{User: info}, true, nil
		}
		return nil, false, nil
	}
}

func accounts(issuer *satoken.Issuer) authenticator.TokenFunc {
	return func(ctx context.Context, token string) (*authenticator.Response, bool, error) {
		audiences, _ := authenticator.AudiencesFrom(ctx)
		id, err := issuer.Check(token, audiences)
		if errors.Is(err, satoken.ErrForeign) {
			return nil, false, nil
		}
		if err != nil {
			return nil, false, err
		}
		info := &user.DefaultInfo{Name: id.Name, UID: id.UID, Groups: id.Groups, Extra: id.Extra}
		return &authenticator.Response{User: info, Audiences: id.Audiences}, true, nil
	}
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
