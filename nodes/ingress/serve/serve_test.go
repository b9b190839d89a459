package serve_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/nodes/ingress/certificates"
	"headway.dev/nodes/ingress/routes"
	"headway.dev/nodes/ingress/serve"
	"headway.dev/nodes/ingress/upstream"
)

// proxy is a server under test, with one address without TLS and one with it.
type proxy struct {
	t            *testing.T
	server       *serve.Server
	upstreams    *upstream.Set
	certificates *certificates.Store
	plain, tls   string
	stop         func()
	ended        chan error
	log          *syncBuffer
}

type syncBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func (b *syncBuffer) text() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.String()
}

func start(t *testing.T, edit func(*serve.Config)) *proxy {
	t.Helper()
	p := &proxy{t: t, certificates: &certificates.Store{}, ended: make(chan error, 2), log: &syncBuffer{}}
	p.upstreams = upstream.New((&net.Dialer{}).DialContext)
	cfg := serve.Config{Upstreams: p.upstreams, Certificates: p.certificates, AccessLog: p.log, Drain: 5 * time.Second, Log: slog.New(slog.DiscardHandler)}
	var listeners [2]net.Listener
	for i := range listeners {
		var err error
		if listeners[i], err = (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
	}
	p.plain, p.tls = listeners[0].Addr().String(), listeners[1].Addr().String()
	cfg.HTTPS = p.tls
	if edit != nil {
		edit(&cfg)
	}
	p.server = serve.New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	p.stop = cancel
	var wg sync.WaitGroup
	for i, l := range listeners {
		wg.Go(func() { p.ended <- p.server.Serve(ctx, l, i == 1) })
	}
	t.Cleanup(func() { cancel(); wg.Wait(); p.upstreams.Close() })
	return p
}

// service has a Service with endpoints, and the Ingress of all requests lead to it.
func (p *proxy) service(appProtocol string, endpoints ...string) {
	port := corev1.ServicePort{Name: "http", Port: 80}
	if appProtocol != "" {
		port.AppProtocol = &appProtocol
	}
	p.upstreams.SetService(&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{port}}})
	for i, e := range endpoints {
		p.slice(i, e, appProtocol, discoveryv1.EndpointConditions{})
	}
}

func (p *proxy) slice(n int, endpoint, appProtocol string, c discoveryv1.EndpointConditions) {
	at := netip.MustParseAddrPort(endpoint)
	port := discoveryv1.EndpointPort{Name: new("http"), Port: new(int32(at.Port()))}
	if appProtocol != "" {
		port.AppProtocol = &appProtocol
	}
	p.upstreams.SetSlice(&discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: fmt.Sprint("web-", n), Labels: map[string]string{discoveryv1.LabelServiceName: "web"}},
		Ports:      []discoveryv1.EndpointPort{port}, Endpoints: []discoveryv1.Endpoint{{Addresses: []string{at.Addr().String()}, Conditions: c}},
	})
}

func (p *proxy) ingress(annotations map[string]string) {
	p.server.SetRoutes(routes.FromIngresses([]*networkingv1.Ingress{{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", Annotations: annotations},
		Spec:       networkingv1.IngressSpec{DefaultBackend: &networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: "web", Port: networkingv1.ServiceBackendPort{Name: "http"}}}},
	}}).Table)
}

// backend serves requests; the result is its address.
func backend(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func client(t *testing.T, protocols ...string) *http.Client {
	t.Helper()
	tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, Protocols: new(http.Protocols)} //nolint:gosec // of the proxy's own making
	for _, p := range protocols {
		switch p {
		case "h2":
			tr.Protocols.SetHTTP2(true)
		case "h2c":
			tr.Protocols.SetUnencryptedHTTP2(true)
		}
	}
	if len(protocols) == 0 {
		tr.Protocols.SetHTTP1(true)
	}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// reply is what a request is answered with, besides its text.
type reply struct {
	StatusCode int
	Header     http.Header
}

func do(t *testing.T, c *http.Client, method, url string, body io.Reader, header ...string) (reply, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			req.Host = header[i+1]
		}
		req.Header.Add(header[i], header[i+1])
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{resp.StatusCode, resp.Header}, string(text)
}

