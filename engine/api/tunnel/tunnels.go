package tunnel

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/engine/api/authz"
	"headway.dev/manifests/guard"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/nodeconfig"
)

const (
	// silence is for how long a tunnel may bring nothing before it is asked whether it
	// is there, and patience for how long it may take to answer, and to take a byte.
	silence, patience = 15 * time.Second, 15 * time.Second
	// dialTimeout bounds the attempt to reach an address, by whatever way.
	dialTimeout = 10 * time.Second
	// window is what one connection may have in this server's memory that nobody has
	// read yet. The whole tunnel's window is that of many, so that connections which
	// nobody reads do not stop the others.
	window, windows = 256 << 10, 1 << 30
	// twins is how many tunnels that still worked are replaced within a minute if two
	// agents have the identity of one node: each opens its own again.
	twins = 4
)

// Tunnels are those of all nodes.
type Tunnels struct {
	reader object.Reader
	log    *slog.Logger
	http2  *http2.Transport
	direct net.Dialer

	mu   sync.Mutex
	open map[string]*tunnel // by node; the newest
	// changed is closed, and replaced, when a tunnel opens.
	changed chan struct{}
	rivals  map[string]rivals // by node

	// Twins is called, and may not wait, when two agents seem to have the identity of one
	// node, with the addresses of both; nil: nobody is told but the log. To be set before
	// the first tunnel.
	Twins func(node *corev1.Node, one, other string)
}

// rivals are the tunnels of one node that replaced each other.
type rivals struct {
	since time.Time
	n     int
}

// tunnel is one connection of an agent.
type tunnel struct {
	conn *notifying
	http *http2.ClientConn
	// replaced is closed when the node has opened another one.
	replaced chan struct{}

	// living ends with the tunnel, whose streams have a goroutine each.
	living  context.Context //nolint:containedctx // of the tunnel, not of who uses it
	mu      sync.Mutex
	ended   bool
	streams sync.WaitGroup
}

// start reads a connection by f, beside others, unless the tunnel has ended.
func (t *tunnel) start(f func()) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.ended {
		t.streams.Go(func() { guard.Do(t.living, "read a connection to a node", f) })
	}
	return !t.ended
}

// end waits for what start has started.
func (t *tunnel) end() {
	t.mu.Lock()
	t.ended = true
	t.mu.Unlock()
	t.streams.Wait()
}

// New returns the tunnels of the nodes that reader has; there are none yet.
func New(reader object.Reader, log *slog.Logger) (*Tunnels, error) {
	base := &http.Transport{DisableCompression: true, HTTP2: &http.HTTP2Config{MaxReceiveBufferPerStream: window, MaxReceiveBufferPerConnection: windows}}
	h2, err := http2.ConfigureTransports(base)
	if err != nil {
		return nil, fmt.Errorf("set up HTTP/2 for tunnels: %w", err)
	}
	h2.DisableCompression = true
	h2.ReadIdleTimeout, h2.PingTimeout, h2.WriteByteTimeout = silence, patience, patience
	return &Tunnels{
		reader: reader, log: log, http2: h2, direct: net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second},
		open: map[string]*tunnel{}, changed: make(chan struct{}), rivals: map[string]rivals{},
	}, nil
}

// ServeHTTP takes over the connection of an agent, and returns when it has ended. Who asks
// has to be the node itself, whatever rights others have.
func (t *Tunnels) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	node, ok := strings.CutPrefix(r.URL.Path, nodeconfig.TunnelPrefix)
	if !ok || r.URL.Path != nodeconfig.TunnelPath(node) {
		http.NotFound(w, r)
		return
	}
	if !authz.IsNode(w, r, node) {
		return
	}
	if t.node(node) == nil {
		http.Error(w, fmt.Sprintf("nodes %q not found", node), http.StatusNotFound)
		return
	}
	if r.Method != http.MethodGet || !strings.EqualFold(r.Header.Get("Upgrade"), nodeconfig.TunnelProtocol) {
		w.Header().Set("Upgrade", nodeconfig.TunnelProtocol)
		http.Error(w, "this is for agents: Upgrade: "+nodeconfig.TunnelProtocol, http.StatusUpgradeRequired)
		return
	}
	conn, err := takeOver(w)
	if err != nil {
		t.log.Warn("A node's tunnel is not opened", "node", node, "error", err)
		return
	}
	defer func() { _ = conn.Close() }()
	t.serve(r.Context(), node, conn)
}

