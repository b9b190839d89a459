package syncer_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"

	"headway.dev/syncer/flux"
	"headway.dev/syncer/internal/gitserver"
)

// post sends a webhook to a source, with one header.
func post(tb testing.TB, base, source, header, value, body string) (int, string) {
	tb.Helper()
	req, err := http.NewRequestWithContext(tb.Context(), http.MethodPost, base+"/headway/v1/hooks/"+source, strings.NewReader(body))
	if err != nil {
		tb.Fatal(err)
	}
	if header != "" {
		req.Header.Set(header, value)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		tb.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		tb.Fatal(err)
	}
	return res.StatusCode, string(text)
}

func TestWebhook(t *testing.T) {
	var srv *gitserver.Server
	w := newWorld(t, map[string]string{"a.yaml": configMap("a", "one")}, func(src *sourcev1.GitRepository, _ *kustomizev1.Kustomization) {
		srv = gitserver.New(t, filepath.Dir(strings.TrimPrefix(src.Spec.URL, "file://")))
		src.Spec.URL = srv.URL + "/repo.git"
		src.Annotations = map[string]string{flux.WebhookSecret: "hook"}
	})
	w.applied(git(t, w.work, "rev-parse", "HEAD"))
	api := httptest.NewServer(w.sync.Handler())
	defer api.Close()
	const token, source = "6f2a1d1c7a5e4d0f", "headway-system/cluster"
	signed := func(body string) string {
		mac := hmac.New(sha256.New, []byte(token))
		mac.Write([]byte(body))
		return "sha256=" + hex.EncodeToString(mac.Sum(nil))
	}
	const main, other = `{"ref":"refs/heads/main"}`, `{"ref":"refs/heads/other"}`
	before := len(srv.Requests())

	// Whatever is wrong, the answer is the same, and nobody looks at Git.
	type answer struct {
		status int
		text   string
	}
	want := answer{http.StatusUnauthorized, "unauthorized\n"}
	check := func(what, source, header, value, body string) {
		t.Helper()
		status, text := post(t, api.URL, source, header, value, body)
		if got := (answer{status, text}); got != want {
			t.Errorf("%s: answer %+v, want %+v", what, got, want)
		}
	}
	check("a secret that does not exist", source, "X-Hub-Signature-256", signed(main), main)
	w.create(secret("hook", map[string]string{"token": token + "\n"}))
	check("an unknown source", "headway-system/none", "X-Hub-Signature-256", signed(main), main)
	check("an unknown namespace", "none/cluster", "X-Hub-Signature-256", signed(main), main)
	check("no proof", source, "", "", main)
	check("a wrong signature", source, "X-Hub-Signature-256", signed(main+" "), main)
	check("a header cut short", source, "X-Hub-Signature-256", signed(main)[:20], main)
	check("a wrong token", source, "X-Gitlab-Token", "wrong", main)
	huge := strings.Repeat("x", 3<<20+1)
	if status, _ := post(t, api.URL, source, "X-Hub-Signature-256", signed(huge), huge); status != http.StatusRequestEntityTooLarge {
		t.Errorf("a body that is too large: status %d", status)
	}
	// These are believed, and say that there is nothing to do.
	for what, body := range map[string]string{"another branch": other, "a tag": `{"ref":"refs/tags/main"}`} {
		if status, text := post(t, api.URL, source, "X-Hub-Signature-256", signed(body), body); status != http.StatusOK || text != "" {
			t.Errorf("%s: status %d %q", what, status, text)
		}
	}
	if got := srv.Requests()[before:]; len(got) > 0 {
		t.Errorf("the source was looked at: %v", got)
	}

	w.write(map[string]string{"a.yaml": configMap("a", "two")})
	sha := w.push("second")
	if status, text := post(t, api.URL, source, "X-Hub-Signature-256", signed(main), main); status != http.StatusOK || text != "" {
		t.Errorf("status %d %q", status, text)
	}
	w.applied(sha)
	// A body that nobody understands is a push of anything.
	w.write(map[string]string{"a.yaml": configMap("a", "three")})
	sha = w.push("third")
	if status, _ := post(t, api.URL, source, "X-Gitlab-Token", token, "<xml/>"); status != http.StatusOK {
		t.Errorf("status %d", status)
	}
	w.applied(sha)
}

