package api_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"log/slog"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	gojwt "github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"headway.dev/engine/api"
	"headway.dev/engine/api/apitest"
	"headway.dev/engine/api/authn"
)

// issuer is an OpenID Connect provider, as far as an API server sees it.
type issuer struct {
	*httptest.Server
	ca  string
	key *rsa.PrivateKey
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	i := &issuer{key: key}
	mux := http.NewServeMux()
	answer := func(what func() any) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			if err := json.NewEncoder(w).Encode(what()); err != nil {
				t.Error(err)
			}
		}
	}
	mux.HandleFunc("/.well-known/openid-configuration", answer(func() any {
		return map[string]any{"issuer": i.URL, "jwks_uri": i.URL + "/keys", "id_token_signing_alg_values_supported": []string{"RS256"}}
	}))
	mux.HandleFunc("/keys", answer(func() any {
		number := func(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
		return map[string]any{"keys": []any{map[string]any{
			"kty": "RSA", "use": "sig", "kid": "1", "alg": "RS256", "n": number(key.N.Bytes()), "e": number(big.NewInt(int64(key.E)).Bytes()),
		}}}
	}))
	i.Server = httptest.NewTLSServer(mux)
	t.Cleanup(i.Close)
	i.ca = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.Certificate().Raw}))
	return i
}

// token signs claims, beside those that every token has.
func (i *issuer) token(t *testing.T, claims map[string]any) string {
	t.Helper()
	return i.signed(t, i.key, claims)
}

func (i *issuer) signed(t *testing.T, key *rsa.PrivateKey, claims map[string]any) string {
	t.Helper()
	all := gojwt.MapClaims{"iss": i.URL, "aud": "headway", "exp": time.Now().Add(time.Hour).Unix(), "iat": time.Now().Unix()}
	maps.Copy(all, claims)
	token := gojwt.NewWithClaims(gojwt.SigningMethodRS256, all)
	token.Header["kid"] = "1"
	text, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// indented is text below a key of YAML's.
func indented(text, by string) string {
	return strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n"+by)
}

// methods are the ways of authentication that flags make.
func methods(t *testing.T, log *slog.Logger, flags ...string) (*authn.Methods, error) {
	t.Helper()
	var options authn.Options
	set := pflag.NewFlagSet("up", pflag.ContinueOnError)
	options.AddFlags(set)
	if err := set.Parse(flags); err != nil {
		t.Fatal(err)
	}
	if err := options.Check(); err != nil {
		return nil, err
	}
	return options.Open(log)
}

// as is a client with a bearer token and nothing else.
func as(s *apitest.Server, token string) kubernetes.Interface {
	config := rest.AnonymousClientConfig(s.Config)
	config.BearerToken, config.QPS = token, -1
	return kubernetes.NewForConfigOrDie(config)
}

// who asks the server whose a token is.
func who(t *testing.T, s *apitest.Server, token string) (authenticationv1.UserInfo, error) {
	t.Helper()
	me, err := as(s, token).AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		return authenticationv1.UserInfo{}, err
	}
	return me.Status.UserInfo, nil
}

// eventually waits until something is so.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for !so() {
		select {
		case <-ctx.Done():
			t.Fatalf("not within a minute: %s", what)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// lines is a log that may be read while it is written.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func replace(t *testing.T, path, content string) {
	t.Helper()
	next := path + ".next"
	if err := os.WriteFile(next, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, path); err != nil {
		t.Fatal(err)
	}
}

// status is what a GET without credentials is answered.
func status(t *testing.T, s *apitest.Server, path string) int {
	t.Helper()
	client, err := rest.HTTPClientFor(rest.AnonymousClientConfig(s.Config))
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	return response.StatusCode
}

