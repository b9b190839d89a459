package dns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"

	"headway.dev/manifests/guard"
	"headway.dev/manifests/loop"
	"headway.dev/nodes/dns/forward"
	"headway.dev/nodes/dns/records"
	"headway.dev/nodes/dns/settings"
	"headway.dev/nodes/known"
)

// Config is what a name server needs.
type Config struct {
	// Address is where it listens, on UDP and TCP.
	Address netip.AddrPort
	// Hold gives the node that address. It is called before listening, and again
	// and again, as others may take the address away. Nil: the node has it.
	Hold func() error
	// Domain is the cluster's, Ranges are the addresses of its pods and Services.
	Domain string
	Ranges []netip.Prefix
	// Clients are the addresses that may ask; none: all.
	Clients []netip.Prefix
	// ResolvConf is the file that names the node's name servers, or resolv.Own.
	ResolvConf string
	// Kept is the file in which the settings are kept for starts while the API is away;
	// empty: they are not kept.
	Kept string
	// Cluster has the Services and EndpointSlices; Client reads the ConfigMap with the
	// settings.
	Cluster *known.Cluster
	Client  kubernetes.Interface
	// Warn is told what users have to know: of that ConfigMap, or if it is nil, of the
	// node. Warn may be nil.
	Warn func(about *corev1.ConfigMap, reason, message string)
	Log  *slog.Logger
}

// Server answers questions.
type Server struct {
	cfg     Config
	zone    *records.Zone
	forward *forward.Forwarder
	metrics *metrics
	pods    pods
	// services and slices are set once all of them have been read.
	services, slices atomic.Bool
	// configured is set once the settings are known: before, what they keep in the house
	// might be asked of strangers.
	configured atomic.Bool
	hosts      atomic.Pointer[settings.Hosts]
	// about is the ConfigMap with the settings in force; nil: there is none.
	about atomic.Pointer[corev1.ConfigMap]
}

// New returns a server that answers nothing yet.
func New(cfg Config) *Server {
	if cfg.Warn == nil {
		cfg.Warn = func(*corev1.ConfigMap, string, string) {}
	}
	s := &Server{cfg: cfg, zone: records.NewZone(records.Config{Domain: cfg.Domain, Ranges: cfg.Ranges, Server: cfg.Address.Addr()})}
	s.forward = forward.New(forward.Config{ResolvConf: cfg.ResolvConf, Self: cfg.Address, Looped: s.looped, Log: cfg.Log})
	s.metrics = newMetrics(s.forward)
	s.pods.zone = s.zone
	return s
}

// looped tells of a name server that asks this one what it is asked.
func (s *Server) looped(server netip.AddrPort, zone string) {
	about, of := s.about.Load(), "the node's resolv.conf, or the upstreamNameservers of the ConfigMap,"
	if zone != "." {
		of = "the stubDomains of the ConfigMap, for " + zone + ","
	}
	s.cfg.Warn(about, "NameServerLoop", fmt.Sprintf("The name server %s leads back to the cluster's and is not asked: it is of %s and must not ask the cluster's", server, of))
}

// holdPeriod is how often the address is looked at.
const holdPeriod = 10 * time.Second

// listenBackoff is how long to wait after the server could not listen.
var listenBackoff = loop.Backoff{First: 200 * time.Millisecond, Last: 30 * time.Second}

// Run answers until ctx ends, and then returns nil.
func (s *Server) Run(ctx context.Context) error {
	s.recall()
	var wg sync.WaitGroup
	defer wg.Wait()
	for what, run := range map[string]func(context.Context){
		"watch services for names":       s.followServices,
		"watch endpointslices for names": s.followSlices,
		"watch the settings of names":    s.followSettings,
		"probe name servers":             s.forward.Run,
	} {
		wg.Go(func() {
			_ = guard.Loop(ctx, what, func(ctx context.Context) error { run(ctx); return nil }) // they have no error
		})
	}
	failures := 0
	for ctx.Err() == nil {
		began := time.Now()
		err := guard.Call(ctx, "serve names", func() error { return s.serve(ctx) })
		if ctx.Err() != nil {
			break
		}
		if time.Since(began) > listenBackoff.Last {
			failures = 0
		}
		wait := listenBackoff.After(failures)
		failures++
		s.cfg.Log.Error("names are not served; trying again", "err", err, "in", wait)
		s.cfg.Warn(nil, "NamesNotServed", fmt.Sprintf("Pods cannot resolve names: %v", err))
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
	return nil
}

// serve listens until ctx ends or it fails.
func (s *Server) serve(ctx context.Context) error {
	if err := s.hold(); err != nil {
		return err
	}
	var listen net.ListenConfig
	packets, err := listen.ListenPacket(ctx, "udp", s.cfg.Address.String())
	if err != nil {
		return fmt.Errorf("listen for DNS: %w", err)
	}
	defer packets.Close()
	stream, err := listen.Listen(ctx, "tcp", s.cfg.Address.String())
	if err != nil {
		return fmt.Errorf("listen for DNS: %w", err)
	}
	defer stream.Close()
	group, ctx := errgroup.WithContext(ctx)
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, r *dns.Msg) { s.serveOne(ctx, w, r) })
	for _, server := range []*dns.Server{
		{PacketConn: packets, Handler: handler, UDPSize: udpSize},
		{Listener: limit(stream), Handler: handler, ReadTimeout: tcpWait, WriteTimeout: tcpWait, IdleTimeout: func() time.Duration { return tcpIdle }},
	} {
		started := make(chan struct{})
		server.NotifyStartedFunc = func() { close(started) }
		ended := make(chan struct{})
		group.Go(func() error {
			return guard.Call(ctx, "serve names", func() error {
				defer close(ended)
				err := server.ActivateAndServe()
				if ctx.Err() != nil {
					return nil
				}
				return errors.Join(errors.New("the name server ended"), err)
			})
		})
		group.Go(func() error {
			return guard.Call(ctx, "end the name server", func() error {
				select {
				case <-started:
				case <-ended:
					return nil
				}
				<-ctx.Done()
				_ = server.Shutdown() // it waits for the questions; there is nothing to do about an error
				return nil
			})
		})
	}
	group.Go(func() error {
		return guard.Call(ctx, "hold the address of the name server", func() error { return s.keep(ctx) })
	})
	return group.Wait()
}

func (s *Server) hold() error {
	if s.cfg.Hold == nil {
		return nil
	}
	return s.cfg.Hold()
}

// keep holds the address until ctx ends.
func (s *Server) keep(ctx context.Context) error {
	tick := time.NewTicker(holdPeriod)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := s.hold(); err != nil {
				s.cfg.Log.Warn("the address of the name server may be missing; trying again", "err", err)
			}
		}
	}
}
