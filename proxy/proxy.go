package proxy

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/client-go/kubernetes"

	"headway.dev/manifests/guard"
	"headway.dev/manifests/loop"
	"headway.dev/proxy/iptables"
	"headway.dev/proxy/rules"
)

// backoff is how long to wait after the kernel took no rules.
var backoff = loop.Backoff{First: time.Second, Last: 30 * time.Second}

// Source is the state that the proxy follows.
type Source interface {
	// Run keeps the state up to date until ctx ends.
	Run(ctx context.Context) error
	// Changed receives a value after the state changed. It holds at most one
	// value, so that any number of changes may be handled together.
	Changed() <-chan struct{}
	// Snapshot returns the current state, which is shared and must not be
	// changed. complete is false until all of it was read for the first time.
	Snapshot() (services []*corev1.Service, slices []*discoveryv1.EndpointSlice, complete bool)
}

// Config is the configuration of a proxy.
type Config struct {
	// Client reads Services and EndpointSlices. It is not used if Source is
	// set.
	Client kubernetes.Interface
	Source Source

	// Rules has the node's name and the address ranges.
	Rules rules.Config
	// VerifyPeriod is how often to check whether another program removed the
	// rules; 1 minute if zero.
	VerifyPeriod time.Duration
	Log          *slog.Logger
}

// Proxy keeps the node's rules up to date.
type Proxy struct {
	cfg      Config
	compiler *rules.Compiler
	table    *iptables.Table
}

// New prepares a proxy. It fails if the iptables programs are missing.
func New(cfg Config) (*Proxy, error) {
	cfg.VerifyPeriod = cmp.Or(cfg.VerifyPeriod, time.Minute)
	if cfg.Source == nil {
		cfg.Source = newClientSource(cfg.Client)
	}
	table, err := iptables.New(cfg.Rules, cfg.Log)
	if err != nil {
		return nil, fmt.Errorf("start the service proxy: %w", err)
	}
	return &Proxy{cfg: cfg, compiler: rules.NewCompiler(cfg.Rules), table: table}, nil
}

// Run follows the source until ctx ends, and then returns nil; the rules stay.
// It fails only if the kernel cannot be prepared.
func (p *Proxy) Run(ctx context.Context) error {
	if err := iptables.Prepare(p.cfg.Rules.ServiceCIDR); err != nil {
		return fmt.Errorf("prepare the kernel for services: %w", err)
	}
	backend, err := iptables.Backend(ctx)
	if err != nil {
		return fmt.Errorf("start the service proxy: %w", err)
	}
	p.cfg.Log.Info("service proxy started", "backend", backend, "serviceCIDR", p.cfg.Rules.ServiceCIDR.String())

	ctx, cancel := context.WithCancel(ctx)
	sourceDone := make(chan error, 1)
	go guard.Do(ctx, "follow services", func() { sourceDone <- guard.Loop(ctx, "follow services", p.cfg.Source.Run) })
	_ = guard.Loop(ctx, "service rules", func(ctx context.Context) error { p.loop(ctx); return nil }) // the loop has no error
	cancel()                                                                                          // the source ends with us, also when only it was left
	if err := <-sourceDone; err != nil && ctx.Err() == nil {
		return fmt.Errorf("follow services: %w", err)
	}
	return nil
}

func (p *Proxy) loop(ctx context.Context) {
	verify := time.NewTicker(p.cfg.VerifyPeriod)
	defer verify.Stop()
	retry := time.NewTimer(0)
	defer retry.Stop()
	failures := 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.cfg.Source.Changed():
		case <-retry.C:
		case <-verify.C:
			missing, err := p.table.Verify(ctx)
			if err != nil {
				p.cfg.Log.Warn("cannot verify the service rules", "error", err)
			}
			if !missing {
				continue
			}
			p.cfg.Log.Warn("service rules were removed by another program; writing them again")
		}
		services, slices, complete := p.cfg.Source.Snapshot()
		if !complete {
			// Rules from half of the state would cut off services that work.
			continue
		}
		start := time.Now()
		err := p.table.Apply(ctx, p.compiler.Compile(services, slices))
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			wait := backoff.After(failures)
			p.cfg.Log.Error("cannot write the service rules; will try again", "error", err, "in", wait)
			retry.Reset(wait)
			failures++
		default:
			failures = 0
			p.cfg.Log.Debug("service rules are up to date", "services", len(services), "took", time.Since(start))
		}
	}
}

// Cleanup removes all rules of the proxy from the machine.
func Cleanup(ctx context.Context) error { return iptables.Cleanup(ctx) }
