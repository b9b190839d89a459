package proxy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"headway.dev/manifests/guard"
	"headway.dev/manifests/loop"
	"headway.dev/proxy/health"
	"headway.dev/proxy/iptables"
	"headway.dev/proxy/kernel"
	"headway.dev/proxy/nftables"
	"headway.dev/proxy/service"
)

// backoff is how long to wait after the kernel took no rules.
var backoff = loop.Backoff{First: time.Second, Last: 30 * time.Second}

// refusals is how long to wait before rules are tried again that the kernel refused
// of single Services: a module may be there now.
var refusals = loop.Backoff{First: 2 * time.Second, Last: 5 * time.Minute}

// The pause after rules were written is as long as that took, within these bounds:
// changes that come meanwhile are one transaction, and writing never takes more than
// half of the time. The first change after a while waits for nothing.
const (
	leastPause = 20 * time.Millisecond
	mostPause  = time.Second
)

func pause(took time.Duration) time.Duration { return min(max(took, leastPause), mostPause) }

// Source is the state that the proxy follows; State has most of it.
type Source interface {
	// Run keeps the state up to date until ctx ends.
	Run(ctx context.Context) error
	// Changed receives a value after the state changed. It holds at most one
	// value, so that any number of changes may be handled together.
	Changed() <-chan struct{}
	// Take returns what changed since the last call, or everything. complete is
	// false, and nothing is taken, until all was read for the first time.
	Take(all bool) (changes Changes, complete bool)
}

// Config is the configuration of a proxy.
type Config struct {
	// Cluster has Services and EndpointSlices, and the zone of the node. It is
	// not used if Source is set.
	Cluster Cluster
	Source  Source

	// Services has the node's name and the address ranges.
	Services service.Config
	// Mode is who writes the rules; ModeIptables if empty.
	Mode Mode
	// VerifyPeriod is how often to check whether another program removed the
	// rules; 1 minute if zero.
	VerifyPeriod time.Duration
	// Warn is told what users have to know of a Service; it may be nil.
	Warn func(about types.NamespacedName, uid types.UID, reason, message string)
	Log  *slog.Logger
}

// Proxy keeps the node's rules up to date.
type Proxy struct {
	cfg    Config
	rules  rules
	fronts *service.Fronts
	flows  *kernel.Flows
	health *health.Servers
	told   map[types.NamespacedName]bool // of which Services it was told that they are refused
	// open is set while node ports on 127.0.0.1 are, which rules have to guard.
	open bool
}

// New prepares a proxy. It fails if the programs that write the rules are
// missing.
func New(cfg Config) (*Proxy, error) {
	if cfg.Warn == nil {
		cfg.Warn = func(types.NamespacedName, types.UID, string, string) {}
	}
	cfg.VerifyPeriod = cmp.Or(cfg.VerifyPeriod, time.Minute)
	cfg.Mode = cmp.Or(cfg.Mode, ModeIptables)
	if cfg.Source == nil {
		cfg.Source = newClusterSource(cfg.Cluster, cfg.Services.NodeName)
	}
	rules, err := newRules(cfg)
	if err != nil {
		return nil, fmt.Errorf("start the service proxy: %w", err)
	}
	return &Proxy{cfg: cfg, rules: rules, fronts: service.NewFronts(), flows: kernel.NewFlows(cfg.Log, cfg.Services.NodeIPs), health: health.New(cfg.Log)}, nil
}