// What backends are told of clients: what strangers say of themselves does not count.
func TestForwarded(t *testing.T) {
	echo := func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]string{
			"host": r.Host, "path": r.URL.RequestURI(), "for": strings.Join(r.Header["X-Forwarded-For"], ","), "fhost": r.Header.Get("X-Forwarded-Host"), "proto": r.Header.Get("X-Forwarded-Proto"),
			"port": r.Header.Get("X-Forwarded-Port"), "ip": r.Header.Get("X-Real-Ip"), "forwarded": r.Header.Get("Forwarded"), "hop": r.Header.Get("X-Hop"), "under": r.Header.Get("X_forwarded_for"),
		})
	}
	spoofed := []string{"Host", "a.com", "X-Forwarded-For", "6.6.6.6", "X-Forwarded-Host", "evil", "X-Forwarded-Proto", "https", "X-Forwarded-Port", "1", "X-Real-IP", "6.6.6.6", "Forwarded", "for=6.6.6.6", "Connection", "X-Hop", "X-Hop", "1", "X_Forwarded_For", "6.6.6.6"}
	for what, tc := range map[string]struct {
		trusted []netip.Prefix
		secure  bool
		want    map[string]string
	}{
		"a stranger":       {nil, false, map[string]string{"for": "127.0.0.1", "fhost": "a.com", "proto": "http", "port": "PLAIN", "ip": "127.0.0.1"}},
		"a stranger's TLS": {nil, true, map[string]string{"for": "127.0.0.1", "fhost": "a.com", "proto": "https", "port": "TLS", "ip": "127.0.0.1"}},
		"a trusted proxy":  {[]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, false, map[string]string{"for": "6.6.6.6, 127.0.0.1", "fhost": "evil", "proto": "https", "port": "1", "ip": "6.6.6.6"}},
	} {
		p := start(t, func(c *serve.Config) { c.Trusted = tc.trusted })
		p.service("", backend(t, echo))
		p.ingress(nil)
		url := "http://" + p.plain
		if tc.secure {
			url = "https://" + p.tls
		}
		_, text := do(t, client(t), http.MethodGet, url+"/a%2Fb/../c?x=1;y=2", nil, spoofed...)
		var got map[string]string
		if err := json.Unmarshal([]byte(text), &got); err != nil {
			t.Fatalf("%s: %v: %s", what, err, text)
		}
		_, plainPort, _ := net.SplitHostPort(p.plain)
		_, tlsPort, _ := net.SplitHostPort(p.tls)
		want := map[string]string{"host": "a.com", "path": "/a%2Fb/../c?x=1;y=2", "forwarded": "", "hop": "", "under": ""}
		for k, v := range tc.want {
			want[k] = strings.NewReplacer("PLAIN", plainPort, "TLS", tlsPort).Replace(v)
		}
		for k, v := range want {
			if got[k] != v {
				t.Errorf("%s: %s is %q, want %q", what, k, got[k], v)
			}
		}
	}
}

