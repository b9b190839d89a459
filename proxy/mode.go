package proxy

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/types"

	"headway.dev/proxy/iptables"
	"headway.dev/proxy/nftables"
	"headway.dev/proxy/service"
)

// Mode is who writes the rules.
type Mode string

// The modes.
const (
	// ModeIptables is for every machine, with either backend of iptables.
	ModeIptables Mode = "iptables"
	// ModeNftables is for thousands of Services: a connection passes no list of
	// them, and no change costs what the number of Services is.
	ModeNftables Mode = "nftables"
)

// ParseMode reads a mode.
func ParseMode(text string) (Mode, error) {
	switch m := Mode(text); m {
	case ModeIptables, ModeNftables:
		return m, nil
	}
	return "", fmt.Errorf("unknown mode %q: it is %s or %s", text, ModeIptables, ModeNftables)
}

// rules make the kernel do what was decided.
type rules interface {
	// Name names the programs behind it.
	Name(ctx context.Context) (string, error)
	// Apply makes the rules those of all decisions, of which the changed ones are
	// given. What fails is made up for by the next call.
	Apply(ctx context.Context, changes service.Changes) error
	// Verify reports whether another program removed rules, which the next Apply
	// writes again.
	Verify(ctx context.Context) (missing bool, err error)
	// Refused says which Services' rules the kernel refused, and why: they do not
	// work. Again has the next Apply try them once more.
	Refused() map[types.NamespacedName]error
	Again()
}

func newRules(cfg Config) (rules, error) {
	switch cfg.Mode {
	case ModeIptables:
		return iptables.New(cfg.Services, cfg.Log)
	case ModeNftables:
		return nftables.New(cfg.Services, cfg.Log)
	}
	return nil, fmt.Errorf("unknown mode %q", cfg.Mode)
}

// removeOther removes what a proxy of another mode left, once the rules of this
// one are there.
func (p *Proxy) removeOther(ctx context.Context) error {
	if p.cfg.Mode == ModeNftables {
		return iptables.Cleanup(ctx)
	}
	return nftables.Cleanup(ctx)
}