// metric is the text of the server's metrics.
func metricsOf(t *testing.T, s *apitest.Server) string {
	t.Helper()
	text, err := kubernetes.NewForConfigOrDie(s.Config).RESTClient().Get().AbsPath("/metrics").DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The tokens of several issuers are users as the configuration maps their claims;
// what it wants of claims and users is wanted; its file is read again when it
// changes, and while that is wrong, what was before holds.
func TestAuthenticationConfiguration(t *testing.T) {
	corp, ci := newIssuer(t), newIssuer(t)
	path := filepath.Join(t.TempDir(), "authentication.yaml")
	config := func(prefix string) string {
		return `apiVersion: apiserver.config.k8s.io/v1
kind: AuthenticationConfiguration
anonymous:
  enabled: true
  conditions: [{path: /healthz}]
jwt:
- issuer:
    url: ` + corp.URL + `
    audiences: [headway, other]
    audienceMatchPolicy: MatchAny
    certificateAuthority: |
      ` + indented(corp.ca, "      ") + `
  claimValidationRules:
  - expression: claims.verified == true
    message: the account must be verified
  claimMappings:
    username: {expression: '"` + prefix + `" + claims.name'}
    groups: {expression: claims.roles}
    uid: {claim: sub}
    extra:
    - {key: example.com/tenant, valueExpression: claims.tenant}
  userValidationRules:
  - expression: "!user.username.startsWith('system:')"
    message: the prefix system is reserved
- issuer:
    url: ` + ci.URL + `
    audiences: [headway]
    certificateAuthority: |
      ` + indented(ci.ca, "      ") + `
  claimMappings:
    username: {claim: sub, prefix: "ci:"}
`
	}
	replace(t, path, config("corp:"))
	var log lines
	m, err := methods(t, slog.New(slog.NewTextHandler(&log, nil)), "--authentication-config", path)
	if err != nil {
		t.Fatal(err)
	}
	s := apitest.Start(t, func(c *api.Config) { c.Authentication = m })
	claims := func(more map[string]any) map[string]any {
		all := map[string]any{"sub": "7", "name": "ada", "roles": []string{"dev"}, "tenant": "shop", "verified": true}
		maps.Copy(all, more)
		return all
	}
	good := corp.token(t, claims(nil))
	eventually(t, "the issuers' keys are known", func() bool {
		_, first := who(t, s, good)
		_, second := who(t, s, ci.token(t, map[string]any{"sub": "build"}))
		return first == nil && second == nil
	})
	for name, tt := range map[string]struct {
		token string
		want  authenticationv1.UserInfo // without a name: refused
	}{
		"by expressions": {good, authenticationv1.UserInfo{
			Username: "corp:ada", UID: "7", Groups: []string{"dev", "system:authenticated"}, Extra: map[string]authenticationv1.ExtraValue{"example.com/tenant": {"shop"}},
		}},
		"by claims":            {ci.token(t, map[string]any{"sub": "build"}), authenticationv1.UserInfo{Username: "ci:build", Groups: []string{"system:authenticated"}}},
		"for another audience": {token: corp.token(t, claims(map[string]any{"aud": "vault"}))},
		"for the second":       {corp.token(t, claims(map[string]any{"aud": "other", "tenant": "x"})), authenticationv1.UserInfo{Username: "corp:ada", UID: "7", Groups: []string{"dev", "system:authenticated"}, Extra: map[string]authenticationv1.ExtraValue{"example.com/tenant": {"x"}}}},
		"expired":              {token: corp.token(t, claims(map[string]any{"exp": time.Now().Add(-time.Hour).Unix()}))},
		"with another's key":   {token: corp.signed(t, ci.key, claims(nil))},
		"of another issuer":    {token: corp.token(t, claims(map[string]any{"iss": "https://example.com"}))},
		"not verified":         {token: corp.token(t, claims(map[string]any{"verified": false}))},
		"without a claim":      {token: corp.token(t, map[string]any{"sub": "7", "verified": true})},
		"of a service account": {token: corp.token(t, claims(map[string]any{"iss": "https://kubernetes.default.svc.cluster.local"}))},
		"garbage":              {token: "a.b.c"},
	} {
		got, err := who(t, s, tt.token)
		if tt.want.Username == "" {
			if err == nil || !strings.Contains(err.Error(), "Unauthorized") || strings.Contains(err.Error(), tt.token) {
				t.Errorf("%s: %+v, %v, want Unauthorized", name, got, err)
			}
			continue
		}
		if diff := cmp.Diff(tt.want, got); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, diff)
		}
	}
	if health, version := status(t, s, "/healthz"), status(t, s, "/version"); health != http.StatusOK || version != http.StatusUnauthorized {
		t.Errorf("anonymous: health %d, version %d, want 200 and 401", health, version)
	}
	// A TokenReview asks the same, for an audience that is the API server's only.
	review := func(audiences ...string) authenticationv1.TokenReviewStatus {
		r, err := kubernetes.NewForConfigOrDie(s.Config).AuthenticationV1().TokenReviews().Create(t.Context(), &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: good, Audiences: audiences}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return r.Status
	}
	if got := review(); !got.Authenticated || got.User.Username != "corp:ada" {
		t.Errorf("token review: %+v", got)
	}
	if got := review("vault"); got.Authenticated {
		t.Errorf("token review for an audience that is not the server's: %+v", got)
	}

	const failures = `apiserver_authentication_config_controller_automatic_reloads_total{apiserver_id_hash="`
	for name, wrong := range map[string]struct{ content, want string }{
		"an unknown field": {config("x:") + "nonsense: true\n", `unknown field \"nonsense\"`},
		"a wrong field":    {strings.Replace(config("x:"), "url: https:", "url: http:", 1), "jwt[0].issuer.url"},
		"anonymous":        {strings.Replace(config("x:"), "/healthz", "/livez", 1), "anonymous: Forbidden: changed from initial configuration file"},
		"nothing":          {"", "empty config data"},
	} {
		replace(t, path, wrong.content)
		eventually(t, name+" is told", func() bool { return strings.Contains(log.String(), wrong.want) })
		if got, err := who(t, s, good); err != nil || got.Username != "corp:ada" {
			t.Errorf("%s: the token is %q's, %v", name, got.Username, err)
		}
	}
	if got := metricsOf(t, s); !strings.Contains(got, failures) || !strings.Contains(got, `status="failure"`) {
		t.Error("the metrics do not count the failures")
	}
	replace(t, path, config("staff:"))
	eventually(t, "the changed file holds", func() bool {
		got, err := who(t, s, good)
		return err == nil && got.Username == "staff:ada"
	})
	replace(t, path, config("system:"))
	eventually(t, "a reserved name is refused", func() bool { _, err := who(t, s, good); return err != nil })
	s.Stop()
	for part := range strings.SplitSeq(good, ".") {
		if strings.Contains(log.String(), part) {
			t.Error("the log has a part of a token")
		}
	}
}