// Each protocol of clients with each of backends: trailers, as gRPC needs them, and both
// directions at once.
func TestProtocols(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor == 1 {
			_ = http.NewResponseController(w).EnableFullDuplex()
		}
		w.Header().Set("Trailer", "Grpc-Status")
		w.Header().Set("Backend", r.Proto)
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		buf := make([]byte, 1)
		for {
			n, err := r.Body.Read(buf)
			if n > 0 {
				_, _ = w.Write(bytes.ToUpper(buf[:n]))
				_ = http.NewResponseController(w).Flush()
			}
			if err != nil {
				break
			}
		}
		w.Header().Set("Grpc-Status", "0")
	})
	plain := httptest.NewUnstartedServer(handler)
	plain.Config.Protocols = new(http.Protocols)
	plain.Config.Protocols.SetHTTP1(true)
	plain.Config.Protocols.SetUnencryptedHTTP2(true)
	plain.Start()
	secure := httptest.NewUnstartedServer(handler)
	secure.EnableHTTP2 = true
	secure.StartTLS()
	t.Cleanup(func() { plain.Close(); secure.Close() })
	for _, b := range []struct{ app, address, want string }{
		{"", plain.Listener.Addr().String(), "HTTP/1.1"},
		{"kubernetes.io/ws", plain.Listener.Addr().String(), "HTTP/1.1"},
		{"kubernetes.io/h2c", plain.Listener.Addr().String(), "HTTP/2.0"},
		{"grpc", plain.Listener.Addr().String(), "HTTP/2.0"},
		{"https", secure.Listener.Addr().String(), "HTTP/2.0"},
	} {
		p := start(t, nil)
		p.service(b.app, b.address)
		p.ingress(nil)
		for _, c := range []struct{ url, protocol, want string }{
			{"http://" + p.plain, "", "HTTP/1.1"}, {"http://" + p.plain, "h2c", "HTTP/2.0"}, {"https://" + p.tls, "", "HTTP/1.1"}, {"https://" + p.tls, "h2", "HTTP/2.0"},
		} {
			what := fmt.Sprintf("%s by %q to %q", c.url, c.protocol, b.app)
			var protocols []string
			if c.protocol != "" {
				protocols = append(protocols, c.protocol)
			}
			in, out := io.Pipe()
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.url+"/pkg.Service/Call", in)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Te", "trailers")
			resp, err := client(t, protocols...).Do(req)
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			got := make([]byte, 2)
			for i, letter := range []string{"a", "b"} { // one is answered before the next one is sent
				_, _ = io.WriteString(out, letter)
				if _, err := io.ReadFull(resp.Body, got[i:i+1]); err != nil {
					t.Fatalf("%s: %v", what, err)
				}
			}
			_ = out.Close()
			rest, err := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if string(got) != "AB" || len(rest) > 0 || err != nil || resp.Proto != c.want || resp.Header.Get("Backend") != b.want || resp.Trailer.Get("Grpc-Status") != "0" {
				t.Errorf("%s: %s answers %q %q, %v, trailers %v, by %s", what, resp.Proto, got, rest, err, resp.Trailer, resp.Header.Get("Backend"))
			}
		}
	}
}

// A connection that is upgraded speaks another protocol, in both directions, and ends when the
// proxy does.
func TestUpgrade(t *testing.T) {
	address := backend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "websocket" {
			http.Error(w, "no upgrade", http.StatusBadRequest)
			return
		}
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		_ = rw.Flush()
		_, _ = io.Copy(conn, rw)
	})
	p := start(t, nil)
	p.service("kubernetes.io/ws", address)
	p.ingress(nil)
	conn, err := tls.Dial("tcp", p.tls, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}}) //nolint:gosec,noctx // of the proxy's own making
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_, _ = io.WriteString(conn, "GET /chat HTTP/1.1\r\nHost: a.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n\r\n")
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("the upgrade is answered with %v, %v", resp, err)
	}
	defer resp.Body.Close()
	for i := range 3 {
		message := fmt.Sprintf("message %d\n", i)
		_, _ = io.WriteString(conn, message)
		if got, err := r.ReadString('\n'); got != message {
			t.Fatalf("echo %q, %v", got, err)
		}
	}
	p.stop()
	if _, err := r.ReadByte(); err == nil {
		t.Error("the connection goes on after the proxy has ended")
	}
}

