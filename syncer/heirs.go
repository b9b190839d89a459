package syncer

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"path"
	"strings"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"

	"headway.dev/manifests/load"
	"headway.dev/manifests/object"
	"headway.dev/syncer/plan"
)

// Those that are slow to render must not hold up the others: buildPatience
// bounds the wait for another Kustomization's build, and familyPatience the
// time for all of them, however many there are.
const (
	buildPatience  = 5 * time.Second
	familyPatience = 20 * time.Second
)

// heirs says which other Kustomization declares an object at the head that
// self is planned for. What moves from one to another in a commit is handed
// over instead of being deleted by one and created by the other, whichever of
// them comes first, and also if the commit declares the heir itself.
//
// One that must not write the object is no heir: a tenant could else keep
// another's objects from being deleted.
//
// Only what is gone from one Kustomization, or is claimed by another, is asked
// for; a commit that moves nothing costs nothing.
func (s *Syncer) heirs(ctx context.Context, self object.Key, source object.Key, at head) func(object.Key) (plan.Heir, bool) {
	var families []*family
	asked := false
	return func(key object.Key) (plan.Heir, bool) {
		if !asked {
			families, asked = s.families(ctx, self, source, at), true
		}
		for _, f := range families {
			if f.wants[key] && s.rights().allowed(f.spec, "patch", key) == nil {
				return plan.Heir{Owner: f.owner}, true
			}
		}
		for _, f := range families {
			if f.unknown && s.rights().allowed(f.spec, "patch", key) == nil && f.mentions(key.Name) {
				return plan.Heir{Owner: f.owner, Unsure: true}, true
			}
		}
		return plan.Heir{}, false
	}
}

// family is a Kustomization with what it declares.
type family struct {
	spec  *kustomizev1.Kustomization
	owner plan.Owner
	wants map[object.Key]bool
	// unknown says that it could not be rendered; mentions then looks for a
	// name in its files.
	unknown  bool
	mentions func(name string) bool
}

// families renders the Kustomizations but self: those of the store, and those
// that the commit adds or points elsewhere.
func (s *Syncer) families(ctx context.Context, self, source object.Key, at head) []*family {
	var queue []*kustomizev1.Kustomization
	list, _ := s.cfg.Store.List(kustomizationKind, "")
	for _, o := range list {
		if ks, ok := o.(*kustomizev1.Kustomization); ok && ks.DeletionTimestamp == nil && !ks.Spec.Suspend {
			queue = append(queue, ks)
		}
	}
	var out []*family
	seen := map[string]bool{}
	until := time.Now().Add(familyPatience)
	for len(queue) > 0 && ctx.Err() == nil {
		ks := queue[0]
		queue = queue[1:]
		// Two that declare each other must not be rendered for ever.
		id := ks.Namespace + "/" + ks.Name + extent(ks)
		if seen[id] {
			continue
		}
		seen[id] = true
		key := object.Key{GroupKind: kustomizationKind, Namespace: ks.Namespace, Name: ks.Name}
		items, f := s.render(ctx, key, ks, source, at, until)
		for _, it := range items {
			if declared, ok := it.Object.(*kustomizev1.Kustomization); ok {
				queue = append(queue, declared)
			}
		}
		if key != self && f != nil {
			out = append(out, f)
		}
	}
	return out
}

// extent is what decides which objects a Kustomization declares, other than
// the files.
func extent(ks *kustomizev1.Kustomization) string {
	return strings.Join([]string{"", cleanDir(ks.Spec.Path), ks.Spec.TargetNamespace, ks.Spec.NamePrefix, ks.Spec.NameSuffix}, "\n")
}

// render is what a Kustomization declares at the head, or at its own source's
// if it follows another. After until it is not known any more.
func (s *Syncer) render(ctx context.Context, key object.Key, ks *kustomizev1.Kustomization, source object.Key, at head, until time.Time) ([]load.Item, *family) {
	f := &family{spec: ks, owner: plan.Owner{Namespace: key.Namespace, Name: key.Name}}
	s.mu.Lock()
	k := s.kustomizations[key]
	s.mu.Unlock()
	if stored, _ := s.cfg.Store.Get(key).(*kustomizev1.Kustomization); k == nil || stored == nil || extent(stored) != extent(ks) {
		k = newKustomization(s, key) // which the commit adds or changes
	}
	if sourceKey(ks) != source {
		var err error
		if at, err = k.head(ks); err != nil {
			return nil, nil
		}
	}
	var items []load.Item
	err := errSlow
	if time.Now().Before(until) {
		items, err = k.rendered(ctx, ks, at)
	}
	if err != nil {
		f.unknown, f.mentions = true, func(name string) bool { return k.mentions(ks, at, name) }
		return nil, f
	}
	f.wants = make(map[object.Key]bool, len(items))
	for _, it := range items {
		if key, err := plan.KeyOf(it.Object); err == nil {
			f.wants[key] = true
		}
	}
	return items, f
}

