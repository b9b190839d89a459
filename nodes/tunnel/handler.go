package tunnel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"

	"headway.dev/manifests/guard"
)

// Config says whose tunnel it is, and what is reached through it.
type Config struct {
	NodeName string
	// API is how the server is reached as the node.
	API *rest.Config
	// Own is where the node's own server listens.
	Own netip.AddrPort
	// Ranges are those of the node's pods; none: not known yet.
	Ranges func() []netip.Prefix
	// Pods are those that run here.
	Pods func() []corev1.Pod
	Log  *slog.Logger
}

// Allows reports whether the server may reach an address through this node: that of the
// node's own server, any port of a pod that has an address of its own, and of those in
// the node's network the ports that their containers name.
func (cfg Config) Allows(at netip.AddrPort) bool {
	if at == cfg.Own {
		return true
	}
	addr := at.Addr()
	inRange := addr != cfg.Own.Addr() && slices.ContainsFunc(cfg.Ranges(), func(p netip.Prefix) bool { return p.Contains(addr) })
	if !inRange && addr != cfg.Own.Addr() {
		return false
	}
	for _, pod := range cfg.Pods() {
		switch {
		case pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed:
		case pod.Spec.HostNetwork:
			if !inRange && names(&pod, at.Port()) {
				return true
			}
		case inRange && slices.ContainsFunc(pod.Status.PodIPs, func(ip corev1.PodIP) bool { return ip.IP == addr.String() }):
			return true
		}
	}
	return false
}

// names reports whether a container of a pod has a port.
func names(pod *corev1.Pod, port uint16) bool {
	return slices.ContainsFunc(slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers), func(c corev1.Container) bool {
		return slices.ContainsFunc(c.Ports, func(p corev1.ContainerPort) bool {
			return p.ContainerPort == int32(port) && (p.Protocol == corev1.ProtocolTCP || p.Protocol == "")
		})
	})
}

// handler connects to what the server asks for.
type handler struct {
	cfg Config

	mu    sync.Mutex
	ended bool
	all   sync.WaitGroup
}

// wait returns when no request is under way, and lets none begin.
func (h *handler) wait() {
	h.mu.Lock()
	h.ended = true
	h.mu.Unlock()
	h.all.Wait()
}

func (h *handler) begin() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.ended {
		h.all.Add(1)
	}
	return !h.ended
}

// ServeHTTP implements http.Handler.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !h.begin() {
		http.Error(w, "the tunnel is closed", http.StatusServiceUnavailable)
		return
	}
	defer h.all.Done()
	guard.Do(r.Context(), "connect the server to "+r.Host, func() { h.connect(w, r) })
}

func (h *handler) connect(w http.ResponseWriter, r *http.Request) {
	at, err := netip.ParseAddrPort(r.Host)
	switch {
	case r.Method != http.MethodConnect:
		http.Error(w, "a tunnel carries connections alone", http.StatusMethodNotAllowed)
		return
	case err != nil || !h.cfg.Allows(at):
		h.cfg.Log.Debug("The server asks for an address that is none of its business", "address", r.Host)
		http.Error(w, fmt.Sprintf("%s is neither the agent nor a pod of node %s", r.Host, h.cfg.NodeName), http.StatusForbidden)
		return
	}
	dialer := net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
	conn, err := dialer.DialContext(r.Context(), "tcp", at.String())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	// It ends with the request, whichever side ends that.
	defer context.AfterFunc(r.Context(), func() {
		guard.Do(r.Context(), "end a connection of the server", func() { _ = conn.Close() })
	})()
	defer conn.Close()
	w.WriteHeader(http.StatusOK)
	out := http.NewResponseController(w)
	if out.Flush() != nil {
		return
	}
	var inbound sync.WaitGroup
	inbound.Go(func() {
		guard.Do(r.Context(), "pass on what the server sends", func() {
			if _, err := io.Copy(conn, r.Body); err != nil {
				_ = conn.Close()
			} else if half, ok := conn.(interface{ CloseWrite() error }); ok {
				_ = half.CloseWrite() // it may still answer
			}
		})
	})
	_ = pass(w, out, conn) // the server sees the end of it
	_ = conn.Close()
	_ = r.Body.Close()
	inbound.Wait()
}

// pass sends what comes from a connection at once.
func pass(w io.Writer, out *http.ResponseController, from io.Reader) error {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			if _, err := w.Write(buffer[:n]); err != nil {
				return err
			}
			if err := out.Flush(); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