// What cannot be served is told by the status that is due.
func TestFaults(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	address := backend(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/slow":
			select {
			case <-release:
			case <-r.Context().Done():
			}
		case "/breaks":
			conn, _, _ := http.NewResponseController(w).Hijack()
			_ = conn.Close()
		default:
			n, _ := io.Copy(io.Discard, r.Body)
			_, _ = io.WriteString(w, strconv.FormatInt(n, 10))
		}
	})
	p := start(t, nil)
	c := client(t)
	ask := func(method, path string, body io.Reader) int {
		t.Helper()
		resp, _ := do(t, c, method, "http://"+p.plain+path, body)
		return resp.StatusCode
	}
	expect := func(what string, got, want int) {
		t.Helper()
		if got != want {
			t.Errorf("%s is answered with %d, want %d", what, got, want)
		}
	}
	expect("a request that no rule is about", ask(http.MethodGet, "/", nil), http.StatusNotFound)
	p.ingress(map[string]string{routes.TimeoutAnnotation: "300ms", routes.BodyLimitAnnotation: "1k"})
	expect("one for no Service", ask(http.MethodGet, "/", nil), http.StatusServiceUnavailable)
	p.service("")
	expect("one for no endpoint", ask(http.MethodGet, "/", nil), http.StatusServiceUnavailable)
	p.service("", address)
	expect("a good one", ask(http.MethodPost, "/", strings.NewReader(strings.Repeat("x", 1000))), http.StatusOK)
	expect("one that takes too long", ask(http.MethodGet, "/slow", nil), http.StatusGatewayTimeout)
	expect("one whose answer breaks", ask(http.MethodGet, "/breaks", nil), http.StatusBadGateway)
	expect("one that is too large", ask(http.MethodPost, "/", strings.NewReader(strings.Repeat("x", 1001))), http.StatusRequestEntityTooLarge)
	expect("one that becomes too large", ask(http.MethodPost, "/", io.MultiReader(strings.NewReader(strings.Repeat("x", 5000)))), http.StatusRequestEntityTooLarge)
	p.upstreams.SetService(&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}, Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "example.com"}})
	expect("one that leads elsewhere", ask(http.MethodGet, "/", nil), http.StatusServiceUnavailable)
	for _, want := range []string{
		`"status":404`, `"fault":"there is no Service web"`, `"fault":"no endpoint of the Service web is ready"`, `"fault":"the backend did not answer in time"`, `"status":413`,
		`"ingress":"shop/web"`, `"fault":"the Service web is of the type ExternalName, which leads out of the cluster and is not served"`,
	} {
		if !strings.Contains(p.log.text(), want) {
			t.Errorf("the log lacks %s:\n%s", want, p.log.text())
		}
	}
	families, err := p.server.Metrics().Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"headway_ingress_requests_total", "headway_ingress_request_duration_seconds", "headway_ingress_connections", `value:"504"`} {
		if !strings.Contains(fmt.Sprint(families), want) {
			t.Errorf("metrics lack %s", want)
		}
	}
}

// Requests by HTTP are sent to HTTPS, where an Ingress asks for that.
func TestRedirect(t *testing.T) {
	p := start(t, nil)
	p.service("", backend(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }))
	p.ingress(map[string]string{routes.RedirectAnnotation: "true"})
	_, port, _ := net.SplitHostPort(p.tls)
	resp, _ := do(t, client(t), http.MethodPost, "http://"+p.plain+"/a%20b?c=d", nil, "Host", "a.com:80")
	if got, want := resp.Header.Get("Location"), "https://a.com:"+port+"/a%20b?c=d"; got != want || resp.StatusCode != http.StatusPermanentRedirect {
		t.Errorf("answered with %d to %q, want %q", resp.StatusCode, got, want)
	}
	if resp, text := do(t, client(t), http.MethodGet, "https://"+p.tls, nil); text != "hello" {
		t.Errorf("by HTTPS: %d %q", resp.StatusCode, text)
	}
}

// A dead endpoint costs no request, also one with a body; those that end get no new ones
// while others are ready.
func TestEndpoints(t *testing.T) {
	hello := func(name string) string {
		return backend(t, func(w http.ResponseWriter, r *http.Request) {
			text, _ := io.ReadAll(r.Body)
			_, _ = fmt.Fprintf(w, "%s got %s", name, text)
		})
	}
	dead, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := dead.Addr().String()
	_ = dead.Close()
	first, second := hello("first"), hello("second")
	p := start(t, nil)
	p.service("", first, gone)
	p.ingress(nil)
	c := client(t)
	for range 50 {
		if resp, text := do(t, c, http.MethodPost, "http://"+p.plain, strings.NewReader("body")); text != "first got body" {
			t.Fatalf("with a dead endpoint: %d %q", resp.StatusCode, text)
		}
	}
	p.slice(1, second, "", discoveryv1.EndpointConditions{Ready: new(false), Serving: new(true), Terminating: new(true)})
	for range 20 {
		if _, text := do(t, c, http.MethodPost, "http://"+p.plain, strings.NewReader("x")); text != "first got x" {
			t.Fatalf("with an endpoint that ends: %q", text)
		}
	}
	p.slice(0, first, "", discoveryv1.EndpointConditions{Ready: new(false), Serving: new(false), Terminating: new(true)})
	if _, text := do(t, c, http.MethodPost, "http://"+p.plain, strings.NewReader("x")); text != "second got x" {
		t.Errorf("with only an endpoint that ends and serves: %q", text)
	}
	p.slice(1, second, "", discoveryv1.EndpointConditions{})
	p.slice(0, first, "", discoveryv1.EndpointConditions{})
	seen := map[string]int{}
	for range 100 {
		_, text := do(t, c, http.MethodGet, "http://"+p.plain, nil)
		seen[text]++
	}
	if len(seen) != 2 {
		t.Errorf("of two endpoints that are ready: %v", seen)
	}
}

