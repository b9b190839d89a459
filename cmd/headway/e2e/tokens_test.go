package e2e_test

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/client-go/rest"

	"headway.dev/cmd/headway/e2e"
)

// A token of the token file is its user, with the rights of the user's groups;
// another is refused; without one there are only health and version. A change
// of the file counts without a restart.
func TestTokens(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "tokens.csv")
	write := func(content string, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(file+".next", []byte(content), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".next", file); err != nil {
			t.Fatal(err)
		}
	}
	write("token-of-ada,ada,1,\"system:masters,team\"\ntoken-of-bob,bob,2\n", 0o600)
	c := e2e.Start(t, "--token-auth-file", file)
	config, err := c.Config()
	if err != nil {
		t.Fatal(err)
	}
	ca := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(ca, config.CAData, 0o644); err != nil {
		t.Fatal(err)
	}
	with := func(token string, args ...string) e2e.Result {
		t.Helper()
		return c.Run("", append([]string{"kubectl", "--kubeconfig", os.DevNull, "--server", "https://127.0.0.1:6443", "--certificate-authority", ca, "--token", token}, args...)...)
	}
	check := func(r e2e.Result, code int, wants ...string) {
		t.Helper()
		if r.Code != code {
			t.Errorf("exit code %d, want %d\n%s%s", r.Code, code, r.Stdout, r.Stderr)
		}
		contains(t, "output", r.Stdout+r.Stderr, wants...)
	}
	check(with("token-of-ada", "get", "namespaces"), 0, "headway-system")
	check(with("token-of-ada", "auth", "whoami"), 0, "ada", "UID", "1", "system:masters team system:authenticated")
	check(with("token-of-ada", "create", "configmap", "from-ada", "-n", "default"), 0, "configmap/from-ada created")
	check(with("token-of-eve", "get", "namespaces"), 1, "You must be logged in to the server (Unauthorized)")
	check(with("token-of-bob", "get", "pods", "-n", "default"), 1, `Error from server (Forbidden): pods is forbidden: User "bob" cannot list resource "pods" in API group "" in the namespace "default"`)
	check(with("token-of-bob", "auth", "can-i", "delete", "pods"), 1, "no")
	check(with("token-of-ada", "auth", "can-i", "delete", "pods"), 0, "yes")

	anonymous(t, config)

	write("token-of-eve,eve,3,system:masters\n", 0o600)
	check(with("token-of-eve", "get", "namespaces"), 0, "headway-system")
	check(with("token-of-ada", "get", "namespaces"), 1, "Unauthorized")

	// Nobody else may know tokens.
	write("token-of-ada,ada,1\n", 0o644)
	c.Program.Stop()
	r := c.Headway("up", "--listen", "127.0.0.1:7443", "--token-auth-file", file)
	if r.Code != 1 || !strings.Contains(r.Stderr, "chmod 600") || strings.Contains(r.Stderr, "token-of") {
		t.Errorf("up with a token file that others can read: exit code %d\n%s", r.Code, r.Stderr)
	}
}

// anonymous sends requests without credentials.
func anonymous(t *testing.T, config *rest.Config) {
	t.Helper()
	client, err := rest.HTTPClientFor(rest.AnonymousClientConfig(config))
	if err != nil {
		t.Fatal(err)
	}
	defer client.CloseIdleConnections()
	for path, want := range map[string]int{
		"/healthz": 200, "/livez": 200, "/readyz": 200, "/version": 200,
		"/": 403, "/api": 403, "/apis": 403, "/metrics": 403, "/openapi/v3": 403, "/headway/v1/status": 403,
		"/api/v1/namespaces": 403, "/api/v1/namespaces/default/secrets": 403, "/debug/pprof/": 403,
		"/headway/v1/hooks/headway-system/cluster": 403,
		// Webhooks are let in to where their signature is asked for, and nowhere else.
		"POST /headway/v1/hooks/headway-system/cluster": 401, "POST /headway/v1/hooks/../plan": 403,
		"POST /headway/v1/hooks": 403, "POST /headway/v1/plan": 403, "POST /headway/v1/sync": 403,
	} {
		method, target, found := strings.Cut(path, " ")
		if !found {
			method, target = http.MethodGet, path
		}
		request, err := http.NewRequestWithContext(t.Context(), method, config.Host+target, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || response.StatusCode != want {
			t.Errorf("%s %s without credentials: %d, want %d (%v)\n%s", method, target, response.StatusCode, want, err, body)
		}
	}
}