// errSlow says that there was no time left to render something.
var errSlow = errors.New("there was no time to render it")

// lockBuild takes the builder; the caller must return it with unlockBuild.
func (k *kustomization) lockBuild(ctx context.Context) error {
	select {
	case k.building <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (k *kustomization) unlockBuild() { <-k.building }

// lookalike is a kustomization to plan with what is only looked at, and must
// not be remembered as applied. It knows what the one that follows the object
// does, so that what did not change is neither rendered nor planned again.
func (s *Syncer) lookalike(ctx context.Context, key object.Key) *kustomization {
	k := newKustomization(s, key)
	s.mu.Lock()
	follows := s.kustomizations[key]
	s.mu.Unlock()
	if follows == nil {
		return k
	}
	k.planner = follows.planner.Fork()
	ctx, cancel := context.WithTimeout(ctx, buildPatience)
	defer cancel()
	if follows.lockBuild(ctx) == nil {
		k.builder = follows.builder.fork()
		follows.unlockBuild()
	}
	return k
}

// barren is a build that failed: of what, and how.
type barren struct {
	of  string
	err error
}

// note remembers what came of a build, under the builder's lock.
func (k *kustomization) note(ks *kustomizev1.Kustomization, at head, err error) {
	k.barren = barren{}
	if err != nil {
		k.barren = barren{of: k.buildID(ks, at), err: err}
	}
}

// buildID identifies all that a build depends on.
func (k *kustomization) buildID(ks *kustomizev1.Kustomization, at head) string {
	spec, err := json.Marshal(ks.Spec)
	if err != nil {
		return "" // it is no object of the API
	}
	return strings.Join([]string{at.revision(), at.form.mark(), k.ignore(ks), k.inputsID(ks), string(spec)}, "\n")
}

// rendered builds for another loop, with the same builder, so that the work
// is done once: also for what cannot be built, of which there may be hundreds.
func (k *kustomization) rendered(ctx context.Context, ks *kustomizev1.Kustomization, at head) ([]load.Item, error) {
	ctx, cancel := context.WithTimeout(ctx, buildPatience)
	defer cancel()
	if err := k.lockBuild(ctx); err != nil {
		return nil, err
	}
	defer k.unlockBuild()
	var items []load.Item
	err := k.s.safely(func() error {
		if k.barren.err != nil && k.barren.of == k.buildID(ks, at) {
			return k.barren.err
		}
		t, err := at.tree(k.ignore(ks))
		if err == nil {
			items, err = k.render(ks, t, at.revision())
		}
		k.note(ks, at, err)
		return err
	})
	return items, err
}

// mentions says whether a file of the Kustomization's directory has the name.
func (k *kustomization) mentions(ks *kustomizev1.Kustomization, at head, name string) bool {
	const most = 1 << 20
	tree, err := at.tree(k.ignore(ks))
	if err != nil {
		return true
	}
	found := false
	dir := cleanDir(ks.Spec.Path)
	if dir == "" {
		dir = "."
	}
	err = fs.WalkDir(tree, dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !d.Type().IsRegular() {
			return nil // what cannot be read mentions nothing
		}
		switch path.Ext(p) {
		case ".yaml", ".yml", ".json":
		default:
			return nil
		}
		file, err := tree.Open(p)
		if err != nil {
			return nil
		}
		defer file.Close()
		data, _ := io.ReadAll(io.LimitReader(file, most))
		if strings.Contains(string(data), name) {
			found = true
			return fs.SkipAll
		}
		return nil
	})
	return found || err != nil
}

// takeOver claims what was applied, and has those look again who applied it
// before: it is no longer theirs.
func (k *kustomization) takeOver(inventory []object.Key) {
	former := map[*kustomization]bool{}
	k.s.mu.Lock()
	for _, key := range inventory {
		if other := k.s.applied[key]; other != nil && other != k && k.owns(key) {
			former[other] = true
		}
	}
	k.s.mu.Unlock()
	k.s.claim(k, inventory)
	for other := range former {
		other.again()
	}
}
