package iptables

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"

	goiptables "github.com/coreos/go-iptables/iptables"

	"headway.dev/proxy/rules"
)

// tables are the tables with chains of ours, in the order in which they are
// changed: where a service gets its first endpoints, the way to them is there
// before the refusal goes.
var tables = []string{"nat", "filter"}

// Table contains the rules of the process's network namespace.
type Table struct {
	cfg rules.Config
	ipt *goiptables.IPTables
	log *slog.Logger

	// applied is what the kernel is known to have; nil if that is not known.
	applied map[chainID]rules.Chain
	// refused are the rules of chains that the kernel would not take.
	refused map[chainID][]string
	udp     map[rules.UDPPort]endpoints
}

type chainID struct{ table, name string }

// New finds the iptables programs. It changes nothing yet.
func New(cfg rules.Config, log *slog.Logger) (*Table, error) {
	ipt, err := goiptables.New()
	if err != nil {
		return nil, fmt.Errorf("find iptables; install the package iptables: %w", err)
	}
	if _, err := exec.LookPath("iptables-restore"); err != nil {
		return nil, fmt.Errorf("find iptables-restore; install the package iptables: %w", err)
	}
	return &Table{cfg: cfg, ipt: ipt, log: log}, nil
}

// Backend names the program version and the kernel interface behind it:
// "iptables v1.8.9 (nf_tables)" or "… (legacy)".
func Backend(ctx context.Context) (string, error) {
	out, err := run(ctx, nil, "iptables", "--version")
	return strings.TrimSpace(string(out)), err
}

// Apply makes the kernel's rules equal to want. If the kernel refuses the chain
// of one service (because it lacks a module, say), that chain is left empty and
// logged; it does not keep the others from being applied, and is not tried
// again until it changes.
func (t *Table) Apply(ctx context.Context, want rules.Ruleset) error {
	desired := make(map[chainID]rules.Chain, len(want.Chains))
	for _, c := range want.Chains {
		id := chainID{c.Table, c.Name}
		if bad, ok := t.refused[id]; ok && slices.Equal(bad, c.Rules) {
			c.Rules = nil
		}
		desired[id] = c
	}
	have, first := t.applied, t.applied == nil
	if first {
		kernel, err := kernelChains(ctx)
		if err != nil {
			return err
		}
		have = kernel
	}
	if err := t.replace(ctx, desired, have, first); err != nil {
		t.applied = nil // it is not known what the kernel has now
		return err
	}
	if first {
		if err := t.ensureJumps(); err != nil {
			return err
		}
	}
	t.applied = desired
	return t.forgetUDP(want.UDP)
}

// replace turns have into desired in one transaction, and again without the
// chains that make it fail, which it empties in desired.
func (t *Table) replace(ctx context.Context, desired, have map[chainID]rules.Chain, all bool) error {
	for {
		input, n := transaction(desired, have, all)
		if n == 0 {
			return nil
		}
		_, err := run(ctx, input, "iptables-restore", "--noflush", "-w", "5")
		if err == nil {
			t.log.Debug("iptables rules replaced", "chains", n, "bytes", len(input))
			return nil
		}
		id, ok := culprit(input, err)
		if !ok || len(desired[id].Rules) == 0 {
			return fmt.Errorf("replace %d chains: %w", n, err)
		}
		t.log.Error("the kernel refuses a service's rules; the service does not work", "chain", id.name, "error", err)
		if t.refused == nil {
			t.refused = map[chainID][]string{}
		}
		t.refused[id] = desired[id].Rules
		desired[id] = rules.Chain{Table: id.table, Name: id.name}
		// The tables before the failing one may have been changed already.
		all = true
	}
}

var failedLine = regexp.MustCompile(`line:? (\d+)`)

// culprit is the chain of a single service in whose rules a transaction failed.
func culprit(input []byte, err error) (chainID, bool) {
	m := failedLine.FindStringSubmatch(err.Error())
	if m == nil {
		return chainID{}, false
	}
	n, convErr := strconv.Atoi(m[1])
	lines := strings.Split(string(input), "\n")
	if convErr != nil || n < 1 || n > len(lines) {
		return chainID{}, false
	}
	words := strings.Fields(lines[n-1])
	if len(words) < 2 || words[0] != "-A" || !rules.IsServiceChain(words[1]) {
		return chainID{}, false
	}
	for i := n - 1; i >= 0; i-- {
		if table, ok := strings.CutPrefix(lines[i], "*"); ok {
			return chainID{table, words[1]}, true
		}
	}
	return chainID{}, false
}

