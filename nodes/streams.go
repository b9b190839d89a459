package nodes

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"

	"headway.dev/nodes/server"
)

// serveStreams serves logs, exec, attach and port-forward until ctx ends. What
// is open then is cut: a stream has no end of its own.
func (a *Agent) serveStreams(ctx context.Context) error {
	s := &http.Server{
		Handler:           server.New(a.cfg.NodeName, a, a.cfg.Runtime, a.cfg.Client.AuthorizationV1().SubjectAccessReviews(), a.log),
		ReadHeaderTimeout: 10 * time.Second,
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	// HTTP/1 only: SPDY and websockets upgrade the connection.
	config := a.cfg.StreamingTLS.Clone()
	config.NextProtos = []string{"http/1.1"}
	err := s.Serve(tls.NewListener(a.cfg.StreamingListener, config))
	if ctx.Err() != nil || errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve logs and exec: %w", err)
}

// Pod finds a pod of this node by name; of two, the one that is not on its way
// out.
func (a *Agent) Pod(namespace, name string) (*corev1.Pod, bool) {
	var found *corev1.Pod
	for _, p := range a.pods() {
		if p.Namespace == namespace && p.Name == name && (found == nil || p.DeletionTimestamp == nil) {
			found = p
		}
	}
	return found, found != nil
}

// List returns the pods of this node.
func (a *Agent) List() []corev1.Pod {
	pods := a.pods()
	out := make([]corev1.Pod, 0, len(pods))
	for _, p := range pods {
		out = append(out, *p)
	}
	return out
}

func (a *Agent) pods() []*corev1.Pod {
	var out []*corev1.Pod
	for _, w := range a.allWorkers() {
		w.mu.Lock()
		if w.pod != nil {
			out = append(out, w.pod)
		}
		w.mu.Unlock()
	}
	return out
}
