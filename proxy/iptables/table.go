package iptables

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os/exec"
	"slices"
	"strings"

	goiptables "github.com/coreos/go-iptables/iptables"
	"k8s.io/apimachinery/pkg/types"

	"headway.dev/proxy/service"
)

// tables are the tables with chains of ours, in the order in which they are
// changed: where a service gets its first endpoints, the way to them is there
// before the refusal goes.
var tables = []string{"nat", "filter"}

// table contains the rules of one family.
type table struct {
	cfg    service.Config
	family service.Family
	ipt    *goiptables.IPTables
	log    *slog.Logger

	// parts are what the services add, and want the rules of all chains that
	// come of it; dirty are those in which want may differ from applied.
	parts map[types.NamespacedName]*part
	want  map[chainID][]string
	dirty map[chainID]bool
	// applied is what the kernel is known to have; nil if that is not known.
	applied map[chainID][]string
	// refused are the rules of chains that the kernel would not take, and withdrawn
	// the Services of which it would not take what they add to chains that all share.
	refused   map[chainID][]string
	withdrawn map[types.NamespacedName]*service.Decision
	// why is what the program said last of each of both.
	whyRefused   map[chainID]error
	whyWithdrawn map[types.NamespacedName]error
}

type chainID struct{ table, name string }

func newTable(cfg service.Config, family service.Family, log *slog.Logger) (*table, error) {
	ipt, err := goiptables.NewWithProtocol(protocol(family))
	if err != nil {
		return nil, fmt.Errorf("find %s; install the package iptables: %w", program(family, ""), err)
	}
	if _, err := exec.LookPath(program(family, "-restore")); err != nil {
		return nil, fmt.Errorf("find %s; install the package iptables: %w", program(family, "-restore"), err)
	}
	t := &table{
		cfg: cfg, family: family, ipt: ipt, log: log,
		parts: map[types.NamespacedName]*part{}, want: map[chainID][]string{}, dirty: map[chainID]bool{}, refused: map[chainID][]string{},
		withdrawn: map[types.NamespacedName]*service.Decision{}, whyRefused: map[chainID]error{}, whyWithdrawn: map[types.NamespacedName]error{},
	}
	t.share()
	return t, nil
}

func protocol(family service.Family) goiptables.Protocol {
	if family == service.IPv6 {
		return goiptables.ProtocolIPv6
	}
	return goiptables.ProtocolIPv4
}

// program is the name of one of the iptables programs.
func program(family service.Family, suffix string) string {
	if family == service.IPv6 {
		return "ip6tables" + suffix
	}
	return "iptables" + suffix
}

// take makes want that of the decisions, of which the changed ones are given.
func (t *table) take(changes service.Changes) {
	shared := false
	for name, d := range changes.Of {
		shared = t.takeOne(name, d) || shared
	}
	if changes.All {
		for name := range t.parts {
			if _, ok := changes.Of[name]; !ok {
				shared = t.takeOne(name, nil) || shared
			}
		}
		maps.DeleteFunc(t.withdrawn, func(name types.NamespacedName, _ *service.Decision) bool { return changes.Of[name] == nil })
	}
	if shared {
		t.share()
	}
}

// takeOne reports whether the chains that all share change.
func (t *table) takeOne(name types.NamespacedName, d *service.Decision) bool {
	old, next := t.parts[name], &part{}
	delete(t.withdrawn, name)
	if old == nil {
		old = &part{}
	}
	if d != nil {
		next = render(t.cfg, t.family, d)
	}
	for _, c := range old.chains {
		delete(t.want, chainID{c.Table, c.Name})
		t.dirty[chainID{c.Table, c.Name}] = true
	}
	for _, c := range next.chains {
		t.set(c)
	}
	if len(next.chains)+len(next.reject) > 0 {
		t.parts[name] = next
	} else {
		delete(t.parts, name)
	}
	return !old.shared(next)
}

