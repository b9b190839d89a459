package health

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"headway.dev/manifests/guard"
	"headway.dev/proxy/service"
)

// Servers answer at the health check node ports of all Services. It is for one
// goroutine.
type Servers struct {
	log  *slog.Logger
	open map[types.NamespacedName]*server
	// closed are the ports that could not be opened, and of which Service.
	closed  map[types.NamespacedName]service.Health
	healthy atomic.Bool
	running sync.WaitGroup
}

// server answers for one Service.
type server struct {
	port  uint16
	local atomic.Int64
	http  *http.Server
}

// New answers nothing yet.
func New(log *slog.Logger) *Servers {
	return &Servers{log: log, open: map[types.NamespacedName]*server{}, closed: map[types.NamespacedName]service.Health{}}
}

// SetHealthy tells whether the node's rules are those of the Services.
func (s *Servers) SetHealthy(healthy bool) { s.healthy.Store(healthy) }

// Apply answers for the decisions, of which the changed ones are given. A port
// that could not be opened is tried again with the next call.
func (s *Servers) Apply(ctx context.Context, changes service.Changes) {
	for name, d := range changes.Of {
		var h *service.Health
		if d != nil {
			h = d.Health
		}
		s.set(ctx, name, h)
	}
	if changes.All {
		for name := range s.open {
			if _, ok := changes.Of[name]; !ok {
				s.set(ctx, name, nil)
			}
		}
	}
	for name, h := range s.closed {
		if _, ok := changes.Of[name]; !ok {
			s.set(ctx, name, &h)
		}
	}
}

func (s *Servers) set(ctx context.Context, name types.NamespacedName, h *service.Health) {
	have := s.open[name]
	if have != nil && (h == nil || h.Port != have.port) {
		have.close()
		delete(s.open, name)
		have = nil
	}
	if h == nil {
		delete(s.closed, name)
		return
	}
	if have == nil {
		have = &server{port: h.Port}
		have.local.Store(int64(h.Local))
		if err := s.listen(ctx, name, have); err != nil {
			if s.closed[name].Port != h.Port {
				s.log.Warn("cannot answer at the health check node port of a service", "service", name.String(), "error", err)
			}
			s.closed[name] = *h
			return
		}
		delete(s.closed, name)
		s.open[name] = have
	}
	have.local.Store(int64(h.Local))
}

func (s *Servers) listen(ctx context.Context, name types.NamespacedName, srv *server) error {
	var listen net.ListenConfig
	ln, err := listen.Listen(ctx, "tcp", fmt.Sprintf(":%d", srv.port))
	if err != nil {
		return err
	}
	srv.http = &http.Server{
		Handler: s.handler(name, srv), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 10 * time.Second,
		WriteTimeout: 10 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 1 << 14,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	s.running.Go(func() {
		guard.Do(context.WithoutCancel(ctx), "answer health checks of "+name.String(), func() {
			if err := srv.http.Serve(ln); err != nil && !errors.Is(err, http.ErrServerClosed) {
				s.log.Error("health checks of a service are not answered any more", "service", name.String(), "error", err)
			}
		})
	})
	return nil
}

// handler answers as kube-proxy does.
func (s *Servers) handler(name types.NamespacedName, srv *server) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		n, healthy := srv.local.Load(), s.healthy.Load()
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("X-Load-Balancing-Endpoint-Weight", fmt.Sprint(n))
		if n > 0 && healthy {
			w.WriteHeader(http.StatusOK)
		} else {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		fmt.Fprintf(w, `{
	"service": {
		"namespace": %q,
		"name": %q
	},
	"localEndpoints": %d,
	"serviceProxyHealthy": %t
}`, name.Namespace, name.Name, n, healthy)
	})
}

// close closes its listener too. Who asks gets no answer, and asks again.
func (s *server) close() { _ = s.http.Close() }

// Close stops answering.
func (s *Servers) Close() {
	for name, srv := range s.open {
		srv.close()
		delete(s.open, name)
	}
	s.running.Wait()
}
