package egress_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"headway.dev/manifests/egress"
)

func policy(t *testing.T, rules ...string) *egress.Policy {
	t.Helper()
	p, err := egress.Parse(rules)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestCheck(t *testing.T) {
	for rules, addresses := range map[string]map[string]bool{ // true: denied
		"link-local,metadata": {
			"169.254.169.254": true, "169.254.1.1": true, "fe80::1": true, "fe80::1%eth0": true, "::ffff:169.254.169.254": true,
			"fd00:ec2::254": true, "100.100.100.200": true, "64:ff9b::a9fe:a9fe": true, "2002:a9fe:a9fe::1": true, "::169.254.169.254": true,
			"127.0.0.1": false, "::1": false, "10.0.0.1": false, "93.184.215.14": false, "2001:db8::1": false, "64:ff9b::0808:0808": false,
			// The IPv4 address behind 96, 48, 56 and 64 bits.
			"64:ff9b:1::a9fe:a9fe": true, "64:ff9b:1:a9fe:a9:fe00::": true, "64:ff9b:1:ca9:fe:a9fe::": true, "64:ff9b:1::a9:fea9:fe00:0": true, "64:ff9b:1:808:8:800::": false,
		},
		"loopback":              {"127.0.0.1": true, "127.9.9.9": true, "::1": true, "0.0.0.0": true, "::": true, "::ffff:127.0.0.1": true, "64:ff9b:1:7f00:0:100::": true, "64:ff9b:1::808:808": false, "64:ff9b:1:808:8:800::": false, "10.0.0.1": false},
		"private":               {"10.1.2.3": true, "172.31.0.1": true, "192.168.1.1": true, "fd12::1": true, "172.32.0.1": false, "127.0.0.1": false},
		"192.0.2.0/24,10.0.0.7": {"192.0.2.9": true, "10.0.0.7": true, "10.0.0.8": false},
		"none":                  {"169.254.169.254": false, "127.0.0.1": false},
	} {
		p := policy(t, strings.Split(rules, ",")...)
		for address, want := range addresses {
			err := p.Check(netip.MustParseAddr(address))
			if denied := errors.As(err, new(*egress.DeniedError)); denied != want || denied != (err != nil) {
				t.Errorf("%s: %s: %v, want denied %t", rules, address, err, want)
			}
		}
	}
	for _, wrong := range [][]string{{"localhost"}, {"none", "loopback"}, {"10.0.0.0/99"}, {""}} {
		if _, err := egress.Parse(wrong); err == nil {
			t.Errorf("%q was accepted", wrong)
		}
	}
}

// What is denied is not connected to, by whatever name, redirect or proxy it is
// reached; the rest is.
func TestTransport(t *testing.T) {
	var asked atomic.Int64
	secret := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	defer secret.Close()
	port := secret.URL[strings.LastIndex(secret.URL, ":")+1:]
	get := func(p *egress.Policy, proxy func(*http.Request) (*url.URL, error), target string) error {
		transport := &http.Transport{Proxy: proxy, DisableKeepAlives: true}
		p.Transport(transport, 5*time.Second)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, target, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := (&http.Client{Transport: transport}).Do(req)
		if err == nil {
			_ = res.Body.Close()
		}
		return err
	}
	denied := func(what string, err error) {
		t.Helper()
		if !errors.As(err, new(*egress.DeniedError)) {
			t.Errorf("%s: %v, want it denied", what, err)
		}
		if n := asked.Swap(0); n > 0 {
			t.Errorf("%s: the server was asked", what)
		}
	}
	loopback := policy(t, "loopback")
	for _, host := range []string{"127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0.0.0.0"} {
		err := get(loopback, nil, "http://"+host+":"+port)
		denied(host, err)
	}
	if err := get(policy(t, "link-local"), nil, secret.URL); err != nil || asked.Swap(0) != 1 {
		t.Errorf("what is not denied: %v", err)
	}
	if err := get(nil, nil, secret.URL); err != nil || asked.Swap(0) != 1 {
		t.Errorf("no policy: %v", err)
	}

	redirect := httptest.NewServer(http.RedirectHandler("http://127.0.0.2:"+port, http.StatusFound))
	defer redirect.Close()
	denied("a redirect", get(policy(t, "127.0.0.2/32"), nil, redirect.URL))

	proxy := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	defer proxy.Close()
	via, err := url.Parse(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	denied("through a proxy", get(policy(t, "metadata"), http.ProxyURL(via), "http://169.254.169.254/latest/meta-data"))
	denied("a name through a proxy", get(policy(t, "127.0.0.1/32", "::1/128"), http.ProxyURL(via), "http://localhost/"))
	denied("a proxy that is denied itself", get(loopback, http.ProxyURL(via), "http://192.0.2.1/"))
	if err := get(policy(t, "metadata"), http.ProxyURL(via), "http://git.invalid/"); err != nil || asked.Swap(0) != 1 {
		t.Errorf("a name that the proxy alone knows: %v", err)
	}
}