func (t *table) set(c Chain) {
	id, rules := chainID{c.Table, c.Name}, c.Rules
	if bad, ok := t.refused[id]; ok && slices.Equal(bad, rules) {
		rules = nil
	}
	t.want[id], t.dirty[id] = rules, true
}

// share writes the chains that all services share.
func (t *table) share() {
	names := slices.SortedFunc(maps.Keys(t.parts), func(a, b types.NamespacedName) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	parts := make([]*part, len(names))
	for i, name := range names {
		parts[i] = t.parts[name]
	}
	for _, c := range sharedChains(t.cfg, t.family, parts) {
		t.set(c)
	}
}

// apply makes the kernel's rules equal to want.
func (t *table) apply(ctx context.Context) error {
	have, first := t.applied, t.applied == nil
	if first {
		kernel, err := kernelChains(ctx, t.family)
		if err != nil {
			return err
		}
		have = kernel
	}
	if err := t.replace(ctx, have, first); err != nil {
		t.applied = nil // it is not known what the kernel has now
		return err
	}
	if first {
		if err := t.ensureJumps(); err != nil {
			return err
		}
		t.applied = maps.Clone(t.want)
	} else {
		for id := range t.dirty {
			if rules, ok := t.want[id]; ok {
				t.applied[id] = rules
			} else {
				delete(t.applied, id)
			}
		}
	}
	clear(t.dirty)
	return nil
}

// replace turns have into want in one transaction, and again without the
// chains that make it fail, which it empties in want.
func (t *table) replace(ctx context.Context, have map[chainID][]string, all bool) error {
	for {
		input, n := t.transaction(have, all)
		if n == 0 {
			return nil
		}
		_, err := run(ctx, input, program(t.family, "-restore"), "--noflush", "-w", "5")
		if err == nil {
			t.log.Debug("iptables rules replaced", "family", t.family.String(), "chains", n, "bytes", len(input))
			return nil
		}
		if passing(err) {
			return fmt.Errorf("replace %d chains: %w", n, err)
		}
		id, rule, ok := culprit(input, err)
		if ok && !isServiceChain(id.name) && t.withdraw(rule, err) {
			t.log.Error("the kernel refuses a service's rules; the service does not work", "rule", rule, "error", err)
			all = true
			continue
		}
		if !ok || !isServiceChain(id.name) || len(t.want[id]) == 0 {
			return fmt.Errorf("replace %d chains: %w", n, err)
		}
		t.log.Error("the kernel refuses a service's rules; the service does not work", "chain", id.name, "error", err)
		t.refused[id], t.whyRefused[id] = t.want[id], err
		t.want[id] = nil
		// The tables before the failing one may have been changed already.
		all = true
	}
}

// kernelChains lists the chains of ours that the kernel has, without their
// rules, which the kernel prints in another form than it reads.
func kernelChains(ctx context.Context, family service.Family) (map[chainID][]string, error) {
	out := map[chainID][]string{}
	for _, table := range tables {
		saved, err := run(ctx, nil, program(family, "-save"), "-t", table)
		if err != nil {
			return nil, fmt.Errorf("read the %s table: %w", table, err)
		}
		for line := range strings.Lines(string(saved)) {
			if name, ok := strings.CutPrefix(line, ":"); ok && strings.HasPrefix(name, Prefix) {
				name, _, _ = strings.Cut(name, " ")
				out[chainID{table, name}] = nil
			}
		}
	}
	return out, nil
}

// verify checks whether all chains and jumps are still in the kernel.
func (t *table) verify(ctx context.Context) (missing bool, err error) {
	if t.applied == nil {
		return true, nil
	}
	have, err := kernelChains(ctx, t.family)
	if err != nil {
		return false, err
	}
	for id := range t.applied {
		if _, ok := have[id]; !ok {
			t.applied = nil
			return true, nil
		}
	}
	ok, err := t.jumpsInOrder()
	if err != nil {
		return false, err
	}
	if !ok {
		t.applied = nil
		return true, nil
	}
	return false, nil
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
