package syncer_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/object"
	"headway.dev/manifests/yaml/diff"
	"headway.dev/syncer/wire"
)

// seeds are those of a randomised test: so many that differ, or the one that
// HEADWAY_TEST_SEED names; HEADWAY_TEST_PUSHES sets how many pushes each makes.
func seeds(tb testing.TB, count, pushes int) ([]uint64, int) {
	tb.Helper()
	if n, err := strconv.Atoi(os.Getenv("HEADWAY_TEST_PUSHES")); err == nil {
		pushes = n
	}
	if seed, err := strconv.ParseUint(os.Getenv("HEADWAY_TEST_SEED"), 10, 64); err == nil {
		return []uint64{seed}, pushes
	}
	var list []uint64
	for range count {
		list = append(list, rand.Uint64())
	}
	return list, pushes
}

// What a plan of a push says is what comes of the push: every object that it
// creates, changes and deletes with all fields, and nothing else. The pushes
// hold moves between Kustomizations, several commits, merges, specs of children
// together with their files, and neighbours that are broken.
func TestPlanEqualsSync(t *testing.T) {
	list, pushes := seeds(t, 2, 14)
	for _, seed := range list {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := newRandomRepo(seed)
			w := mono(t, r.files)
			w.allSettled()
			for i := range pushes {
				said := r.push(w)
				head := git(t, w.work, "rev-parse", "HEAD")
				git(t, w.work, "push", "-q", "--force", "origin", "HEAD:next")
				p := w.plan(wire.PlanRequest{Source: "headway-system/cluster", Rev: "next"})
				before := w.snapshot()
				git(t, w.work, "push", "-q", "origin", "HEAD:main")
				w.allSettled()
				after := w.snapshot()
				planned, done := predicted(p), happened(before, after)
				if !slices.Equal(planned, done) {
					t.Fatalf("seed %d, push %d (%s)\nthe plan of %s says\n\t%s\nand the sync does\n\t%s\nfaults of the plan:\n\t%s\nstates:\n\t%s\nchecks: %+v\nfiles:\n%s", seed, i, strings.Join(said, "; "), head[:7],
						strings.Join(planned, "\n\t"), strings.Join(done, "\n\t"), strings.Join(messages(p.Errors), "\n\t"), strings.Join(w.states(), "\n\t"), p.Checks, git(t, w.work, "show", "--stat", "--format=%s%n%b", "-m", "HEAD"))
				}
				if planned, is := refusedIn(p), w.refused(); !slices.Equal(planned, is) {
					t.Fatalf("seed %d, push %d (%s): the plan refuses %q, and the sync %q\nfaults: %s\nstates:\n\t%s", seed, i, strings.Join(said, "; "), planned, is, strings.Join(messages(p.Errors), "\n\t"), strings.Join(w.states(), "\n\t"))
				}
			}
		})
	}
}

func messages(faults []wire.Fault) []string {
	var list []string
	for _, f := range faults {
		list = append(list, f.Message)
	}
	return list
}