// Requests that have begun are answered after the end of serving has begun.
func TestDrain(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	p := start(t, nil)
	p.service("", backend(t, func(w http.ResponseWriter, _ *http.Request) {
		close(arrived)
		<-release
		_, _ = io.WriteString(w, "done")
	}))
	p.ingress(nil)
	type answer struct {
		text string
		err  error
	}
	answered := make(chan answer, 1)
	go func() {
		req, _ := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://"+p.plain, nil)
		resp, err := client(t).Do(req)
		if err != nil {
			answered <- answer{err: err}
			return
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		answered <- answer{string(text), err}
	}()
	<-arrived
	p.stop()
	if err := <-p.ended; err != nil { // the one with TLS has nothing to wait for
		t.Error(err)
	}
	close(release)
	if a := <-answered; a.text != "done" || a.err != nil {
		t.Errorf("the request that had begun: %q, %v", a.text, a.err)
	}
	if err := <-p.ended; err != nil {
		t.Error(err)
	}
}

// Trusted proxies say whom a connection is from; of others it is HTTP, and their header an
// error.
func TestProxyProtocol(t *testing.T) {
	ask := func(p *proxy, before string) (string, error) {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", p.plain)
		if err != nil {
			return "", err
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, before+"GET / HTTP/1.1\r\nHost: a.com\r\nConnection: close\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			return "", err
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		return fmt.Sprint(resp.StatusCode, " ", string(text)), err
	}
	const header = "PROXY TCP4 203.0.113.7 127.0.0.1 4711 80\r\n"
	for what, tc := range map[string]struct {
		trusted, before, want string
	}{
		"a trusted proxy":              {"127.0.0.0/8", header, "200 203.0.113.7"},
		"a trusted one without header": {"127.0.0.0/8", "", "400 400 Bad Request"},
		"a stranger":                   {"192.0.2.0/24", "", "200 127.0.0.1"},
		"a stranger's header":          {"192.0.2.0/24", header, "400 400 Bad Request"},
	} {
		p := start(t, func(c *serve.Config) {
			c.ProxyProtocol, c.Trusted = true, []netip.Prefix{netip.MustParsePrefix(tc.trusted)}
		})
		p.service("", backend(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Header.Get("X-Real-Ip")) }))
		p.ingress(nil)
		got, err := ask(p, tc.before)
		if got != tc.want || err != nil {
			t.Errorf("%s: %q, %v; want %q", what, got, err, tc.want)
		}
	}
}

// Requests that two servers could understand in different ways get to no backend.
func TestSmuggling(t *testing.T) {
	p := start(t, nil)
	reached := make(chan string, 10)
	p.service("", backend(t, func(_ http.ResponseWriter, r *http.Request) { reached <- r.URL.Path }))
	p.ingress(nil)
	for what, request := range map[string]string{
		"two lengths":                "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
		"another encoding":           "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
		"a space before the colon":   "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length : 4\r\n\r\nabcd",
		"a line break in a header":   "GET /a HTTP/1.1\r\nHost: a\r\nX: a\r\n b\x00\r\n\r\n",
		"two hosts":                  "GET /a HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
		"a header that is too large": "GET /a HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", 100<<10) + "\r\n\r\n",
	} {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", p.plain)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, request)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode < 400 {
				t.Errorf("%s is answered with %d", what, resp.StatusCode)
			}
		}
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && !strings.Contains(err.Error(), "reset") {
			t.Errorf("%s: %v", what, err)
		}
		_ = conn.Close()
	}
	select {
	case path := <-reached:
		t.Errorf("%s got to the backend", path)
	default:
	}
}
