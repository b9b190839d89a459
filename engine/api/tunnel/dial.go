package tunnel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/guard"
	"headway.dev/manifests/model/object"
)

var (
	// errRefused is that of an address which the agent does not connect to.
	errRefused = errors.New("the agent does not let the server reach this address")
	// errBroken is that of a tunnel which is not there any more.
	errBroken = errors.New("the tunnel to the node is broken")
)

// DialNode connects to an address on a node: that of its server, or of one of its pods.
func (t *Tunnels) DialNode(ctx context.Context, node, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	one, changed := t.of(node)
	if one != nil {
		conn, err := one.dial(ctx, address)
		switch {
		case errors.Is(err, errRefused): // who may reach it from here does
			return t.direct.DialContext(ctx, "tcp", address)
		case !errors.Is(err, errBroken):
			return conn, err
		}
	}
	return t.race(ctx, node, address, changed)
}

// race dials an address, unless there is a tunnel meanwhile.
func (t *Tunnels) race(ctx context.Context, node, address string, changed <-chan struct{}) (net.Conn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	dialled := make(chan result)
	dialling, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	all.Go(func() {
		guard.Do(dialling, "dial a node", func() {
			conn, err := t.direct.DialContext(dialling, "tcp", address)
			select {
			case dialled <- result{conn, err}:
			case <-dialling.Done():
				if err == nil {
					_ = conn.Close()
				}
			}
		})
	})
	for {
		select {
		case r := <-dialled:
			return r.conn, r.err
		case <-ctx.Done():
			return nil, fmt.Errorf("dial tcp %s: %w", address, ctx.Err())
		case <-changed:
			var one *tunnel
			if one, changed = t.of(node); one == nil {
				continue
			}
			if conn, err := one.dial(ctx, address); !errors.Is(err, errBroken) && !errors.Is(err, errRefused) {
				return conn, err
			}
		}
	}
}

// DialPod connects to the address of a pod, through the node whose range of addresses it
// is in, or which runs the pods in its network that have it.
func (t *Tunnels) DialPod(ctx context.Context, _, address string) (net.Conn, error) {
	if at, err := netip.ParseAddrPort(address); err == nil {
		if node := t.nodeOf(at.Addr().Unmap()); node != "" {
			return t.DialNode(ctx, node, address)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	return t.direct.DialContext(ctx, "tcp", address)
}

// nodeOf returns the node that has an address: by the ranges, which the server hands out,
// of several the oldest; or else hostOf.
func (t *Tunnels) nodeOf(addr netip.Addr) string {
	var ranged *corev1.Node
	claimed := map[string]bool{}
	objs, _ := t.reader.List(schema.GroupKind{Kind: "Node"}, "")
	for _, obj := range objs {
		node, ok := obj.(*corev1.Node)
		if !ok {
			continue
		}
		for _, cidr := range node.Spec.PodCIDRs {
			if prefix, err := netip.ParsePrefix(cidr); err == nil && prefix.Contains(addr) {
				ranged = older(ranged, node)
			}
		}
		for _, a := range node.Status.Addresses {
			if a.Type == corev1.NodeInternalIP && is(a.Address, addr) {
				claimed[node.Name] = true
			}
		}
	}
	if ranged != nil {
		return ranged.Name
	}
	return t.hostOf(addr, claimed)
}

// hostOf returns the node whose pods with hostNetwork have an address. Nodes say
// themselves which address they have, and so which their pods have. So that none draws
// connections to itself that are for others, it is nobody's if another node, a pod of
// another, or an endpoint that is no pod of the node has it too.
func (t *Tunnels) hostOf(addr netip.Addr, claimed map[string]bool) string {
	hosts := map[string]bool{}
	pods, _ := t.reader.List(schema.GroupKind{Kind: "Pod"}, "")
	for _, obj := range pods {
		pod, ok := obj.(*corev1.Pod)
		if ok && pod.Spec.NodeName != "" && has(pod, addr) {
			if !pod.Spec.HostNetwork {
				return ""
			}
			hosts[pod.Spec.NodeName] = true
		}
	}
	if len(hosts) != 1 {
		return ""
	}
	var host string
	for host = range hosts {
		delete(claimed, host)
	}
	if len(claimed) > 0 {
		return ""
	}
	slices, _ := t.reader.List(schema.GroupKind{Group: discoveryv1.GroupName, Kind: "EndpointSlice"}, "")
	for _, obj := range slices {
		slice, ok := obj.(*discoveryv1.EndpointSlice)
		if !ok {
			continue
		}
		for _, e := range slice.Endpoints {
			if len(e.Addresses) > 0 && is(e.Addresses[0], addr) && !t.runs(host, e.TargetRef) {
				return ""
			}
		}
	}
	return host
}

// runs reports whether a pod is bound to a node.
func (t *Tunnels) runs(node string, ref *corev1.ObjectReference) bool {
	if ref == nil || ref.Kind != "Pod" {
		return false
	}
	pod, ok := t.reader.Get(object.Key{GroupKind: schema.GroupKind{Kind: "Pod"}, Namespace: ref.Namespace, Name: ref.Name}).(*corev1.Pod)
	return ok && pod.Spec.NodeName == node
}

// has reports whether a pod that has not ended has an address.
func has(pod *corev1.Pod, addr netip.Addr) bool {
	if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return false
	}
	for _, ip := range pod.Status.PodIPs {
		if is(ip.IP, addr) {
			return true
		}
	}
	return false
}

func is(text string, addr netip.Addr) bool {
	ip, err := netip.ParseAddr(text)
	return err == nil && ip.Unmap() == addr
}

func older(a, b *corev1.Node) *corev1.Node {
	if a == nil || b.CreationTimestamp.Before(&a.CreationTimestamp) {
		return b
	}
	return a
}

// mostReason bounds what an agent says of why it does not connect.
const mostReason = 1 << 10

// dial asks the agent to connect to an address. The connection outlives ctx.
func (t *tunnel) dial(ctx context.Context, address string) (net.Conn, error) {
	living, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { guard.Do(living, "give up a dial", cancel) })
	sent, send := io.Pipe()
	request := (&http.Request{
		Method: http.MethodConnect, URL: &url.URL{Scheme: "https", Host: address}, Host: address, Header: http.Header{}, Body: sent, ContentLength: -1,
	}).WithContext(living)
	response, err := t.http.RoundTrip(request)
	if !stop() && err == nil {
		err = errors.Join(ctx.Err(), response.Body.Close())
	}
	fail := func(err error) (net.Conn, error) {
		cancel()
		return nil, errors.Join(&net.OpError{Op: "dial", Net: "tcp", Addr: remote(address), Err: err}, sent.Close())
	}
	switch {
	case ctx.Err() != nil:
		return fail(ctx.Err())
	case err != nil:
		return fail(fmt.Errorf("%w: %w", errBroken, err))
	case response.StatusCode == http.StatusOK:
		in, received := io.Pipe()
		s := &stream{in: in, out: send, cancel: cancel, local: t.conn.LocalAddr(), remote: remote(address)}
		if !t.start(func() { s.pump(t.living, response.Body, received) }) {
			return fail(errBroken)
		}
		return s, nil
	}
	text, _ := io.ReadAll(io.LimitReader(response.Body, mostReason))
	_ = response.Body.Close()
	reason := strings.TrimSpace(string(text))
	if response.StatusCode == http.StatusForbidden {
		return fail(fmt.Errorf("%w: %s", errRefused, reason))
	}
	return fail(fmt.Errorf("the node's agent: %s", reason))
}

func remote(address string) net.Addr {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil
	}
	return net.TCPAddrFromAddrPort(at)
}
