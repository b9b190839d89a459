package remote_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"headway.dev/syncer/git"
	"headway.dev/syncer/git/remote"
	"headway.dev/syncer/internal/gitserver"
	"headway.dev/syncer/internal/gittest"
)

// githubAPI stands in for GitHub's API: it gives tokens to who shows a JWT of
// the App, as documented, and nobody else.
type githubAPI struct {
	key *rsa.PublicKey
	git *gitserver.Server

	mu     sync.Mutex
	life   time.Duration
	issued int
	faults []string
}

func (g *githubAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if fault := g.check(r); fault != "" {
		g.faults = append(g.faults, fault)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	switch r.Method + " " + r.URL.Path {
	case "GET /api/v3/users/ada/installation":
		fmt.Fprint(w, `{"id":3,"account":{"login":"ada"}}`)
	case "POST /api/v3/app/installations/3/access_tokens":
		g.issued++
		token := fmt.Sprintf("ghs_canary%d", g.issued)
		g.git.Require("x-access-token", token)
		w.WriteHeader(http.StatusCreated)
		fmt.Fprintf(w, `{"token":%q,"expires_at":%q,"permissions":{"contents":"read"}}`, token, time.Now().Add(g.life).UTC().Format(time.RFC3339))
	case "POST /api/v3/app/installations/5/access_tokens":
		http.Redirect(w, r, "https://evil.example.com/", http.StatusTemporaryRedirect)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

// check says what is wrong with a request.
func (g *githubAPI) check(r *http.Request) string {
	if r.Header.Get("Accept") != "application/vnd.github+json" || r.Header.Get("X-GitHub-Api-Version") == "" {
		return "wrong headers"
	}
	token, found := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	parts := strings.Split(token, ".")
	if !found || len(parts) != 3 {
		return "no JWT"
	}
	var head struct{ Alg, Typ string }
	var claims struct {
		Iat, Exp int64
		Iss      string
	}
	for i, into := range []any{&head, &claims} {
		data, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil || json.Unmarshal(data, into) != nil {
			return "the JWT cannot be read"
		}
	}
	sig, err := base64.RawURLEncoding.DecodeString(parts[2])
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	now := time.Now().Unix()
	switch {
	case err != nil || rsa.VerifyPKCS1v15(g.key, crypto.SHA256, sum[:], sig) != nil:
		return "the JWT is not signed by the App"
	case head.Alg != "RS256" || head.Typ != "JWT" || claims.Iss != "7":
		return fmt.Sprintf("header %+v, claims %+v", head, claims)
	case claims.Iat > now || claims.Exp < now || claims.Exp-now > 600:
		return fmt.Sprintf("the JWT is not good now: %+v", claims)
	}
	return ""
}

func TestGitHubApp(t *testing.T) {
	bare, work := gittest.Repository(t)
	sha := gittest.Push(t, work, "first", map[string]string{"a": "1"})
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	private := string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
	servers := newAuthority(t)
	backend := gitserver.New(t, filepath.Dir(bare))
	backend.Require("nobody", "at first")
	api := &githubAPI{key: &key.PublicKey, git: backend, life: time.Hour}
	hub := servers.serveTLS(t, api, nil)
	origin := servers.serveTLS(t, backend, nil).URL + "/repo.git"
	app := func(change map[string]string) (*remote.Auth, error) {
		data := map[string][]byte{"githubAppID": []byte("7"), "githubAppInstallationID": []byte("3"), "githubAppPrivateKey": []byte(private), "githubAppBaseURL": []byte(hub.URL + "/api/v3/"), "ca.crt": servers.pem}
		for k, v := range change {
			data[k] = []byte(v)
		}
		a, err := remote.AuthFromSecret(origin, data)
		if err == nil {
			a.App, err = remote.AppFromSecret(origin, data)
		}
		return a, err
	}
	get := func(r *git.Repository, change map[string]string) error {
		t.Helper()
		a, err := app(change)
		if err != nil {
			t.Fatal(err)
		}
		h, err := r.Fetch(t.Context(), git.Ref{Branch: "main"}, a)
		if err == nil && h.Commit != sha {
			t.Errorf("head = %s, want %s", h.Commit, sha)
		}
		return err
	}
	issued := func(want int) {
		t.Helper()
		api.mu.Lock()
		defer api.mu.Unlock()
		if api.issued != want || len(api.faults) > 0 {
			t.Errorf("%d tokens were issued, want %d; wrong requests: %q", api.issued, want, api.faults)
		}
	}
	r := gittest.Mirror(t, origin)
	for range 3 { // each with the secret read anew
		if err := get(r, nil); err != nil {
			t.Fatal(err)
		}
	}
	issued(1)
	// A token that was revoked is given up for a new one.
	backend.Require("x-access-token", "revoked")
	if err := get(r, nil); err == nil || strings.Contains(err.Error(), "canary") {
		t.Errorf("a revoked token: %v", err)
	}
	if err := get(r, nil); err != nil {
		t.Error(err)
	}
	issued(2)
	// Soon to end, it is not used again.
	api.mu.Lock()
	api.life = time.Minute
	api.mu.Unlock()
	soon := gittest.Mirror(t, origin)
	for range 2 {
		if err := get(soon, map[string]string{"githubAppInstallationID": "", "githubAppInstallationOwner": "ada"}); err != nil {
			t.Fatal(err)
		}
	}
	issued(4)
	for what, change := range map[string]map[string]string{
		"no such installation": {"githubAppInstallationID": "4"},
		"a redirect elsewhere": {"githubAppInstallationID": "5"},
		"no such owner":        {"githubAppInstallationID": "", "githubAppInstallationOwner": "eve"},
	} {
		if err := get(gittest.Mirror(t, origin), change); err == nil || strings.Contains(err.Error(), "evil.example.com") && !strings.Contains(err.Error(), "307") {
			t.Errorf("%s: %v", what, err)
		}
	}
	issued(4)
	for what, change := range map[string]map[string]string{
		"no ID":               {"githubAppID": ""},
		"no installation":     {"githubAppInstallationID": ""},
		"a path for a number": {"githubAppInstallationID": "3/../../x"},
		"no key":              {"githubAppPrivateKey": "canary"},
		"a file for an API":   {"githubAppBaseURL": "file:///etc"},
	} {
		if _, err := app(change); err == nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := remote.AppFromSecret("http://example.com/x", map[string][]byte{}); err == nil {
		t.Error("a token over http: accepted")
	}
}
