package authn

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	cliflag "k8s.io/component-base/cli/flag"
)

// Options are kube-apiserver's flags about authentication, with its defaults.
type Options struct {
	file      string
	oidc      oidcFlags
	anonymous bool
	bootstrap bool
	webhook   webhookFlags
	flags     *pflag.FlagSet
}

// oidcFlags are those of one issuer.
type oidcFlags struct {
	issuer, client, ca            string
	usernameClaim, usernamePrefix string
	groupsClaim, groupsPrefix     string
	algorithms                    []string
	required                      map[string]string
}

const oidcPrefix = "oidc-"

// AddFlags adds the flags, and sets their defaults.
func (o *Options) AddFlags(flags *pflag.FlagSet) {
	o.flags = flags
	flags.StringVar(&o.file, "authentication-config", "", "file with Kubernetes' AuthenticationConfiguration: issuers of JSON Web Tokens, and what is anonymous; read again when it changes")
	flags.BoolVar(&o.anonymous, "anonymous-auth", true, "let in requests that say nothing of their user, as system:anonymous")
	flags.BoolVar(&o.bootstrap, "enable-bootstrap-token-auth", true, "let in the bearers of the tokens by which machines join, that is those in Secrets of the type bootstrap.kubernetes.io/token in kube-system")
	flags.StringVar(&o.oidc.issuer, "oidc-issuer-url", "", "URL of an OpenID Connect issuer whose tokens are users'")
	flags.StringVar(&o.oidc.client, "oidc-client-id", "", "client ID that the issuer's tokens must be for")
	flags.StringVar(&o.oidc.ca, "oidc-ca-file", "", "authorities of the issuer's certificate (default: the machine's)")
	flags.StringVar(&o.oidc.usernameClaim, "oidc-username-claim", "sub", "claim that is the user's name")
	flags.StringVar(&o.oidc.usernamePrefix, "oidc-username-prefix", "", "prefix of the users' names; - for none (default: the issuer's URL and #, but none for the claim email)")
	flags.StringVar(&o.oidc.groupsClaim, "oidc-groups-claim", "", "claim that lists the user's groups")
	flags.StringVar(&o.oidc.groupsPrefix, "oidc-groups-prefix", "", "prefix of the groups' names")
	flags.StringSliceVar(&o.oidc.algorithms, "oidc-signing-algs", []string{"RS256"}, "signature algorithms of the issuer's tokens that are accepted")
	flags.Var(cliflag.NewMapStringStringNoSplit(&o.oidc.required), "oidc-required-claim", "claim=value that the issuer's tokens must have (repeatable)")
	o.webhook.addFlags(flags)
}

// Check returns what is wrong with the flags and the files that they name.
func (o *Options) Check() error {
	_, err := o.Open(slog.New(slog.DiscardHandler))
	return err
}

// Open returns what the flags say. It is nil without flags.
func (o *Options) Open(log *slog.Logger) (*Methods, error) {
	if o.flags == nil {
		return nil, nil
	}
	if err := o.exclusive(); err != nil {
		return nil, err
	}
	m := &Methods{anonymous: apiserver.AnonymousAuthConfig{Enabled: o.anonymous}, bootstrap: o.bootstrap}
	var err error
	switch {
	case o.file != "":
		if m.jwt, err = ofFile(o.file, log); err != nil {
			return nil, fmt.Errorf("--authentication-config: %w", err)
		}
		if configured := m.jwt.config.Anonymous; configured != nil {
			if o.flags.Changed("anonymous-auth") {
				return nil, errors.New("--authentication-config: anonymous: Forbidden: --anonymous-auth flag cannot be set when anonymous field is configured in authentication configuration file")
			}
			m.anonymous = *configured
		}
	case o.oidc.issuer != "":
		if m.jwt, err = o.oidc.open(log); err != nil {
			return nil, fmt.Errorf("--oidc-*: %w", err)
		}
	}
	if m.webhook, err = o.webhook.open(); err != nil {
		return nil, fmt.Errorf("--authentication-token-webhook-*: %w", err)
	}
	return m, nil
}

// exclusive refuses flags that do not go together.
func (o *Options) exclusive() error {
	oidc := false
	o.flags.Visit(func(f *pflag.Flag) { oidc = oidc || strings.HasPrefix(f.Name, oidcPrefix) })
	switch {
	case oidc && o.file != "":
		return errors.New("authentication-config file and oidc-* flags are mutually exclusive")
	case oidc && (o.oidc.issuer == "" || o.oidc.client == ""):
		return errors.New("oidc-issuer-url and oidc-client-id must be specified together when any oidc-* flags are set")
	case o.webhook.file == "" && (o.flags.Changed(webhookVersion) || o.flags.Changed(webhookTTL)):
		return fmt.Errorf("--%s and --%s need --%s", webhookVersion, webhookTTL, webhookFile)
	}
	return nil
}

// open makes the configuration that the flags stand for.
func (f oidcFlags) open(log *slog.Logger) (*jwt, error) {
	prefix := f.usernamePrefix
	switch {
	case prefix == "-":
		prefix = ""
	case prefix == "" && f.usernameClaim != "email":
		prefix = f.issuer + "#"
	}
	a := apiserver.JWTAuthenticator{Issuer: apiserver.Issuer{URL: f.issuer, Audiences: []string{f.client}}}
	a.ClaimMappings.Username = apiserver.PrefixedClaimOrExpression{Prefix: &prefix, Claim: f.usernameClaim}
	if f.groupsClaim != "" {
		a.ClaimMappings.Groups = apiserver.PrefixedClaimOrExpression{Prefix: &f.groupsPrefix, Claim: f.groupsClaim}
	}
	if f.ca != "" {
		content, err := os.ReadFile(f.ca)
		if err != nil {
			return nil, err
		}
		a.Issuer.CertificateAuthority = string(content)
	}
	for claim, value := range f.required {
		a.ClaimValidationRules = append(a.ClaimValidationRules, apiserver.ClaimValidationRule{Claim: claim, RequiredValue: value})
	}
	for _, algorithm := range f.algorithms {
		if !slices.Contains(algorithms(), algorithm) {
			return nil, fmt.Errorf("oidc: unsupported signing alg: %q", algorithm)
		}
	}
	return newJWT(&apiserver.AuthenticationConfiguration{JWT: []apiserver.JWTAuthenticator{a}}, f.algorithms, log)
}

// Methods are the ways of authentication that flags add, and what they say of
// the anonymous.
type Methods struct {
	anonymous apiserver.AnonymousAuthConfig
	bootstrap bool
	jwt       *jwt
	webhook   authenticator.Token
}

// ForbidAnonymous lets in nobody who does not say who they are.
func (m *Methods) ForbidAnonymous() { m.anonymous = apiserver.AnonymousAuthConfig{} }

// Anonymous reports whether someone may be.
func (m *Methods) Anonymous() bool { return m.anonymous.Enabled }

// Run follows the issuers' keys and the configuration's file until ctx ends.
// Before, no issuer is known.
func (m *Methods) Run(ctx context.Context) {
	if m != nil && m.jwt != nil {
		m.jwt.run(ctx)
	}
}

// absolute is a path that stays the same file whatever becomes of the working
// directory.
func absolute(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	return filepath.Abs(path)
}