// A burst of webhooks is answered by the look that it begins with and one that
// follows, which sees what was pushed meanwhile.
func TestBurstOfWebhooks(t *testing.T) {
	var srv *gitserver.Server
	w := newWorld(t, map[string]string{"a.yaml": configMap("a", "one")}, func(src *sourcev1.GitRepository, _ *kustomizev1.Kustomization) {
		srv = gitserver.New(t, filepath.Dir(strings.TrimPrefix(src.Spec.URL, "file://")))
		src.Spec.URL = srv.URL + "/repo.git"
		src.Annotations = map[string]string{flux.WebhookSecret: "hook"}
	})
	w.create(secret("hook", map[string]string{"token": "6f2a1d1c7a5e4d0f"}))
	w.applied(w.main())
	api := httptest.NewServer(w.sync.Handler())
	defer api.Close()
	w.poke() // whatever the Secret began is over with this
	w.eventually("it is looked at", func() bool {
		src := w.store.Get(key("GitRepository", "headway-system", "cluster")).(*sourcev1.GitRepository)
		return src.Status.LastHandledReconcileAt != ""
	})
	before := len(srv.Requests())
	began := time.Now()
	var sha string
	for i := range 60 {
		if i == 40 {
			w.write(map[string]string{"a.yaml": configMap("a", "two")})
			sha = w.push("second")
		}
		if status, _ := post(t, api.URL, "headway-system/cluster", "X-Gitlab-Token", "6f2a1d1c7a5e4d0f", `{"ref":"refs/heads/main"}`); status != http.StatusOK {
			t.Fatalf("status %d", status)
		}
	}
	w.applied(sha)
	looks := 0
	for _, r := range srv.Requests()[before:] {
		if strings.Contains(r, "info/refs") {
			looks++
		}
	}
	// One at once, and one for each second that the test took.
	if most := 2 + int(time.Since(began)/time.Second); looks > most {
		t.Errorf("%d looks for 60 webhooks within %s, want at most %d", looks, time.Since(began), most)
	}
}

// Many who are slow keep out nobody, from one address or from many.
func TestSlowWebhooks(t *testing.T) {
	w := newWorld(t, map[string]string{"a.yaml": configMap("a", "one")}, func(src *sourcev1.GitRepository, _ *kustomizev1.Kustomization) {
		src.Annotations = map[string]string{flux.WebhookSecret: "hook"}
	})
	w.create(secret("hook", map[string]string{"token": "6f2a1d1c7a5e4d0f"}))
	api := httptest.NewServer(w.sync.Handler())
	t.Cleanup(api.Close) // after the connections
	const source = "headway-system/cluster"
	for i := range 300 {
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(i%30))}}
		conn, err := dialer.DialContext(t.Context(), "tcp", api.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		if _, err := fmt.Fprintf(conn, "POST /headway/v1/hooks/%s HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{", source); err != nil {
			t.Fatal(err)
		}
		if i%20 == 0 {
			if status, text := post(t, api.URL, source, "X-Gitlab-Token", "6f2a1d1c7a5e4d0f", "{}"); status != http.StatusOK {
				t.Fatalf("after %d slow ones: %d %s", i+1, status, text)
			}
		}
	}
}

// poisonousBody panics whoever reads it.
type poisonousBody struct{}

func (poisonousBody) Read([]byte) (int, error) { panic("poisonous body") }

// A webhook that panics takes nothing with it that the next ones need.
func TestPanicOfAWebhook(t *testing.T) {
	w := newWorld(t, map[string]string{"a.yaml": configMap("a", "one")}, nil)
	handler := w.sync.Handler()
	const size, together = 3<<20 - 1, 32 << 20
	for range together/size + 1 {
		func() {
			defer func() {
				if recover() == nil {
					t.Error("the request did not panic")
				}
			}()
			body := io.MultiReader(strings.NewReader(strings.Repeat("x", size)), poisonousBody{})
			handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/headway/v1/hooks/headway-system/cluster", body))
		}()
	}
	api := httptest.NewServer(handler)
	defer api.Close()
	if status, text := post(t, api.URL, "headway-system/cluster", "X-Gitlab-Token", "wrong", "{}"); status != http.StatusUnauthorized {
		t.Errorf("the next webhook: status %d %q", status, text)
	}
}
