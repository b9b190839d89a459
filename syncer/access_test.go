package syncer_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/rights"
	"headway.dev/syncer/wire"
)

// grantList is an Access that grants "user verb namespace".
type grantList struct {
	mu    sync.Mutex
	grant map[string]bool
	// refusing, if set, is called once, after a refusal was decided on.
	refusing func()
}

func (r *grantList) set(grants ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.grant = map[string]bool{}
	for _, g := range grants {
		r.grant[g] = true
	}
}

// Allowed implements syncer.Access.
func (r *grantList) Allowed(_ context.Context, user rights.User, verb string, key object.Key) error {
	r.mu.Lock()
	granted, refusing := r.grant[user.Name+" "+verb+" "+key.Namespace], r.refusing
	if !granted {
		r.refusing = nil
	}
	r.mu.Unlock()
	switch {
	case granted:
		return nil
	case refusing != nil:
		refusing()
	}
	return fmt.Errorf("%s is forbidden: User %q cannot %s", key.Name, user.Name, verb)
}

// Escalates implements syncer.Access.
func (r *grantList) Escalates(context.Context, rights.User, object.Reader, object.Object, object.Object) error {
	return nil
}

// After implements syncer.Access: rights change by set alone.
func (r *grantList) After([]object.Event) rights.Access { return r }

// impersonating is a world whose Kustomization acts as the account deployer.
func impersonating(t *testing.T, files map[string]string) (*world, *grantList) {
	t.Helper()
	r := &grantList{}
	w := newWorldWith(t, files, func(_ *sourcev1.GitRepository, ks *kustomizev1.Kustomization) {
		ks.Spec.ServiceAccountName = "deployer"
	}, func(c *syncer.Config) { c.Access = r })
	return w, r
}

const deployer = "system:serviceaccount:headway-system:deployer"

// grants are verbs in the namespace default.
func grants(verbs ...string) []string {
	var list []string
	for _, v := range verbs {
		list = append(list, deployer+" "+v+" default")
	}
	return list
}

func (w *world) account(name string) change.Change {
	return change.Create(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "headway-system", Name: name}}, time.Now())
}

// What an account may not do refuses the whole commit, and is tried again when
// accounts or their rights change.
func TestImpersonation(t *testing.T) {
	w, r := impersonating(t, map[string]string{"a.yaml": configMap("a", "one")})
	notReady := func(want string) {
		t.Helper()
		w.eventually(want, func() bool { return strings.Contains(w.ready("Kustomization"), want) })
	}
	notReady("False ReconciliationFailed ServiceAccount headway-system/deployer not found: create it")
	w.commit(w.account("deployer"))
	notReady(`False ReconciliationFailed a.yaml:1: ConfigMap default/a: a is forbidden: User "` + deployer + `" cannot get`)
	r.set(grants("get", "patch")...)
	w.commit(w.account("nudge"))
	notReady(`cannot create`)
	if w.configMap("a") != nil {
		t.Fatal("a was stored without the right to create it")
	}
	r.set(grants("get", "patch", "create")...)
	w.commit(w.account("nudge-2"))
	w.applied(git(t, w.work, "rev-parse", "HEAD"))

	// One object out of bounds: the other is not written either.
	w.write(map[string]string{
		"a.yaml": configMap("a", "two"),
		"b.yaml": strings.ReplaceAll(configMap("b", "new"), "namespace: default", "namespace: headway-system"),
	})
	w.push("one object out of bounds")
	notReady("b.yaml:1: ConfigMap headway-system/b: b is forbidden")
	if got := w.configMap("a")["key"]; got != "one" {
		t.Errorf("a.data.key = %q after a refused commit, want one", got)
	}
	// A plan tells the same, and shows nothing.
	plans, err := w.sync.Plan(t.Context(), wire.PlanRequest{Kustomization: "headway-system/cluster"})
	if err != nil {
		t.Fatal(err)
	}
	if len(plans.Actions) != 0 || len(plans.Errors) != 1 || !strings.Contains(plans.Errors[0].Message, "b is forbidden") {
		t.Errorf("plan: actions %+v, errors %+v", plans.Actions, plans.Errors)
	}
	// Prune needs the right to delete.
	w.write(map[string]string{"a.yaml": "", "b.yaml": "", "c.yaml": configMap("c", "new")})
	w.push("move a to c")
	notReady(`ConfigMap default/a: a is forbidden: User "` + deployer + `" cannot delete`)
	if w.configMap("a") == nil || w.configMap("c") != nil {
		t.Error("a commit that may not prune was applied in part")
	}
}

