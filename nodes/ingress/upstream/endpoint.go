package upstream

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"
)

// Dial connects to an endpoint.
type Dial func(ctx context.Context, network, address string) (net.Conn, error)

// protocol is what an endpoint speaks.
type protocol int

const (
	http1 protocol = iota
	h2c            // HTTP/2 without TLS, with prior knowledge
	https          // HTTP/1.1 or HTTP/2, of which nobody checks the certificate
)

// protocolOf is what the appProtocol of a port means. One that is not known is HTTP.
func protocolOf(app *string) protocol {
	if app == nil {
		return http1
	}
	switch *app {
	case "kubernetes.io/h2c", "h2c", "grpc":
		return h2c
	case "https", "kubernetes.io/wss":
		return https
	}
	return http1
}

// endpointKey tells endpoints apart.
type endpointKey struct {
	addr     netip.AddrPort
	protocol protocol
}

// endpoint is where requests can go.
type endpoint struct {
	key       endpointKey
	transport *http.Transport
	requests  atomic.Int64 // that it has at present
	avoid     atomic.Int64 // until when, in nanoseconds since 1970
	users     int          // pools that have it; guarded by the set's mutex
}

const (
	// idleConnections is how many connections an endpoint keeps for later requests.
	idleConnections = 128
	// idleTime is how long it keeps them, less than most programs do.
	idleTime = 30 * time.Second
	// answerHeader is how large the header of an answer may be.
	answerHeader = 256 << 10
	// readBuffer and writeBuffer are those of a connection.
	readBuffer, writeBuffer = 16 << 10, 16 << 10
)

func newEndpoint(key endpointKey, dial Dial) *endpoint {
	t := &http.Transport{
		DialContext: dial, DisableCompression: true, MaxIdleConnsPerHost: idleConnections, IdleConnTimeout: idleTime,
		MaxResponseHeaderBytes: answerHeader, TLSHandshakeTimeout: dialTime, ReadBufferSize: readBuffer, WriteBufferSize: writeBuffer,
		ExpectContinueTimeout: time.Second,
		Protocols:             new(http.Protocols),
	}
	switch key.protocol {
	case http1:
		t.Protocols.SetHTTP1(true)
	case h2c:
		t.Protocols.SetUnencryptedHTTP2(true)
	case https:
		t.Protocols.SetHTTP1(true)
		t.Protocols.SetHTTP2(true)
		// Pods make their certificates themselves, and are dialled by their address.
		t.TLSClientConfig = &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12} //nolint:gosec // as every ingress controller does by default
	}
	return &endpoint{key: key, transport: t}
}

func (e *endpoint) scheme() string {
	if e.key.protocol == https {
		return "https"
	}
	return "http"
}

// avoidTime is how long an endpoint is avoided that could not be connected to.
const avoidTime = 5 * time.Second

func (e *endpoint) failed(now time.Time) { e.avoid.Store(now.Add(avoidTime).UnixNano()) }

func (e *endpoint) avoided(now time.Time) bool { return e.avoid.Load() > now.UnixNano() }
