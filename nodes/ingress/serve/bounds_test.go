package serve_test

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"headway.dev/nodes/ingress/routes"
	"headway.dev/nodes/ingress/serve"
)

// No name with _ reaches a backend, which may take it for one with -.
func TestNamesWithUnderscores(t *testing.T) {
	echo := func(w http.ResponseWriter, r *http.Request) { _ = json.NewEncoder(w).Encode(r.Header) }
	for _, trusted := range [][]netip.Prefix{nil, {netip.MustParsePrefix("127.0.0.0/8")}} {
		p := start(t, func(c *serve.Config) { c.Trusted = trusted })
		p.service("", backend(t, echo))
		p.ingress(nil)
		names := []string{"X-Forwarded_For", "X_Forwarded-For", "X_Real_IP", "X-Real_IP", "X-Forwarded_Proto", "Remote_User"}
		header := []string{"Good-Name", "kept"}
		for _, n := range names {
			header = append(header, n, "6.6.6.6")
		}
		_, text := do(t, client(t), http.MethodGet, "http://"+p.plain, nil, header...)
		var got http.Header
		if err := json.Unmarshal([]byte(text), &got); err != nil {
			t.Fatal(err)
		}
		if got.Get("Good-Name") != "kept" {
			t.Errorf("another header is lost: %v", got)
		}
		for name := range got {
			if strings.Contains(name, "_") {
				t.Errorf("%s reaches the backend", name)
			}
		}
	}
}

// Only WebSocket is an upgrade that backends are asked for.
func TestOtherUpgrades(t *testing.T) {
	p := start(t, nil)
	p.service("", backend(t, func(w http.ResponseWriter, r *http.Request) {
		for _, name := range []string{"Upgrade", "Http2-Settings"} {
			_, _ = io.WriteString(w, "["+r.Header.Get(name)+"]")
		}
	}))
	p.ingress(nil)
	for upgrade, want := range map[string]string{"h2c": "[][]", "websocket, h2c": "[][]", "TLS/1.0": "[][]", "WebSocket": "[WebSocket][]"} {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", p.plain)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: "+upgrade+"\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		if string(text) != want || err != nil {
			t.Errorf("of an upgrade to %s the backend gets %s, %v; want %s", upgrade, text, err, want)
		}
		_, _ = resp.Body.Close(), conn.Close()
	}
}

// There are bounds on requests at once: of one address and of all. Trusted proxies have
// only that of all.
func TestRequestsAtOnce(t *testing.T) {
	for what, tc := range map[string]struct {
		trusted []netip.Prefix
		want    int
	}{
		"of a client": {nil, http.StatusTooManyRequests},
		"of all":      {[]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, http.StatusServiceUnavailable},
	} {
		arrived, release := make(chan struct{}), make(chan struct{})
		p := start(t, func(c *serve.Config) {
			c.Trusted, c.ClientRequests, c.Requests = tc.trusted, 2, 2
			if tc.trusted == nil {
				c.Requests = 3
			} else {
				c.ClientRequests = 1
			}
		})
		p.service("", backend(t, func(_ http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/slow" {
				arrived <- struct{}{}
				<-release
			}
		}))
		p.ingress(nil)
		c := client(t, "h2c") // of one connection
		statuses := make(chan int, 2)
		for range 2 {
			go func() {
				req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+p.plain+"/slow", nil)
				resp, err := c.Do(req)
				if err != nil {
					statuses <- 0
					return
				}
				_ = resp.Body.Close()
				statuses <- resp.StatusCode
			}()
			<-arrived
		}
		if resp, _ := do(t, c, http.MethodGet, "http://"+p.plain, nil); resp.StatusCode != tc.want {
			t.Errorf("%s: one too many is answered with %d, want %d", what, resp.StatusCode, tc.want)
		}
		close(release)
		got := []int{<-statuses, <-statuses}
		if !slices.Equal(got, []int{http.StatusOK, http.StatusOK}) {
			t.Errorf("%s: those before are answered with %v", what, got)
		}
		// The places are free again.
		for range 5 {
			if resp, _ := do(t, c, http.MethodGet, "http://"+p.plain, nil); resp.StatusCode != http.StatusOK {
				t.Errorf("%s: one after them is answered with %d", what, resp.StatusCode)
			}
		}
		if !strings.Contains(p.log.text(), "too many requests at once") {
			t.Errorf("%s: the log does not say why:\n%s", what, p.log.text())
		}
	}
}

// Where HTTPS is not served nobody is sent there.
func TestNoRedirectWithoutHTTPS(t *testing.T) {
	p := start(t, func(c *serve.Config) { c.HTTPS = "" })
	p.service("", backend(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }))
	p.ingress(map[string]string{routes.RedirectAnnotation: "true"})
	if resp, text := do(t, client(t), http.MethodGet, "http://"+p.plain, nil); text != "hello" {
		t.Errorf("answered with %d %q", resp.StatusCode, text)
	}
}