// predicted are the changes that a plan shows, of those Kustomizations that are
// not held up, which it says of the others.
func predicted(all wire.Plans) []string {
	plans := all.Plans
	if len(plans) == 0 {
		plans = []wire.Plan{all.Plan}
	}
	var list []string
	for _, p := range plans {
		if len(p.Errors) > 0 || waits(p) {
			continue
		}
		for _, a := range p.Actions {
			name := a.Kind + "/" + a.Namespace + "/" + a.Name
			switch a.Action {
			case "Create", "Delete":
				list = append(list, a.Action+" "+name)
			case "Update":
				for _, f := range a.Fields {
					list = append(list, fmt.Sprintf("Update %s %s: %v → %v", name, f.Path, f.Old, f.New))
				}
			}
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// waits reports whether a plan says that it would not be carried out before
// something else is mended.
func waits(p wire.Plan) bool {
	return slices.ContainsFunc(p.Checks, func(c wire.Check) bool {
		return c.Result == wire.CheckWarning && (strings.HasSuffix(c.Message, "the Kustomization would wait for it") || strings.HasSuffix(c.Message, ": it stays"))
	})
}

// happened are the differences between two states, in the words of predicted.
func happened(before, after map[object.Key]object.Object) []string {
	var list []string
	for key, old := range before {
		name := key.Kind + "/" + key.Namespace + "/" + key.Name
		is := after[key]
		switch {
		case is == nil:
			list = append(list, "Delete "+name)
		case is.GetUID() != old.GetUID():
			list = append(list, "Recreate "+name)
		default:
			for _, f := range diff.Objects(old, is) {
				if f.Path == "metadata.finalizers" { // of Kustomizations, by the syncer itself
					continue
				}
				list = append(list, fmt.Sprintf("Update %s %s: %v → %v", name, f.Path, f.Old, f.New))
			}
		}
	}
	for key := range after {
		if before[key] == nil {
			list = append(list, "Create "+key.Kind+"/"+key.Namespace+"/"+key.Name)
		}
	}
	slices.Sort(list)
	return list
}

func refusedIn(all wire.Plans) []string {
	plans := all.Plans
	if len(plans) == 0 {
		plans = []wire.Plan{all.Plan}
	}
	var list []string
	for _, p := range plans {
		if len(p.Errors) > 0 && !waits(p) {
			list = append(list, p.Kustomization)
		}
	}
	slices.Sort(list)
	return list
}

func (w *world) kustomizations() []*kustomizev1.Kustomization {
	objs, _ := w.store.List(key("Kustomization", "", "").GroupKind, "")
	var list []*kustomizev1.Kustomization
	for _, o := range objs {
		if ks, ok := o.(*kustomizev1.Kustomization); ok {
			list = append(list, ks)
		}
	}
	return list
}

func (w *world) states() []string {
	var list []string
	for _, ks := range w.kustomizations() {
		list = append(list, ks.Name+": "+w.readyOf(ks.Name))
	}
	return list
}

// refused are the Kustomizations that cannot apply the newest commit for what
// is in it.
func (w *world) refused() []string {
	var list []string
	for _, ks := range w.kustomizations() {
		c := apimeta.FindStatusCondition(ks.Status.Conditions, meta.ReadyCondition)
		if c != nil && c.Status == "False" && c.Reason != meta.DependencyNotReadyReason {
			list = append(list, ks.Namespace+"/"+ks.Name)
		}
	}
	slices.Sort(list)
	return list
}

func (w *world) snapshot() map[object.Key]object.Object {
	all := map[object.Key]object.Object{}
	for _, kind := range []schema.GroupKind{key("ConfigMap", "", "").GroupKind, key("Secret", "", "").GroupKind, key("Service", "", "").GroupKind, key("Kustomization", "", "").GroupKind} {
		objs, _ := w.store.List(kind, "")
		for _, o := range objs {
			all[object.KeyOf(kind, o)] = o
		}
	}
	return all
}

// allSettled waits until every Kustomization has done with the newest commit of
// main, and nothing is written any more.
func (w *world) allSettled() {
	w.t.Helper()
	head := git(w.t, w.bare, "rev-parse", "main")
	last, since := -1, time.Now()
	w.eventually("all Kustomizations have done with "+head+": "+strings.Join(w.states(), "\n"), func() bool {
		busy := false
		for _, ks := range w.kustomizations() {
			c := apimeta.FindStatusCondition(ks.Status.Conditions, meta.ReadyCondition)
			waits := c != nil && c.Reason == meta.DependencyNotReadyReason
			busy = busy || ks.DeletionTimestamp != nil || !waits && (!strings.HasSuffix(ks.Status.LastAttemptedRevision, head) || c == nil || c.Status == "Unknown" || c.ObservedGeneration != ks.Generation)
		}
		if n := w.store.Commits(); n != last || busy {
			last, since = n, time.Now()
		}
		return !busy && time.Since(since) > 250*time.Millisecond
	})
}

// randomRepo makes random commits of a repository whose directory cluster
// declares Kustomizations of others.
type randomRepo struct {
	rng   *rand.Rand
	files map[string]string
	made  int // counts, for values that differ
	// known are the names of files that were pushed.
	known map[string]bool
}

func newRandomRepo(seed uint64) *randomRepo {
	r := &randomRepo{rng: rand.New(rand.NewPCG(seed, 7)), files: map[string]string{"cluster/keep.yaml": configMap("keep", "cluster")}}
	for _, name := range []string{"one", "two", "three"} {
		r.child(name)
	}
	r.files["three/kustomization.yaml"] = kustomizationOf("red")
	for i := range 6 {
		r.files[fmt.Sprintf("%s/c%d.yaml", []string{"one", "two"}[i%2], i)] = r.object(fmt.Sprintf("c%d", i))
	}
	return r
}

// child declares a Kustomization with a file of its own.
func (r *randomRepo) child(name string) {
	r.files["cluster/"+name+".yaml"] = nested(name, "./"+name, "")
	r.files[name+"/keep.yaml"] = configMap("keep-"+name, "x")
}

func kustomizationOf(colour string) string {
	return "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nnamespace: default\nresources: [keep.yaml]\nconfigMapGenerator:\n- name: made\n  literals: [colour=" + colour + "]\n"
}

func (r *randomRepo) object(name string) string {
	switch r.rng.IntN(6) {
	case 0:
		return service(name, fmt.Sprint(1000+r.rng.IntN(1000)))
	case 1:
		return fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata: {name: %s, namespace: default}\nstringData: {password: p%d}\n", name, r.rng.IntN(1000))
	}
	r.made++
	return configMap(name, fmt.Sprintf("v%d", r.made)) + fmt.Sprintf("  more: ${v:=none}-%d\n", r.rng.IntN(3))
}

func pick[T any](rng *rand.Rand, list []T) T { return list[rng.IntN(len(list))] }

func (r *randomRepo) names(match func(string) bool) []string {
	return slices.Sorted(func(yield func(string) bool) {
		for name := range maps.Keys(r.files) {
			if match(name) && !yield(name) {
				return
			}
		}
	})
}

// movable are files of single objects, which any plain directory can hold.
func (r *randomRepo) movable() []string {
	return r.names(func(name string) bool {
		return strings.HasPrefix(path.Base(name), "c") && !strings.HasPrefix(name, "cluster/")
	})
}

// plain are the directories of children that are no kustomizations.
func (r *randomRepo) plain() []string {
	var list []string
	for _, name := range r.names(func(name string) bool { return strings.HasPrefix(name, "cluster/") && name != "cluster/keep.yaml" }) {
		dir := strings.TrimSuffix(path.Base(name), ".yaml")
		if _, built := r.files[dir+"/kustomization.yaml"]; !built && r.files[dir+"/keep.yaml"] != "" {
			list = append(list, dir)
		}
	}
	return list
}

// children are those of plain that a change may declare otherwise.
func (r *randomRepo) children() []string {
	return slices.DeleteFunc(r.plain(), func(dir string) bool { return dir == "app" })
}

// change makes one change and says what.
func (r *randomRepo) change() string {
	r.made++
	switch op := r.rng.IntN(16); op {
	case 0, 1:
		name := fmt.Sprintf("c%d", 10+r.rng.IntN(20))
		if at := r.names(func(f string) bool { return path.Base(f) == name+".yaml" }); len(at) > 0 {
			r.files[at[0]] = r.object(name)
			return "change " + at[0]
		}
		file := pick(r.rng, append(r.plain(), "cluster")) + "/" + name + ".yaml"
		if strings.HasPrefix(file, "cluster/") {
			file = "cluster/keep.yaml"
			r.files[file] = configMap("keep", fmt.Sprintf("v%d", r.made))
			return "change " + file
		}
		r.files[file] = r.object(name)
		return "add " + file
	case 2, 3, 4:
		files := r.movable()
		if len(files) == 0 {
			return "nothing"
		}
		from := pick(r.rng, files)
		to := pick(r.rng, r.plain()) + "/" + path.Base(from)
		text := r.files[from]
		delete(r.files, from)
		if op == 4 && strings.Contains(text, "\n  key: ") {
			text = strings.Replace(text, "\n  key: ", "\n  key: moved-", 1)
		}
		r.files[to] = text
		return "move " + from + " to " + to
	case 5:
		if files := r.movable(); len(files) > 0 {
			name := pick(r.rng, files)
			delete(r.files, name)
			return "remove " + name
		}
	case 6, 7:
		dir := pick(r.rng, r.children())
		r.files["cluster/"+dir+".yaml"] = nested(dir, "./"+dir, fmt.Sprintf("  postBuild: {substitute: {v: s%d}}\n", r.made))
		r.files[dir+"/keep.yaml"] = configMap("keep-"+dir, "\"${v:=none}\"") + fmt.Sprintf("  made: m%d\n", r.made)
		return "spec and files of " + dir
	case 8:
		name := pick(r.rng, []string{"four", "five"})
		if _, there := r.files["cluster/"+name+".yaml"]; there {
			for _, f := range r.names(func(f string) bool { return strings.HasPrefix(f, name+"/") }) {
				// What it has goes elsewhere, or with it.
				if r.rng.IntN(2) == 0 && strings.HasPrefix(path.Base(f), "c") {
					r.files["one/"+path.Base(f)] = r.files[f]
				}
				delete(r.files, f)
			}
			delete(r.files, "cluster/"+name+".yaml")
			return "remove the child " + name
		}
		r.child(name)
		if files := r.movable(); len(files) > 0 {
			from := pick(r.rng, files)
			r.files[name+"/"+path.Base(from)] = r.files[from]
			delete(r.files, from)
		}
		return "add the child " + name
	case 9:
		r.files["three/kustomization.yaml"] = kustomizationOf(fmt.Sprintf("c%d", r.made))
		return "change what is generated"
	case 10:
		dir := pick(r.rng, append(r.plain(), "three", "cluster"))
		r.files[dir+"/broken.yaml"] = pick(r.rng, []string{
			configMap("broken", "x") + "bad: 1\n", configMap("c11", "x") + "bad: 1\n", service("broken", "123456"), "a: [\n",
		})
		if dir == "three" {
			r.files["three/kustomization.yaml"] = kustomizationOf("x") + "bad: 1\n"
		}
		return "break " + dir
	case 11:
		mended := false
		for _, f := range r.names(func(f string) bool { return path.Base(f) == "broken.yaml" || path.Base(f) == "copy.yaml" }) {
			delete(r.files, f)
			mended = true
		}
		if strings.Contains(r.files["three/kustomization.yaml"], "bad:") {
			r.files["three/kustomization.yaml"] = kustomizationOf("mended")
			mended = true
		}
		if mended {
			return "mend all"
		}
	case 12:
		if files := r.movable(); len(files) > 0 {
			name := pick(r.rng, files)
			r.files[name] = r.object(strings.TrimSuffix(path.Base(name), ".yaml"))
			return "write anew " + name
		}
	case 14:
		// Of two copies nobody says which takes over once the original goes.
		copies := r.names(func(f string) bool { return path.Base(f) == "copy.yaml" })
		// Nor of two that are new.
		files := slices.DeleteFunc(r.movable(), func(f string) bool { return !r.known[path.Base(f)] })
		if len(files) > 0 && len(copies) == 0 {
			from := pick(r.rng, files)
			to := pick(r.rng, r.plain()) + "/copy.yaml"
			r.files[to] = r.files[from]
			return "copy " + from + " to " + to
		}
	case 15:
		dir := pick(r.rng, r.children())
		if dir != "one" && dir != "two" {
			delete(r.files, "cluster/"+dir+".yaml")
			r.files["other/keep.yaml"] = r.files[dir+"/keep.yaml"]
			delete(r.files, dir+"/keep.yaml")
			for _, f := range r.names(func(f string) bool { return strings.HasPrefix(f, dir+"/") }) {
				r.files["other/"+path.Base(f)] = r.files[f]
				delete(r.files, f)
			}
			r.files["cluster/other.yaml"] = nested("other", "./other", "")
			return "rename the child " + dir
		}
	case 13:
		dirs := r.children()
		a, b := pick(r.rng, dirs), pick(r.rng, dirs)
		if a != b && !strings.Contains(r.files["cluster/"+b+".yaml"], "dependsOn") {
			r.files["cluster/"+a+".yaml"] = nested(a, "./"+a, "  dependsOn: [{name: "+b+"}]\n")
			return a + " depends on " + b
		}
	}
	return "nothing"
}

// commit makes the work tree what the files are, and commits it.
func (r *randomRepo) commit(w *world, subject string) {
	w.t.Helper()
	for name := range strings.SplitSeq(git(w.t, w.work, "ls-files"), "\n") {
		if _, there := r.files[name]; !there && name != "" {
			w.write(map[string]string{name: ""})
		}
	}
	w.write(r.files)
	git(w.t, w.work, "add", "-A")
	git(w.t, w.work, "commit", "-q", "--allow-empty", "-m", subject)
}

// push makes one to three commits on main, or a merge of two branches; it says
// what they do. They are not pushed yet.
func (r *randomRepo) push(w *world) []string {
	w.t.Helper()
	r.known = map[string]bool{}
	for name := range r.files {
		r.known[path.Base(name)] = true
	}
	var said []string
	step := func() {
		what := r.change()
		for range r.rng.IntN(2) {
			what += ", " + r.change()
		}
		said = append(said, what)
		r.commit(w, what)
	}
	if r.rng.IntN(4) > 0 {
		for range 1 + r.rng.IntN(3) {
			step()
		}
		return said
	}
	base := git(w.t, w.work, "rev-parse", "HEAD")
	step()
	mine := maps.Clone(r.files)
	git(w.t, w.work, "checkout", "-q", "-b", "side", base)
	r.reread(w)
	said = append(said, "on a branch")
	step()
	git(w.t, w.work, "checkout", "-q", "main")
	r.files = mine
	if !w.merges("side") {
		said = append(said, "not merged")
	} else {
		said = append(said, "merged")
	}
	git(w.t, w.work, "branch", "-q", "-D", "side")
	r.reread(w)
	return said
}

// reread takes the files from the work tree.
func (r *randomRepo) reread(w *world) {
	w.t.Helper()
	r.files = map[string]string{}
	for name := range strings.SplitSeq(git(w.t, w.work, "ls-files"), "\n") {
		data, err := os.ReadFile(path.Join(w.work, name))
		if err != nil {
			w.t.Fatal(err)
		}
		r.files[name] = string(data)
	}
}

// merges merges a branch, unless there are conflicts.
func (w *world) merges(branch string) bool {
	w.t.Helper()
	cmd := exec.CommandContext(w.t.Context(), "git", "-c", "user.name=Ada", "-c", "user.email=ada@example.com", "merge", "-q", "--no-ff", "--no-edit", branch)
	cmd.Dir = w.work
	if cmd.Run() == nil {
		return true
	}
	git(w.t, w.work, "merge", "--abort")
	return false
}

// A plan says of which Kustomizations a commit changes nothing because what
// declares them is refused, also of those below and of those that it removes.
func TestPlanTellsOfARefusedParent(t *testing.T) {
	w := mono(t, map[string]string{
		"cluster/one.yaml": nested("one", "./one", ""), "cluster/two.yaml": nested("two", "./two", ""), "cluster/three.yaml": nested("three", "./three", ""),
		"one/below.yaml":    nested("below", "./below", ""),
		"cluster/four.yaml": nested("four", "./four", "  dependsOn: [{name: one}]\n"), "four/d.yaml": configMap("d", "x"),
		"below/a.yaml": configMap("a", "x"), "two/b.yaml": configMap("b", "x"), "three/c.yaml": configMap("c", "x"),
	})
	w.eventually("all is applied", func() bool {
		return w.configMap("a") != nil && w.configMap("b") != nil && w.configMap("c") != nil && w.configMap("d") != nil
	})
	w.branch("gone", map[string]string{"cluster/four.yaml": "", "one/broken.yaml": service("bad", "123456")})
	for _, one := range w.plan(wire.PlanRequest{Source: "headway-system/cluster", Rev: "gone"}).Plans {
		if waits(one) {
			t.Errorf("%s, which waits for nothing: %+v", one.Kustomization, one.Checks)
		}
	}
	w.branch("next", map[string]string{
		"cluster/bad.yaml": service("bad", "123456"), "cluster/one.yaml": nested("one", "./one", "  postBuild: {substitute: {v: x}}\n"), "cluster/three.yaml": "",
		"below/a.yaml": configMap("a", "z"), "two/b.yaml": configMap("b", "z"), "one/below.yaml": nested("below", "./below", "  timeout: 7m\n"),
		"cluster/new.yaml": nested("new", "./two", "  targetNamespace: default\n  namePrefix: new-\n"),
	})
	p := w.plan(wire.PlanRequest{Source: "headway-system/cluster", Rev: "next"})
	said := map[string]string{}
	for _, one := range p.Plans {
		for _, c := range one.Checks {
			if c.Name == "parent" {
				said[strings.TrimPrefix(one.Kustomization, "headway-system/")] += c.Message
			}
		}
	}
	const refused = "headway-system/cluster, which declares this one, would be refused, and may change it: the Kustomization would wait for it"
	want := map[string]string{
		"one": refused, "new": refused, "three": "headway-system/cluster, which would delete this one, would be refused: it stays",
		"below": "headway-system/one, which declares this one, would wait itself, and may change it: the Kustomization would wait for it",
	}
	if !maps.Equal(said, want) {
		t.Errorf("the plan says\n%q, want\n%q", said, want)
	}
	git(t, w.work, "merge", "-q", "--ff-only", "next")
	w.push("with a refused parent")
	w.allSettled()
	if a, b, c := w.configMap("a")["key"], w.configMap("b")["key"], w.configMap("c")["key"]; a != "x" || b != "z" || c != "x" {
		t.Errorf("a, b, c = %q, %q, %q, want only b to follow\n%s", a, b, c, strings.Join(w.states(), "\n"))
	}
}