// takeOver answers that the protocol changes, and returns the connection.
func takeOver(w http.ResponseWriter) (*notifying, error) {
	hijacker, ok := w.(http.Hijacker)
	if !ok {
		http.Error(w, "a tunnel needs HTTP/1.1", http.StatusHTTPVersionNotSupported)
		return nil, errors.New("the connection cannot be taken over")
	}
	conn, buffered, err := hijacker.Hijack()
	if err != nil {
		return nil, err
	}
	if n := buffered.Reader.Buffered(); n > 0 {
		return nil, errors.Join(fmt.Errorf("the agent sent %d bytes before it was its turn", n), conn.Close())
	}
	err = conn.SetDeadline(time.Now().Add(patience))
	if err == nil {
		_, err = conn.Write([]byte("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: " + nodeconfig.TunnelProtocol + "\r\n\r\n"))
	}
	if err == nil {
		err = conn.SetDeadline(time.Time{})
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return &notifying{Conn: conn, closed: make(chan struct{})}, nil
}

// serve lets connections go through a tunnel until it breaks or ctx ends. One that is
// replaced takes no new ones, and ends with its last.
func (t *Tunnels) serve(ctx context.Context, node string, conn *notifying) {
	client, err := t.http2.NewClientConn(conn)
	if err != nil {
		t.log.Warn("A node's tunnel is not opened", "node", node, "error", err)
		return
	}
	living, stop := context.WithCancel(ctx)
	one := &tunnel{conn: conn, http: client, replaced: make(chan struct{}), living: living}
	defer one.end()
	defer stop()
	if before := t.put(node, one, time.Now()); before != nil {
		t.tell(node, before.conn.RemoteAddr().String(), conn.RemoteAddr().String())
	}
	defer t.remove(node, one)
	t.log.Info("A node keeps a tunnel open", "node", node, "from", conn.RemoteAddr().String())
	select {
	case <-conn.closed:
		t.log.Info("A node's tunnel is closed", "node", node)
	case <-one.replaced:
		_ = client.Shutdown(ctx) // it fails with ctx
		t.log.Info("A node's former tunnel is closed", "node", node)
	case <-ctx.Done():
	}
	_ = client.Close()
}

// put makes a tunnel the node's. If that has become a fight of two agents it returns the
// other's.
func (t *Tunnels) put(node string, one *tunnel, now time.Time) (fights *tunnel) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if before := t.open[node]; before != nil {
		close(before.replaced)
		r := t.rivals[node]
		if now.Sub(r.since) > time.Minute {
			r = rivals{since: now}
		}
		if r.n++; r.n == twins {
			fights = before
		}
		t.rivals[node] = r
	}
	t.open[node] = one
	close(t.changed)
	t.changed = make(chan struct{})
	return fights
}

// tell tells of two agents that have the identity of one node.
func (t *Tunnels) tell(name, one, other string) {
	t.log.Warn("Two agents seem to have the identity of one node, and take its tunnel from each other: was its data directory copied?", "node", name, "from", one, "and", other)
	if node := t.node(name); node != nil && t.Twins != nil {
		t.Twins(node, one, other)
	}
}

func (t *Tunnels) remove(node string, one *tunnel) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open[node] == one {
		delete(t.open, node)
		delete(t.rivals, node)
	}
}

// of returns the tunnel of a node, or nil, and what is closed when there are others.
func (t *Tunnels) of(node string) (*tunnel, <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.open[node], t.changed
}

// Len is the number of nodes that keep a tunnel open.
func (t *Tunnels) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.open)
}

func (t *Tunnels) node(name string) *corev1.Node {
	node, _ := t.reader.Get(object.Key{GroupKind: schema.GroupKind{Kind: "Node"}, Name: name}).(*corev1.Node)
	return node
}

// notifying tells when a connection was closed: by HTTP/2, when it broke, or by anybody.
type notifying struct {
	net.Conn
	once   sync.Once
	closed chan struct{}
}

// Close implements net.Conn.
func (n *notifying) Close() error {
	n.once.Do(func() { close(n.closed) })
	return n.Conn.Close()
}
