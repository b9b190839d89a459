package nftables

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os/exec"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/knftables"

	"headway.dev/proxy/service"
)

// Rules are the rules of the process's network namespace.
type Rules struct {
	cfg service.Config
	nft knftables.Interface
	log *slog.Logger

	parts  map[types.NamespacedName]*part
	shapes map[shape]int      // how many use them
	loops  map[netip.Addr]int // how many Services have the endpoint
	// elements are of maps and sets. No two Services have the same, see
	// service.Fronts.
	elements *tracked[element, string]
	chains   *tracked[string, []string]
	// stale are chains that nothing leads to any more. They are empty, and go with
	// the next transaction: kernels before 6.2 refuse to delete a chain together
	// with the element that led to it.
	stale map[string]bool
	// clients are the sets of clients.
	clients *tracked[string, clients]
	// known is set if the kernel is known to have what is tracked.
	known bool
	// unwritten are the Services whose rules the kernel has not taken yet.
	unwritten map[types.NamespacedName]*service.Decision
	// withdrawn are those that it refuses, and that have no rules.
	withdrawn map[types.NamespacedName]withdrawn
}

// New finds nft. It changes nothing yet.
func New(cfg service.Config, log *slog.Logger) (*Rules, error) {
	nft, err := knftables.New(knftables.InetFamily, tableName)
	if err != nil {
		return nil, fmt.Errorf("find nft; install the package nftables: %w", err)
	}
	r := &Rules{
		cfg: cfg, nft: nft, log: log, parts: map[types.NamespacedName]*part{}, shapes: map[shape]int{}, loops: map[netip.Addr]int{},
		elements: newTracked[element, string](), stale: map[string]bool{}, chains: newTracked[string, []string](), clients: newTracked[string, clients](),
		unwritten: map[types.NamespacedName]*service.Decision{}, withdrawn: map[types.NamespacedName]withdrawn{},
	}
	for name, rules := range baseChains(cfg) {
		r.chains.set(name, rules)
	}
	return r, nil
}