// Run follows the source until ctx ends, and then returns nil; the rules stay.
// It fails only if the kernel cannot be prepared.
func (p *Proxy) Run(ctx context.Context) error {
	if err := kernel.Prepare(p.cfg.Services); err != nil {
		return fmt.Errorf("prepare the kernel for services: %w", err)
	}
	name, err := p.rules.Name(ctx)
	if err != nil {
		return fmt.Errorf("start the service proxy: %w", err)
	}
	p.cfg.Log.Info("service proxy started", "mode", string(p.cfg.Mode), "backend", name, "serviceCIDRs", fmt.Sprint(p.cfg.Services.ServiceCIDRs))

	ctx, cancel := context.WithCancel(ctx)
	defer p.health.Close()
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
	failures, refused := 0, 0
	var last, took time.Duration // the end of the last writing, since start
	start := time.Now()
	// The first time, also after a panic, everything is looked at.
	all := true
	other := p.removeOther
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.cfg.Source.Changed():
		case <-retry.C:
			p.rules.Again()
		case <-verify.C:
			missing, err := p.rules.Verify(ctx)
			if err != nil {
				p.cfg.Log.Warn("cannot verify the service rules", "error", err)
			}
			if !missing {
				continue
			}
			p.cfg.Log.Warn("service rules were removed by another program; writing them again")
			if err := p.closeLoopback(); err != nil {
				p.cfg.Log.Warn("cannot close 127.0.0.0/8 while its rules are missing", "error", err)
			}
		}
		if wait := last + pause(took) - time.Since(start); last > 0 && !sleep(ctx, wait) {
			return
		}
		changes, complete := p.cfg.Source.Take(all)
		if !complete {
			// Rules from half of the state would cut off services that work.
			continue
		}
		all = false
		begun := time.Since(start)
		err := p.apply(ctx, changes)
		last = time.Since(start)
		took = last - begun
		if err == nil && other != nil {
			if err = other(ctx); err == nil {
				other = nil
			}
		}
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
			p.cfg.Log.Debug("service rules are up to date", "services", len(changes.Services), "took", took)
			if !p.tell(p.rules.Refused()) {
				refused = 0
				continue
			}
			retry.Reset(refusals.After(refused))
			refused++
		}
	}
}

// sleep returns false if ctx ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// apply decides about what changed, and makes the kernel's rules those of all
// decisions.
func (p *Proxy) apply(ctx context.Context, changes Changes) error {
	decided := service.Changes{Of: map[types.NamespacedName]*service.Decision{}, All: changes.All}
	for name, served := range changes.Services {
		if served.Service == nil {
			decided.Of[name] = nil
			continue
		}
		err := guard.Call(ctx, "decide about service "+name.String(), func() error {
			decided.Of[name] = service.Decide(p.cfg.Services, changes.Zone, served.Service, served.Slices)
			return nil
		})
		if err != nil { // one Service does not stop the others
			p.cfg.Log.Error("cannot decide about a service; its rules stay as they were", "service", name.String(), "error", err)
			if before := p.fronts.Decided(name); before != nil {
				decided.Of[name] = before // or else it would be gone, if these are all that there are
			}
		}
	}
	p.health.Apply(ctx, decided)
	settled := p.fronts.Settle(decided)
	p.flows.Note(settled)
	err := p.rules.Apply(ctx, settled)
	p.health.SetHealthy(err == nil)
	if err != nil {
		return err
	}
	return errors.Join(p.openLoopback(), p.flows.Forget())
}

// tell tells of Services that the kernel refuses, once each while it does, and reports
// whether there are any.
func (p *Proxy) tell(refused map[types.NamespacedName]error) bool {
	told := make(map[types.NamespacedName]bool, len(refused))
	for name, why := range refused {
		if told[name] = true; p.told[name] {
			continue
		}
		if d := p.fronts.Decided(name); d != nil {
			p.cfg.Warn(name, d.UID, "ServiceNotServed", fmt.Sprintf("The kernel of node %s refuses the rules of the Service, which is not served there: %v", p.cfg.Services.NodeName, why))
		}
	}
	p.told = told
	return len(refused) > 0
}

// openLoopback opens node ports on 127.0.0.1, once the rules that guard them are
// there.
func (p *Proxy) openLoopback() error {
	if p.open || len(p.cfg.Services.ServiceRanges(service.IPv4)) == 0 {
		return nil
	}
	err := kernel.OpenLoopback()
	p.open = err == nil
	return err
}

func (p *Proxy) closeLoopback() error {
	p.open = false
	return kernel.CloseLoopback()
}

// Cleanup removes all rules of the proxy from the machine, of every mode.
func Cleanup(ctx context.Context) error {
	if err := kernel.CloseLoopback(); err != nil { // while there are the rules that guard it
		return err
	}
	return errors.Join(iptables.Cleanup(ctx), nftables.Cleanup(ctx), kernel.Cleanup())
}
