package e2e

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netns"
)

// NodeAddress is the node's own address in every test's network namespace.
const NodeAddress = "192.168.66.1"

// newNetNS makes a network namespace with a loopback and one network, so that
// clusters under test share neither interfaces nor rules nor ports with the
// machine or with each other.
func newNetNS(tb testing.TB, name string) {
	tb.Helper()
	command(tb, "ip", "netns", "add", name)
	tb.Cleanup(func() { command(tb, "ip", "netns", "delete", name) })
	for _, args := range []string{
		"link set lo up",
		"link add eth0 type veth peer name eth0-peer",
		"link set eth0-peer up",
		"address add " + NodeAddress + "/24 dev eth0",
		"link set eth0 up",
		"route add default dev eth0",
	} {
		command(tb, "ip", append([]string{"-n", name}, strings.Fields(args)...)...)
	}
}

// command also runs in cleanups, after the end of the test's context.
func command(tb testing.TB, name string, args ...string) {
	tb.Helper()
	if out, err := exec.CommandContext(context.WithoutCancel(tb.Context()), name, args...).CombinedOutput(); err != nil {
		tb.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

// dialIn dials from inside the network namespace.
func dialIn(name string) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		type result struct {
			conn net.Conn
			err  error
		}
		done := make(chan result, 1)
		go func() {
			// The thread is not unlocked, so that it ends with the goroutine
			// and no other goroutine ever runs in the namespace.
			runtime.LockOSThread()
			conn, err := dialLocked(ctx, name, network, address)
			done <- result{conn, err}
		}()
		r := <-done
		return r.conn, r.err
	}
}

func dialLocked(ctx context.Context, name, network, address string) (net.Conn, error) {
	ns, err := netns.GetFromName(name)
	if err != nil {
		return nil, fmt.Errorf("open network namespace %s: %w", name, err)
	}
	defer ns.Close()
	if err := netns.Set(ns); err != nil {
		return nil, fmt.Errorf("enter network namespace %s: %w", name, err)
	}
	return (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, network, address)
}

// httpIn is a client inside the network namespace that opens a connection for
// each request, as the requests of many clients do.
func httpIn(name string) *http.Client {
	return &http.Client{
		Timeout:   10 * time.Second,
		Transport: &http.Transport{DialContext: dialIn(name), DisableKeepAlives: true},
	}
}