// Name names the program's version.
func (r *Rules) Name(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "nft", "--version").Output()
	if err != nil {
		return "", fmt.Errorf("nft --version: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// write makes the kernel's rules what they should be, in one transaction. After an error
// the next one writes everything again.
func (r *Rules) write(ctx context.Context) error {
	if r.known {
		return r.change(ctx, r.nft.NewTransaction(), false)
	}
	tx, err := r.begin(ctx)
	if err != nil {
		return err
	}
	if err := r.change(ctx, tx, false); err != nil {
		r.log.Warn("cannot take over the table of a former proxy; it is made anew", "error", err)
		r.unknown()
		tx := r.nft.NewTransaction()
		tx.Add(&knftables.Table{})
		tx.Delete(&knftables.Table{})
		tx.Add(&knftables.Table{})
		addMaps(r.cfg, tx)
		clear(r.stale)
		return r.change(ctx, tx, false)
	}
	return nil
}

// take replaces what the Services add to the table. All of the old goes first: what
// one of them loses, another one may get.
func (r *Rules) take(changes service.Changes) {
	for name := range changes.Of {
		r.drop(name)
		delete(r.withdrawn, name)
	}
	if changes.All {
		for name := range r.parts { // that are left
			r.drop(name)
		}
		for name := range r.withdrawn {
			delete(r.withdrawn, name)
		}
	}
	for name, d := range changes.Of {
		if d != nil {
			r.add(name, d)
		}
	}
}

func (r *Rules) drop(name types.NamespacedName) {
	if old := r.parts[name]; old != nil {
		for e := range old.elements {
			r.elements.remove(e)
		}
		for _, s := range old.shapes {
			r.useShape(s, -1)
		}
		for chain := range old.chains {
			r.chains.remove(chain)
		}
		for set := range old.clients {
			r.clients.remove(set)
		}
		for _, ip := range old.hairpin {
			r.useHairpin(ip, -1)
		}
	}
	delete(r.parts, name)
	delete(r.unwritten, name)
}

func (r *Rules) add(name types.NamespacedName, d *service.Decision) {
	next := render(r.cfg, d)
	for e, value := range next.elements {
		r.elements.set(e, value)
	}
	for _, s := range next.shapes {
		r.useShape(s, 1)
	}
	for chain, rules := range next.chains {
		r.chains.set(chain, rules)
	}
	for set, c := range next.clients {
		r.clients.set(set, c)
	}
	for _, ip := range next.hairpin {
		r.useHairpin(ip, 1)
	}
	r.parts[name], r.unwritten[name] = next, d
}

func (r *Rules) useShape(s shape, by int) {
	switch r.shapes[s] += by; r.shapes[s] {
	case 0:
		delete(r.shapes, s)
		r.chains.remove(s.name())
	case by: // the first
		r.chains.set(s.name(), s.rules(r.cfg))
	}
}

func (r *Rules) useHairpin(ip netip.Addr, by int) {
	e := element{of(hairpinSet, service.FamilyOf(ip)), fmt.Sprintf("%s . %s", ip, ip)}
	switch r.loops[ip] += by; r.loops[ip] {
	case 0:
		delete(r.loops, ip)
		r.elements.remove(e)
	case by: // the first
		r.elements.set(e, "")
	}
}

func (r *Rules) unknown() {
	r.known = false
	r.elements.unknown()
	r.chains.unknown()
	r.clients.unknown()
}

// begin starts a transaction that writes everything into the table that a former
// proxy may have left: its chains and maps are emptied, and the sets of clients
// stay, so that clients keep their endpoints.
func (r *Rules) begin(ctx context.Context) (*knftables.Transaction, error) {
	r.unknown()
	there, err := r.nft.ListAll(ctx)
	if err != nil && !knftables.IsNotFound(err) {
		return nil, fmt.Errorf("list the table %s: %w", tableName, err)
	}
	tx := r.nft.NewTransaction()
	tx.Add(&knftables.Table{})
	addMaps(r.cfg, tx)
	maps, sets := mapNames(r.cfg)
	for _, name := range maps {
		tx.Flush(&knftables.Map{Name: name})
	}
	for _, name := range sets {
		tx.Flush(&knftables.Set{Name: name})
	}
	clear(r.stale)
	for _, name := range there["chain"] {
		r.chains.have[name], r.chains.dirty[name] = nil, true
	}
	for _, name := range there["set"] {
		if slices.Contains(sets, name) {
			continue
		}
		r.clients.have[name], r.clients.dirty[name] = r.clients.want[name], true
	}
	return tx, nil
}

// change adds to the transaction what is tracked, and carries it out. With sweep it
// does so even if there is nothing else to do than to delete stale chains.
func (r *Rules) change(ctx context.Context, tx *knftables.Transaction, sweep bool) error {
	var goneChains, goneSets, swept []string
	sameClients := func(a, b clients) bool { return a == b }
	r.clients.differ(sameClients, func(name string, _ clients) { goneSets = append(goneSets, name) }, func(name string, c clients) {
		tx.Add(&knftables.Set{
			Name: name, Type: fmt.Sprintf("ipv%d_addr", c.family), Timeout: &c.timeout,
			Flags: []knftables.SetFlag{knftables.DynamicFlag, knftables.TimeoutFlag},
		})
	})
	var changed []string
	for name := range r.stale {
		if _, again := r.chains.want[name]; !again {
			tx.Delete(&knftables.Chain{Name: name})
		}
		swept = append(swept, name)
	}
	r.chains.differ(slices.Equal, func(name string, _ []string) {
		tx.Flush(&knftables.Chain{Name: name})
		if _, stays := r.chains.want[name]; !stays {
			goneChains = append(goneChains, name)
		}
	}, func(name string, _ []string) {
		chain := &knftables.Chain{Name: name}
		if h, base := hooks[name]; base {
			chain.Type, chain.Hook, chain.Priority = &h.kind, &h.hook, &h.priority
		}
		tx.Add(chain)
		changed = append(changed, name)
	})
	for _, name := range changed { // all chains are there: rules name others
		for _, rule := range r.chains.want[name] {
			tx.Add(&knftables.Rule{Chain: name, Rule: rule})
		}
	}
	sameValue := func(a, b string) bool { return a == b }
	r.elements.differ(sameValue,
		func(e element, value string) { tx.Delete(e.object(value)) },
		func(e element, value string) { tx.Add(e.object(value)) })
	for _, name := range goneSets {
		tx.Delete(&knftables.Set{Name: name})
	}
	if n := tx.NumOperations(); n > len(swept) || sweep && n > 0 {
		if err := r.nft.Run(ctx, tx); err != nil {
			r.unknown() // nothing was changed, but why is not known
			return fmt.Errorf("change %d objects of nftables: %w", n, err)
		}
		r.log.Debug("nftables rules replaced", "operations", n)
		for _, name := range swept {
			delete(r.stale, name)
		}
		for _, name := range goneChains {
			r.stale[name] = true
		}
	}
	r.known = true
	r.elements.written()
	r.chains.written()
	r.clients.written()
	return nil
}

func (e element) object(value string) *knftables.Element {
	out := &knftables.Element{Key: []string{e.key}}
	if value == "" {
		out.Set = e.of
	} else {
		out.Map, out.Value = e.of, []string{value}
	}
	return out
}

// Verify checks whether all chains are still in the kernel with as many rules,
// and all maps, because another program may have flushed them. If not, it
// returns true, and the next Apply writes everything again.
func (r *Rules) Verify(ctx context.Context) (missing bool, err error) {
	if !r.known {
		return true, nil
	}
	there, err := r.nft.ListAll(ctx)
	if err != nil && !knftables.IsNotFound(err) {
		return false, fmt.Errorf("list the table %s: %w", tableName, err)
	}
	rules := map[string]int{}
	if err == nil {
		listed, err := r.nft.ListRules(ctx, "")
		if err != nil && !knftables.IsNotFound(err) {
			return false, fmt.Errorf("list the rules of the table %s: %w", tableName, err)
		}
		for _, rule := range listed {
			rules[rule.Chain]++
		}
	}
	for name, want := range r.chains.want {
		missing = missing || rules[name] != len(want)
	}
	maps, sets := mapNames(r.cfg)
	for _, name := range maps {
		missing = missing || !slices.Contains(there["map"], name)
	}
	for _, name := range sets {
		missing = missing || !slices.Contains(there["set"], name)
	}
	if missing {
		r.unknown()
		return true, nil
	}
	return false, r.change(ctx, r.nft.NewTransaction(), true)
}

// Cleanup removes the table. Where there is no nft that works, no proxy has made
// one.
func Cleanup(ctx context.Context) error {
	nft, err := knftables.New(knftables.InetFamily, tableName)
	if err != nil {
		return nil //nolint:nilerr // see above
	}
	tx := nft.NewTransaction()
	tx.Add(&knftables.Table{}) // or else it could not be deleted if it is not there
	tx.Delete(&knftables.Table{})
	if err := nft.Run(ctx, tx); err != nil {
		return fmt.Errorf("remove the service proxy's table of nftables: %w", err)
	}
	return nil
}
