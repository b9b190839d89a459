package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/fields"

	"headway.dev/engine/api/fairness"
	"headway.dev/engine/api/limits"
	"headway.dev/engine/rbac"
	"headway.dev/manifests/guard"
)

// drain is how long requests under way may take to end once Run's context has.
const drain = 5 * time.Second

// Run serves until ctx ends, and returns when everything it started has. When
// ctx ends, watches and streams end at once, other requests have a few seconds
// to finish.
func (s *Server) Run(ctx context.Context) error {
	defer s.nodes.Close()
	defer s.generic.Destroy()
	if err := rbac.Reconcile(ctx, s.store, time.Now()); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	if err := fairness.Reconcile(ctx, s.store, time.Now()); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		// What the library has built in holds meanwhile; on a full disk the server
		// still answers, and can be asked to delete something.
		s.log.Warn("The configuration of the flow control is not compared with what every cluster has", "error", err)
	}
	if err := s.aggregate.Reconcile(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		s.log.Warn("The APIServices of what the server serves itself are not up to date", "error", err)
	}
	if s.audit != nil {
		stop := make(chan struct{})
		if err := s.audit.Backend.Run(stop); err != nil {
			return fmt.Errorf("start the audit log: %w", err)
		}
		// Last of all: what the last requests did is logged, too.
		defer func() {
			close(stop)
			s.audit.Backend.Shutdown()
		}()
	}
	// Requests live longer than ctx, by drain.
	base, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	hooks, stopHooks := context.WithCancel(base)
	defer stopHooks()
	s.generic.RunPostStartHooks(hooks)
	var methods sync.WaitGroup
	defer methods.Wait()
	methods.Add(2)
	for what, run := range map[string]func(context.Context){"authentication": s.methods.Run, "authorization": s.auth.Run} {
		go guard.Do(hooks, what, func() {
			defer methods.Done()
			_ = guard.Loop(hooks, what, func(ctx context.Context) error { run(ctx); return nil })
		})
	}

	server := &http.Server{
		Handler:           limits.WithBodyDeadline(s.conns.Track(s.endWatches(ctx, s.handler))),
		TLSConfig:         s.tls,
		BaseContext:       func(net.Listener) context.Context { return base },
		ReadHeaderTimeout: 32 * time.Second,
		IdleTimeout:       90 * time.Second,
		MaxHeaderBytes:    1 << 20,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: 1000},
		// Failed handshakes are the clients' business.
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	s.requests.open()
	close(s.started)
	var background sync.WaitGroup
	defer background.Wait()
	following, unfollow := context.WithCancel(hooks)
	defer unfollow()
	background.Go(func() { guard.Do(ctx, "let requests wait", func() { s.fairness.Run(following) }) })
	background.Go(func() { guard.Do(ctx, "ask nodes what they use", func() { s.metrics.Run(following) }) })
	background.Go(func() { guard.Do(ctx, "aggregate APIs", func() { s.aggregate.Run(following) }) })
	if err := s.discovered(ctx); err != nil {
		// The server ends before it has begun.
		s.requests.close()
		cancel()
		s.requests.wait()
		return s.listener.Close()
	}
	var group errgroup.Group
	group.Go(func() error {
		return guard.Call(ctx, "serve the API", func() error {
			if err := server.ServeTLS(s.listener, "", ""); !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("serve the API on %s: %w", s.listener.Addr(), err)
			}
			return nil
		})
	})
	close(s.ready)
	s.log.Info("API server listening", "address", s.listener.Addr().String(), "version", s.version.GitVersion)

	// The server ends with ctx, or by itself when its listener fails.
	served := make(chan error, 1)
	go func() { served <- guard.Call(ctx, "wait for the API server", group.Wait) }()
	var err error
	select {
	case <-ctx.Done():
	case err = <-served:
		served <- err
	}
	// In this order: no new requests, then those under way, then what is left
	// of them, so that no handler runs when Run has returned.
	timeout, stop := context.WithTimeout(context.WithoutCancel(base), drain)
	defer stop()
	s.conns.Close()
	if shutdownErr := server.Shutdown(timeout); shutdownErr != nil {
		s.log.Warn("API requests were cut off at shutdown", "error", shutdownErr)
	}
	s.requests.close()
	cancel()
	if closeErr := server.Close(); closeErr != nil && !errors.Is(closeErr, http.ErrServerClosed) {
		err = errors.Join(err, closeErr)
	}
	s.requests.wait()
	if waitErr := s.conns.Wait(timeout); waitErr != nil {
		s.log.Warn("API streams did not end at shutdown", "error", waitErr)
	}
	return errors.Join(err, <-served)
}

// discovered waits until it is known which custom resources there are: before,
// the server would answer that one is not found. It fails with ctx.
func (s *Server) discovered(ctx context.Context) error {
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "/livez", http.NoBody)
		if err != nil {
			return err
		}
		answer := statusOnly{header: http.Header{}}
		s.generic.UnprotectedHandler().ServeHTTP(&answer, request)
		if answer.status == http.StatusOK {
			return nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// statusOnly is a response of which only the status matters.
type statusOnly struct {
	header http.Header
	status int
}

// Header implements http.ResponseWriter.
func (w *statusOnly) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter.
func (w *statusOnly) WriteHeader(status int) { w.status = status }

// Write implements http.ResponseWriter.
func (w *statusOnly) Write(data []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return len(data), nil
}

// Ready is closed once the server accepts requests.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// endWatches ends long-running requests with ctx: a watch never ends by
// itself, and shutting down would wait for it.
func (s *Server) endWatches(ctx context.Context, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query := r.URL.Query()
		if query.Get("watch") == "" && query.Get("follow") == "" {
			next.ServeHTTP(w, r)
			return
		}
		if narrow(query.Get("fieldSelector")) {
			r.Header.Del("Accept-Encoding")
		}
		request, cancel := context.WithCancel(r.Context())
		defer cancel()
		defer context.AfterFunc(ctx, cancel)()
		next.ServeHTTP(w, r.WithContext(request))
	})
}

// narrow reports whether a watch is about one object, or about what one node has.
// Little is sent there, and most of it is bookmarks: compressed it is hardly less,
// and each such watch of an agent would keep a window of 40 KiB to decompress it.
func narrow(selector string) bool {
	parsed, err := fields.ParseSelector(selector)
	if err != nil {
		return false // it is refused
	}
	for _, field := range []string{"metadata.name", "spec.nodeName"} {
		if value, ok := parsed.RequiresExactMatch(field); ok && value != "" {
			return true
		}
	}
	return false
}
