package network

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// ensureJumps makes sure that the kernel's chains lead to ours.
func (n *Network) ensureJumps(ctx context.Context) error {
	for _, f := range n.families() {
		if err := f.ensureJumps(ctx, n.cfg.Chains); err != nil {
			return err
		}
	}
	return nil
}

func (f family) ensureJumps(ctx context.Context, chains string) error {
	for _, j := range f.jumps(chains) {
		if f.iptables(ctx, j.args("-C")...) == nil {
			continue
		}
		if err := f.iptables(ctx, j.args("-A")...); err != nil {
			return fmt.Errorf("lead %s to %s: %w", j.from, j.to, err)
		}
	}
	return nil
}

// removeRules takes the jumps out first: a chain in use cannot be deleted.
func (f family) removeRules(ctx context.Context, chains string) error {
	var errs []error
	gone := map[string]bool{}
	all := f.jumps(chains)
	for i, j := range all {
		for f.iptables(ctx, j.args("-C")...) == nil {
			if err := f.iptables(ctx, j.args("-D")...); err != nil {
				errs = append(errs, err)
				break
			}
		}
		if gone[j.to] || f.iptables(ctx, "-t", j.table, "-S", j.to) != nil {
			continue
		}
		// Some are led to from two places: they are deleted after the second.
		if slices.ContainsFunc(all[i+1:], func(later jump) bool { return later.to == j.to }) {
			continue
		}
		gone[j.to] = true
		errs = append(errs, f.iptables(ctx, "-t", j.table, "-F", j.to), f.iptables(ctx, "-t", j.table, "-X", j.to))
	}
	return errors.Join(errs...)
}

func (j jump) args(op string) []string {
	args := append([]string{"-t", j.table, op, j.from}, j.match...)
	return append(args, "-j", j.to)
}

func (f family) iptables(ctx context.Context, args ...string) error {
	return run(ctx, "", f.program(), append([]string{"-w", "10"}, args...)...)
}

// restore retries: the nft backend gives up when another program changes the
// ruleset at the same moment.
func (f family) restore(ctx context.Context, input string) error {
	var err error
	for try := range 5 {
		if err = run(ctx, input, f.program()+"-restore", "-w", "10", "--noflush"); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		case <-time.After(time.Duration(try+1) * 20 * time.Millisecond):
		}
	}
	return err
}

func run(ctx context.Context, stdin, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
