package history

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"headway.dev/manifests/model/custom"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/yaml/diff"
	"headway.dev/manifests/yaml/load"
	"headway.dev/manifests/yaml/origin"
	"headway.dev/syncer/git"
	"headway.dev/syncer/git/history"
	"headway.dev/syncer/plan"
	"headway.dev/syncer/source"
	"headway.dev/syncer/wire"
)

// Blame says what set each field of a live object: a line of a file and the
// commit that it is from, or whoever else did. Values of Secrets are hidden.
func (s *History) Blame(ctx context.Context, q wire.ObjectQuery) (wire.Blame, error) {
	key, obj, err := s.Live(q)
	if err != nil {
		return wire.Blame{}, err
	}
	if err := s.rights.Permitted(ctx, "get", key); err != nil {
		return wire.Blame{}, err
	}
	b := &blamed{
		s: s, obj: obj, managers: ManagersOf(obj), trails: map[object.Key]*trail{},
		out: wire.Blame{Group: key.Group, Kind: key.Kind, Namespace: key.Namespace, Name: key.Name, Owner: controllerOf(obj), Commits: map[string]wire.Commit{}},
	}
	if b.trail, err = b.trailOf(key); err != nil {
		return wire.Blame{}, err
	}
	if b.trail != nil {
		b.obj = s.asDeclared(ctx, obj, b.trail.item.Object)
		b.out.Kustomization = b.trail.version.name()
		b.out.Revision = "sha1:" + b.trail.version.commit
	}
	if err := b.fields(ctx); err != nil {
		return wire.Blame{}, err
	}
	return b.out, nil
}

// blamed is one answer in the making.
type blamed struct {
	s        *History
	obj      object.Object
	managers []Manager
	trail    *trail // nil for what is not from Git
	trails   map[object.Key]*trail
	out      wire.Blame
}

// trail leads from an object's fields to files.
type trail struct {
	version *Version
	item    load.Item
	trace   *origin.Trace
	// wanted are the fields that Git sets, defaulted those that it would have
	// with all defaults.
	wanted, defaulted map[string]any
	// status says that the status is a field like others. Else Git's is not applied.
	status bool
}

// trailOf is the trail of an object, nil if no Kustomization has applied it.
func (b *blamed) trailOf(key object.Key) (*trail, error) {
	if t, ok := b.trails[key]; ok {
		return t, nil
	}
	owner, ok := b.s.owners.Of(key)
	if !ok {
		return nil, nil
	}
	v, err := b.s.appliedVersion(owner)
	if err != nil {
		return nil, err
	}
	it, ok := v.find(key)
	if !ok {
		return nil, nil
	}
	t := &trail{version: v, item: it}
	if t.trace, err = origin.Of(v.tree, v.dir(), &v.spec, it); err != nil {
		return nil, fmt.Errorf("trace %s: %w", key, err)
	}
	t.wanted = leaves(it.Object)
	t.defaulted = leaves(plan.WithDefaults(b.s.env.Kinds, it.Object))
	if u, ok := it.Object.(*unstructured.Unstructured); ok {
		if _, version := b.s.versionOf(u); version != nil && !version.HasStatus() {
			t.status = true
			flatten("status", u.Object["status"], t.wanted)
			flatten("status", u.Object["status"], t.defaulted)
		}
	}
	b.trails[key] = t
	return t, nil
}

// versionOf finds the definition of a custom resource, and its version; nil if it is none.
func (s *History) versionOf(u *unstructured.Unstructured) (*custom.Definition, *custom.Version) {
	gvk := u.GroupVersionKind()
	k, ok := s.env.Kinds.ForKind(gvk.GroupKind())
	if !ok || k.Custom == nil {
		return nil, nil
	}
	version, _ := k.Custom.Version(gvk.Version)
	return k.Custom, version
}

// asDeclared returns a custom resource in the version that it has in Git, since files have
// that one's names of its fields; and as it is stored while it cannot be converted.
func (s *History) asDeclared(ctx context.Context, obj, declared object.Object) object.Object {
	u, ok := obj.(*unstructured.Unstructured)
	like, ok2 := declared.(*unstructured.Unstructured)
	if !ok || !ok2 || u.GetAPIVersion() == like.GetAPIVersion() {
		return obj
	}
	definition, version := s.versionOf(like)
	if version == nil {
		return obj
	}
	out, err := definition.Convert(ctx, u, version.GroupVersion(), s.env.Convert)
	if err != nil {
		return obj
	}
	out = out.DeepCopy()
	if err := version.Complete(out); err != nil {
		return obj
	}
	return out
}

// leaves are an object's fields by path, without those that the server owns;
// the values of a Secret are hidden.
func leaves(obj object.Object) map[string]any {
	m := map[string]any{}
	for _, f := range diff.Objects(nil, obj) {
		if text, ok := f.New.(string); ok && text == "(changed)" {
			f.New = hiddenValue
		}
		m[f.Path] = f.New
	}
	return m
}

func (b *blamed) fields(ctx context.Context) error {
	live := leaves(b.obj)
	if err := serverFields(b.obj, live); err != nil {
		return err
	}
	for path, value := range live {
		f := wire.BlameField{Path: path, Value: value}
		if err := b.attribute(ctx, &f); err != nil {
			return err
		}
		b.out.Fields = append(b.out.Fields, f)
	}
	slices.SortFunc(b.out.Fields, func(x, y wire.BlameField) int {
		return cmp.Or(cmp.Compare(section(x.Path), section(y.Path)), cmp.Compare(x.Path, y.Path))
	})
	return nil
}

