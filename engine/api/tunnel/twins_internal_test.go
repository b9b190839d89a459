package tunnel

import (
	"fmt"
	"log/slog"
	"net"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Two agents that take a node's tunnel from each other are told of once a minute, and one
// that comes back is not.
func TestTwins(t *testing.T) {
	o := objects{}
	o.node("n1", "192.0.2.1", "10.42.1.0/24")
	tunnels, err := New(o, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	tunnels.Twins = func(node *corev1.Node, one, other string) {
		told = append(told, fmt.Sprint(node.Name, " ", one, " ", other))
	}
	now := time.Now()
	open := func(from string) *tunnel {
		one := &tunnel{conn: &notifying{Conn: at{from: from}}, replaced: make(chan struct{})}
		if before := tunnels.put("n1", one, now); before != nil {
			tunnels.tell("n1", before.conn.RemoteAddr().String(), from)
		}
		return one
	}
	for range 10 { // its machine's link is cut again and again
		open("192.0.2.1:1")
		now = now.Add(30 * time.Second)
	}
	for range 10 { // it is restarted, and the former tunnel ends before
		tunnels.remove("n1", open("192.0.2.1:2"))
	}
	if len(told) > 0 {
		t.Errorf("of one agent is told %v", told)
	}
	for range 15 { // a minute and a half
		open("192.0.2.1:3")
		now = now.Add(3 * time.Second)
		open("192.0.2.9:3")
		now = now.Add(3 * time.Second)
	}
	if len(told) != 2 || told[0] != "n1 192.0.2.1:3 192.0.2.9:3" && told[0] != "n1 192.0.2.9:3 192.0.2.1:3" {
		t.Errorf("of two agents is told %q, want two lines", told)
	}
}

// at is a connection that is at its address only.
type at struct {
	net.Conn
	from string
}

func (a at) RemoteAddr() net.Addr { return named(a.from) }

type named string

func (n named) Network() string { return "tcp" }
func (n named) String() string  { return string(n) }