// transaction is the input of iptables-restore that turns have into desired,
// and the number of chains in it.
func transaction(desired, have map[chainID]rules.Chain, all bool) (input []byte, n int) {
	var b bytes.Buffer
	for _, table := range tables {
		var dirty, gone []chainID
		for id, c := range desired {
			if old, ok := have[id]; id.table == table && (all || !ok || !slices.Equal(old.Rules, c.Rules)) {
				dirty = append(dirty, id)
			}
		}
		for id := range have {
			if _, ok := desired[id]; id.table == table && !ok {
				gone = append(gone, id)
			}
		}
		if len(dirty)+len(gone) == 0 {
			continue
		}
		n += len(dirty) + len(gone)
		byName := func(a, b chainID) int { return strings.Compare(a.name, b.name) }
		slices.SortFunc(dirty, byName)
		slices.SortFunc(gone, byName)
		fmt.Fprintf(&b, "*%s\n", table)
		// Naming a chain creates it, or empties it if it is there. All come
		// before the rules, because rules name other chains.
		for _, id := range slices.Concat(dirty, gone) {
			fmt.Fprintf(&b, ":%s - [0:0]\n", id.name)
		}
		for _, id := range dirty {
			for _, rule := range desired[id].Rules {
				fmt.Fprintf(&b, "-A %s %s\n", id.name, rule)
			}
		}
		for _, id := range gone {
			fmt.Fprintf(&b, "-X %s\n", id.name)
		}
		b.WriteString("COMMIT\n")
	}
	return b.Bytes(), n
}

// kernelChains lists the chains of ours that the kernel has, without their
// rules, which the kernel prints in another form than it reads.
func kernelChains(ctx context.Context) (map[chainID]rules.Chain, error) {
	out := map[chainID]rules.Chain{}
	for _, table := range tables {
		saved, err := run(ctx, nil, "iptables-save", "-t", table)
		if err != nil {
			return nil, fmt.Errorf("read the %s table: %w", table, err)
		}
		for line := range strings.Lines(string(saved)) {
			if name, ok := strings.CutPrefix(line, ":"); ok && strings.HasPrefix(name, rules.Prefix) {
				name, _, _ = strings.Cut(name, " ")
				out[chainID{table, name}] = rules.Chain{Table: table, Name: name}
			}
		}
	}
	return out, nil
}

// ensureJumps puts the jumps from the built-in chains in front, so that no
// other rule accepts or drops a packet before ours have seen it.
func (t *Table) ensureJumps() error {
	for _, j := range rules.Jumps(t.cfg) {
		if err := t.ipt.InsertUnique(j.Table, j.Chain, 1, j.Rule...); err != nil {
			return fmt.Errorf("add the jump from %s %s: %w", j.Table, j.Chain, err)
		}
	}
	return nil
}

// Verify checks whether all chains and jumps are still in the kernel, because
// another program may have flushed them. If not, it returns true, and the next
// Apply writes everything again.
func (t *Table) Verify(ctx context.Context) (missing bool, err error) {
	if t.applied == nil {
		return true, nil
	}
	have, err := kernelChains(ctx)
	if err != nil {
		return false, err
	}
	for id := range t.applied {
		if _, ok := have[id]; !ok {
			t.applied = nil
			return true, nil
		}
	}
	for _, j := range rules.Jumps(t.cfg) {
		ok, err := t.ipt.Exists(j.Table, j.Chain, j.Rule...)
		if err != nil {
			return false, fmt.Errorf("look for the jump from %s %s: %w", j.Table, j.Chain, err)
		}
		if !ok {
			t.applied = nil
			return true, nil
		}
	}
	return false, nil
}

// Cleanup removes all our chains and jumps, including those of earlier versions
// and other configurations, and the route that Prepare added.
func Cleanup(ctx context.Context) error {
	ipt, err := goiptables.New()
	if err != nil {
		return fmt.Errorf("find iptables: %w", err)
	}
	errs := []error{removeServiceRoute()}
	have, err := kernelChains(ctx)
	if err != nil {
		return err
	}
	for _, table := range tables {
		var ours []string
		for _, id := range slices.Collect(maps.Keys(have)) {
			if id.table == table {
				ours = append(ours, id.name)
			}
		}
		if len(ours) == 0 {
			continue
		}
		for _, chain := range []string{"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"} {
			if exists, err := ipt.ChainExists(table, chain); err != nil || !exists {
				continue // nat has no FORWARD, filter no PREROUTING
			}
			listed, err := ipt.List(table, chain)
			errs = append(errs, err)
			for i := len(listed) - 1; i > 0; i-- { // 0 is the policy
				if strings.Contains(listed[i], "-j "+rules.Prefix) {
					errs = append(errs, ipt.DeleteById(table, chain, i))
				}
			}
		}
		var b bytes.Buffer
		fmt.Fprintf(&b, "*%s\n", table)
		slices.Sort(ours)
		for _, name := range ours {
			fmt.Fprintf(&b, ":%s - [0:0]\n", name)
		}
		for _, name := range ours {
			fmt.Fprintf(&b, "-X %s\n", name)
		}
		b.WriteString("COMMIT\n")
		_, err := run(ctx, b.Bytes(), "iptables-restore", "--noflush", "-w", "5")
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remove the service proxy's rules: %w", err)
	}
	return nil
}

// run executes one of the iptables programs.
func run(ctx context.Context, stdin []byte, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = bytes.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.Bytes(), nil
}