// section puts the status last.
func section(path string) int {
	if rest, ok := strings.CutPrefix(path, "status"); ok && (rest == "" || rest[0] == '.' || rest[0] == '[') {
		return 1
	}
	return 0
}

// attribute finds out who set a field. Git first, as long as its value is in
// force and nobody took it over; then whoever wrote it last; then what nobody
// wrote.
func (b *blamed) attribute(ctx context.Context, f *wire.BlameField) error {
	writer, byGit := b.writer(f.Path)
	if t := b.trail; t != nil && (byGit || writer == nil) && (t.status || section(f.Path) == 0) {
		want, ok := t.wanted[f.Path]
		// What names the object is in no manager's list, and Secrets are
		// written as text and stored as data.
		if o, found := t.trace.Field(f.Path); found && (!ok || reflect.DeepEqual(want, f.Value)) {
			return b.place(ctx, f, t, o, 0)
		}
		if _, added := t.defaulted[f.Path]; byGit && !added {
			f.Owner, f.Name = wire.OwnerKustomization, t.version.name()
			return nil
		}
	}
	switch {
	case writer != nil:
		f.Owner, f.Name, f.Time = wire.OwnerManager, writer.Name, writer.Time
	case b.trail != nil && isDefault(b.trail, f):
		f.Owner = wire.OwnerDefault
	case b.out.Owner != "" && !isServerField(f.Path):
		f.Owner, f.Name = wire.OwnerController, b.out.Owner
	default:
		f.Owner = wire.OwnerServer
	}
	return nil
}

func isDefault(t *trail, f *wire.BlameField) bool {
	v, ok := t.defaulted[f.Path]
	return ok && reflect.DeepEqual(v, f.Value)
}

// writer is the manager besides Git that wrote a field last, and whether Git
// did, too.
func (b *blamed) writer(path string) (last *Manager, byGit bool) {
	for i, m := range b.managers {
		switch {
		case !m.Owns(path):
		case m.Name == plan.Manager:
			byGit = true
		case last == nil || m.Time.After(last.Time):
			last = &b.managers[i]
		}
	}
	return last, byGit
}

// place fills in where a value stands and which commit it is from. What the
// spec of a Kustomization sets is traced to where that is declared itself.
func (b *blamed) place(ctx context.Context, f *wire.BlameField, t *trail, o origin.Origin, depth int) error {
	f.Owner, f.How, f.Computed = wire.OwnerGit, cmp.Or(f.How, string(o.How)), f.Computed || !o.Exact
	if o.Source.File == "" {
		parent, err := b.trailOf(t.version.key)
		if err != nil && !IsMissing(err) {
			return err
		}
		if parent != nil && depth < 4 {
			if up, ok := parent.trace.Field(o.Field); ok {
				return b.place(ctx, f, parent, up, depth+1)
			}
		}
		f.Owner, f.Name = wire.OwnerKustomization, t.version.name()
		return nil
	}
	f.File, f.Line = o.Source.File, o.Source.Line
	lines, err := history.Blame(ctx, t.version.repo, t.version.commit, o.Source.File)
	if err != nil {
		return err
	}
	if c := newest(lines, o.Source.Line, o.End); c != nil {
		f.Commit = c.SHA
		b.out.Commits[c.SHA] = *source.Commit(*c)
	}
	return nil
}

// IsMissing reports whether an error means that something does not exist.
func IsMissing(err error) bool {
	_, ok := errors.AsType[*MissingError](err)
	return ok
}

// newest is the commit that touched any of some lines last.
func newest(lines []*git.Commit, from, to int) *git.Commit {
	var found *git.Commit
	for i := max(from, 1); i <= to && i <= len(lines); i++ {
		if c := lines[i-1]; found == nil || c.Committer.When.After(found.Committer.When) {
			found = c
		}
	}
	return found
}

// stamps are the fields of the metadata that the server sets.
var stamps = []string{"uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"}

func isServerField(path string) bool {
	name, ok := strings.CutPrefix(path, "metadata.")
	return ok && slices.Contains(stamps, name)
}

// serverFields adds the server's stamps and the status.
func serverFields(obj object.Object, live map[string]any) error {
	m, err := WithoutSecrets(obj)
	if err != nil {
		return err
	}
	if meta, ok := m["metadata"].(map[string]any); ok {
		for _, name := range stamps {
			if v, ok := meta[name]; ok && v != nil {
				live["metadata."+name] = v
			}
		}
	}
	flatten("status", m["status"], live)
	return nil
}

// flatten adds the leaves of a value as JSON has it.
func flatten(path string, value any, into map[string]any) {
	switch v := value.(type) {
	case nil:
	case map[string]any:
		for k, below := range v {
			name, _ := json.Marshal(k)
			if strings.ContainsAny(k, "./[] ") {
				flatten(path+"["+strings.Trim(string(name), `"`)+"]", below, into)
			} else {
				flatten(path+"."+k, below, into)
			}
		}
	case []any:
		for i, below := range v {
			flatten(fmt.Sprintf("%s[%s]", path, itemName(i, below)), below, into)
		}
	default:
		into[path] = v
	}
}

// itemName names an item of a status's list as package diff would.
func itemName(i int, item any) string {
	if m, ok := item.(map[string]any); ok {
		for _, key := range []string{"type", "name"} {
			if v, ok := m[key].(string); ok {
				return key + "=" + v
			}
		}
	}
	return fmt.Sprint(i)
}
