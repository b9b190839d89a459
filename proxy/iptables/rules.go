package iptables

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"headway.dev/proxy/service"
)

// Rules are the rules of the process's network namespace, in all families that
// are served.
type Rules struct{ tables []*table }

// New finds the iptables programs. It changes nothing yet.
func New(cfg service.Config, log *slog.Logger) (*Rules, error) {
	r := &Rules{}
	for _, f := range cfg.Families() {
		t, err := newTable(cfg, f, log)
		if err != nil {
			return nil, err
		}
		r.tables = append(r.tables, t)
	}
	return r, nil
}

// Name names the program version and the kernel interface behind it:
// "iptables v1.8.9 (nf_tables)" or "… (legacy)".
func (r *Rules) Name(ctx context.Context) (string, error) {
	out, err := run(ctx, nil, "iptables", "--version")
	return strings.TrimSpace(string(out)), err
}

// Apply makes the kernel's rules those of the decisions, of which the changed
// ones are given. After an error the next Apply writes everything again. If the
// kernel refuses the chain of one service (because it lacks a module, say), that
// chain is left empty and logged, and Refused tells of it; it does not keep the
// others from being applied, and is tried again when it changes or after Again.
func (r *Rules) Apply(ctx context.Context, changes service.Changes) error {
	var errs []error
	for _, t := range r.tables {
		t.take(changes)
		if err := t.apply(ctx); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", t.family, err))
		}
	}
	return errors.Join(errs...)
}

// Refused says which Services' rules the kernel refused, and why: they do not work.
func (r *Rules) Refused() map[types.NamespacedName]error {
	out := map[types.NamespacedName]error{}
	for _, t := range r.tables {
		t.refuses(out)
	}
	return out
}

// Again has the next Apply try once more what the kernel refused.
func (r *Rules) Again() {
	for _, t := range r.tables {
		t.again()
	}
}

// Verify checks whether all chains and jumps are still in the kernel, because
// another program may have flushed them. If not, it returns true, and the next
// Apply writes everything again.
func (r *Rules) Verify(ctx context.Context) (missing bool, err error) {
	for _, t := range r.tables {
		gone, err := t.verify(ctx)
		if err != nil {
			return missing, err
		}
		missing = missing || gone
	}
	return missing, nil
}

// Cleanup removes all our chains and jumps, including those of earlier versions
// and other configurations.
func Cleanup(ctx context.Context) error {
	var errs []error
	for _, f := range []service.Family{service.IPv4, service.IPv6} {
		if _, err := os.Stat("/proc/net/if_inet6"); f == service.IPv6 && err != nil {
			continue // the kernel does not speak it
		}
		if _, err := exec.LookPath(program(f, "")); f == service.IPv6 && err != nil {
			continue // nobody has written any
		}
		errs = append(errs, cleanup(ctx, f))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remove the service proxy's rules: %w", err)
	}
	return nil
}