// The flags of one issuer are kube-apiserver's, and so is what they refuse; what
// is wrong in a file is named at the start.
func TestAuthenticationFlags(t *testing.T) {
	corp := newIssuer(t)
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		replace(t, path, content)
		return path
	}
	ca := file("ca.pem", corp.ca)
	head := "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\n"
	mapped := "\n  claimMappings: {username: {claim: sub, prefix: ''}}\n"
	for name, tt := range map[string]struct {
		flags []string
		want  string
	}{
		"half":           {[]string{"--oidc-issuer-url", corp.URL}, "oidc-issuer-url and oidc-client-id must be specified together when any oidc-* flags are set"},
		"the other half": {[]string{"--oidc-groups-claim", "groups"}, "oidc-issuer-url and oidc-client-id must be specified together when any oidc-* flags are set"},
		"both":           {[]string{"--oidc-issuer-url", corp.URL, "--oidc-client-id", "x", "--authentication-config", file("both.yaml", head)}, "authentication-config file and oidc-* flags are mutually exclusive"},
		"no TLS":         {[]string{"--oidc-issuer-url", "http://example.com", "--oidc-client-id", "x"}, "jwt[0].issuer.url: Invalid value: \"http://example.com\": URL scheme must be https"},
		"algorithm":      {[]string{"--oidc-issuer-url", corp.URL, "--oidc-client-id", "x", "--oidc-signing-algs", "HS256"}, `oidc: unsupported signing alg: "HS256"`},
		"no authorities": {[]string{"--oidc-issuer-url", corp.URL, "--oidc-client-id", "x", "--oidc-ca-file", filepath.Join(dir, "none")}, "no such file"},
		"our issuer":     {[]string{"--oidc-issuer-url", "https://kubernetes.default.svc.cluster.local", "--oidc-client-id", "x"}, "URL must not overlap with disallowed issuers"},
		"no file":        {[]string{"--authentication-config", filepath.Join(dir, "none")}, "no such file"},
		"a field":        {[]string{"--authentication-config", file("field.yaml", head+"jwts: []\n")}, `unknown field "jwts"`},
		"a path":         {[]string{"--authentication-config", file("path.yaml", head+"jwt:\n- issuer: {url: https://example.com}"+mapped)}, "jwt[0].issuer.audiences: Required value"},
		"an expression":  {[]string{"--authentication-config", file("cel.yaml", head+"jwt:\n- issuer: {url: https://example.com, audiences: [a]}\n  claimMappings: {username: {expression: 'claims.'}}\n")}, "jwt[0].claimMappings.username.expression: Invalid value"},
		"an egress":      {[]string{"--authentication-config", file("egress.yaml", head+"jwt:\n- issuer: {url: https://example.com, audiences: [a], egressSelectorType: cluster}"+mapped)}, "jwt[0].issuer.egressSelectorType: Forbidden: this server has no egress selectors"},
		"two of one":     {[]string{"--authentication-config", file("two.yaml", head+"jwt:\n- issuer: {url: https://example.com, audiences: [a]}"+mapped+"- issuer: {url: https://example.com, audiences: [a]}"+mapped)}, "jwt[1].issuer.url: Duplicate value"},
		"anonymous":      {[]string{"--authentication-config", file("anonymous.yaml", head+"anonymous: {enabled: false}\n"), "--anonymous-auth=true"}, "--anonymous-auth flag cannot be set when anonymous field is configured"},
		"a lone version": {[]string{"--authentication-token-webhook-version", "v1"}, "need --authentication-token-webhook-config-file"},
		"no kubeconfig":  {[]string{"--authentication-token-webhook-config-file", filepath.Join(dir, "none")}, "no such file"},
	} {
		if _, err := methods(t, slog.New(slog.DiscardHandler), tt.flags...); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
	m, err := methods(t, slog.New(slog.DiscardHandler), "--oidc-issuer-url", corp.URL, "--oidc-client-id", "headway", "--oidc-ca-file", ca,
		"--oidc-groups-claim", "groups", "--oidc-groups-prefix", "corp:", "--oidc-required-claim", "tenant=shop", "--anonymous-auth=false")
	if err != nil {
		t.Fatal(err)
	}
	s := apitest.Start(t, func(c *api.Config) { c.Authentication = m })
	good := corp.token(t, map[string]any{"sub": "ada", "groups": []string{"dev"}, "tenant": "shop"})
	eventually(t, "the issuer's keys are known", func() bool { _, err := who(t, s, good); return err == nil })
	got, err := who(t, s, good)
	if want := (authenticationv1.UserInfo{Username: corp.URL + "#ada", Groups: []string{"corp:dev", "system:authenticated"}}); err != nil || !cmp.Equal(got, want) {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
	if got, err := who(t, s, corp.token(t, map[string]any{"sub": "ada", "tenant": "else"})); err == nil {
		t.Errorf("a token without the required claim is %q's", got.Username)
	}
	if got := status(t, s, "/healthz"); got != http.StatusUnauthorized {
		t.Errorf("anonymous: %d, want 401", got)
	}
}