// Rights that come while a commit is being refused have it tried again, too.
func TestRightsThatComeDuringAnAttempt(t *testing.T) {
	r := &grantList{}
	var w *world
	r.refusing = func() {
		r.set(grants("get", "patch", "create")...)
		w.commit(w.account("nudge"))
		w.eventually("the syncer sees it", w.store.Handled)
	}
	w = newWorldWith(t, map[string]string{"a.yaml": configMap("a", "one")}, func(_ *sourcev1.GitRepository, ks *kustomizev1.Kustomization) {
		ks.Spec.ServiceAccountName = "deployer"
	}, func(c *syncer.Config) { c.Access = r })
	w.commit(w.account("deployer"))
	w.applied(git(t, w.work, "rev-parse", "HEAD"))
}

// Drift is put back, and a deleted Kustomization cleans up, with the account's
// rights alone.
func TestImpersonationAfterRightsAreGone(t *testing.T) {
	w, r := impersonating(t, map[string]string{"a.yaml": configMap("a", "one")})
	r.set(grants("get", "patch", "create", "delete")...)
	w.commit(w.account("deployer"))
	w.applied(git(t, w.work, "rev-parse", "HEAD"))
	r.set(grants("get")...)
	a := key("ConfigMap", "default", "a")
	w.commit(change.Patch(a, func(o object.Object) bool {
		o.(*corev1.ConfigMap).Data["key"] = "by hand"
		return true
	}))
	w.eventually("the heal is refused", func() bool { return strings.Contains(w.ready("Kustomization"), "cannot patch") })
	if got := w.configMap("a")["key"]; got != "by hand" {
		t.Errorf("a.data.key = %q: healed without the right to", got)
	}
	events := &recorder{}
	w.stop()
	w.cfg = func(c *syncer.Config) { c.Access, c.Events = r, events }
	w.start()
	w.commit(change.Delete(w.ksKey(), metav1.DeleteOptions{}, time.Now()))
	w.eventually("the deletion is refused", func() bool {
		return strings.Contains(events.all(), "PruneFailed") && strings.Contains(events.all(), "cannot delete")
	})
	if w.configMap("a") == nil || w.store.Get(w.ksKey()) == nil {
		t.Fatal("a Kustomization without the right to delete its objects is gone, or they are")
	}
	// Without the account nobody can: the objects stay, and the Kustomization goes.
	w.commit(change.Delete(key("ServiceAccount", "headway-system", "deployer"), metav1.DeleteOptions{}, time.Now()))
	w.eventually("the Kustomization is gone", func() bool { return w.store.Get(w.ksKey()) == nil })
	if w.configMap("a") == nil {
		t.Error("a was deleted in the name of an account that is gone")
	}
	if !strings.Contains(events.all(), "unable to prune objects") {
		t.Errorf("events: %s", events.all())
	}
}

// A Kustomization that acts as an account does not push to the repository of
// another namespace by way of a revert.
func TestTenantDoesNotRevertElsewhere(t *testing.T) {
	r, events := &grantList{}, &recorder{}
	w := newWorldWith(t, map[string]string{"d.yaml": deployment("web:1")}, func(src *sourcev1.GitRepository, ks *kustomizev1.Kustomization) {
		waitForHealth(src, ks)
		src.Namespace, ks.Spec.SourceRef.Namespace = "default", "default"
		ks.Spec.ServiceAccountName = "deployer"
		ks.Annotations = map[string]string{flux.OnFailure: "revert"}
	}, func(c *syncer.Config) {
		c.Access, c.Events = r, events
		c.Local["default/cluster"] = c.Local["headway-system/cluster"]
	})
	r.set(grants("default", "get", "patch", "create", "delete")...)
	w.commit(w.account("deployer"))
	w.eventually("it is stored", func() bool { return w.deployment() != nil })
	w.rollout()
	w.applied(git(t, w.work, "rev-parse", "HEAD"))
	w.write(map[string]string{"d.yaml": deployment("web:broken")})
	bad := w.push("break it")
	w.eventually("it is applied", func() bool { return w.deployment().Spec.Template.Spec.Containers[0].Image == "web:broken" })
	w.fail()
	w.eventually("an event says that it is not reverted", func() bool {
		return strings.Contains(events.all(), "NotReverted") && strings.Contains(events.all(), "must not write to its branch")
	})
	if got := git(t, w.bare, "rev-parse", "main"); got != bad {
		t.Errorf("main is at %s, want %s: a revert was pushed", got, bad)
	}
}

// --default-service-account and --no-cross-namespace-refs hold for all but the
// Kustomization of the command line.
func TestLockdown(t *testing.T) {
	r := &grantList{}
	tenant := `apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: tenant, namespace: %s}
spec: {interval: 1h, path: ./app, prune: true, sourceRef: {kind: GitRepository, name: cluster, namespace: headway-system}}
`
	w := newWorldWith(t, map[string]string{
		"cluster/a.yaml":     fmt.Sprintf(tenant, "default"),
		"cluster/b.yaml":     fmt.Sprintf(tenant, "headway-system"),
		"app/configmap.yaml": configMap("stolen", "x"),
	}, func(_ *sourcev1.GitRepository, ks *kustomizev1.Kustomization) { ks.Spec.Path = "./cluster" },
		func(c *syncer.Config) {
			c.Access, c.DefaultServiceAccount, c.NoCrossNamespaceRefs = r, "default", true
		})
	w.applied(git(t, w.work, "rev-parse", "HEAD"))
	w.commit(w.account("default"))
	plans := w.plan(wire.PlanRequest{})
	for namespace, want := range map[string]string{
		"default":        "AccessDenied can't access 'GitRepository/headway-system/cluster', cross-namespace references have been blocked",
		"headway-system": `ConfigMap default/stolen: stolen is forbidden: User "system:serviceaccount:headway-system:default" cannot get`,
	} {
		w.eventually(want, func() bool {
			ks, _ := w.store.Get(key("Kustomization", namespace, "tenant")).(*kustomizev1.Kustomization)
			return ks != nil && strings.Contains(fmt.Sprint(ks.Status.Conditions), want)
		})
		// A plan tells the same, and shows nothing.
		said := strings.TrimPrefix(want, "AccessDenied ")
		for _, p := range plans.Plans {
			if p.Kustomization == namespace+"/tenant" && (len(p.Actions) > 0 || len(p.Errors) != 1 || !strings.Contains(p.Errors[0].Message, said)) {
				t.Errorf("plan of %s: actions %+v, errors %+v; want %s", p.Kustomization, p.Actions, p.Errors, said)
			}
		}
	}
	if len(plans.Plans) != 3 {
		t.Errorf("%d plans, want 3", len(plans.Plans))
	}
	if w.configMap("stolen") != nil {
		t.Error("an object was stored without rights")
	}
}

// recorder keeps events as text.
type recorder struct {
	mu   sync.Mutex
	text strings.Builder
}

func (r *recorder) Event(_ object.Object, _, reason, message string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Fprintln(&r.text, reason, message)
}

func (r *recorder) all() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

// An account may only wait for what it may read.
func TestWaitingNeedsRights(t *testing.T) {
	const theirs = deployer + " get theirs"
	for _, tt := range []struct {
		name         string
		edit         func(*kustomizev1.Kustomization)
		denied, then string
	}{
		{"healthChecks", func(ks *kustomizev1.Kustomization) {
			ks.Spec.HealthChecks = []meta.NamespacedObjectKindReference{{APIVersion: "v1", Kind: "ConfigMap", Namespace: "theirs", Name: "c"}}
		}, `False ReconciliationFailed spec.healthChecks[0]: c is forbidden: User "` + deployer + `" cannot get`, "Running health checks"},
		{"dependsOn", func(ks *kustomizev1.Kustomization) {
			ks.Spec.DependsOn = []kustomizev1.DependencyReference{{Namespace: "theirs", Name: "c", ReadyExpr: "dep.spec.path == 'secret'"}}
		}, `False AccessDenied dependency 'theirs/c': c is forbidden: User "` + deployer + `" cannot get`, "False DependencyNotReady dependency 'theirs/c' not found"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := &grantList{}
			r.set(grants("get", "patch", "create")...)
			w := newWorldWith(t, map[string]string{"a.yaml": configMap("a", "one")}, func(_ *sourcev1.GitRepository, ks *kustomizev1.Kustomization) {
				ks.Spec.ServiceAccountName = "deployer"
				tt.edit(ks)
			}, func(c *syncer.Config) { c.Access = r })
			w.commit(w.account("deployer"))
			w.eventually(tt.denied, func() bool { return strings.Contains(w.ready("Kustomization"), tt.denied) })
			if w.configMap("a") != nil {
				t.Error("a was stored")
			}
			_, said, _ := strings.Cut(tt.denied, " ")
			_, said, _ = strings.Cut(said, " ")
			if p := w.plan(wire.PlanRequest{}); len(p.Actions) > 0 || len(p.Errors) != 1 || !strings.Contains(p.Errors[0].Message, said) {
				t.Errorf("plan: actions %+v, errors %+v; want %s", p.Actions, p.Errors, said)
			}
			r.set(append(grants("get", "patch", "create"), theirs)...)
			w.commit(w.account("nudge"))
			w.eventually(tt.then, func() bool { return strings.Contains(w.ready("Kustomization"), tt.then) })
		})
	}
}
