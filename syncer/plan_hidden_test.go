package syncer_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/yaml/sops/sopstest"
	"headway.dev/syncer"
	"headway.dev/syncer/rights"
	"headway.dev/syncer/wire"
)

// viewer may read everything but Secrets, and nothing in the namespace other.
type viewer struct{}

// Allowed implements syncer.Access.
func (viewer) Allowed(_ context.Context, user rights.User, verb string, key object.Key) error {
	if user.Name == "ci" && verb == "get" && key.Kind != "Secret" && key.Namespace != "other" {
		return nil
	}
	return fmt.Errorf("%s is forbidden", key.Name)
}

// Escalates implements syncer.Access.
func (viewer) Escalates(context.Context, rights.User, object.Reader, object.Object, object.Object) error {
	return errors.New("is forbidden")
}

// After implements syncer.Access.
func (v viewer) After([]object.Event) rights.Access { return v }

// childOf is a Kustomization in the namespace headway-system.
func childOf(name, more string) string {
	return fmt.Sprintf(`apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: %[1]s, namespace: headway-system}
spec: {interval: 1h, path: ./tries/%[1]s, prune: true, sourceRef: {kind: GitRepository, name: cluster}%[2]s
`, name, more)
}

// service has a port that is valid only for some values of a variable.
func service(name, port string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Service\nmetadata: {name: %s, namespace: default}\nspec:\n  selector: {a: b}\n  ports:\n  - port: %s\n", name, port)
}

// What a plan says does not depend on what its caller may not read, whatever
// the planned tree declares.
func TestPlanIsNoOracle(t *testing.T) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	w := newWorldWith(t, map[string]string{"apps/a.yaml": configMap("a", "one"), "apps/s.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: default}\nstringData: {password: declared}\n"},
		func(_ *sourcev1.GitRepository, ks *kustomizev1.Kustomization) { ks.Spec.Path = "./apps" }, func(c *syncer.Config) { c.Access = viewer{} })
	w.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "other"}})
	w.eventually("applied", func() bool { return w.configMap("a")["key"] == "one" })

	vars := ", postBuild: {substituteFrom: [{kind: Secret, name: vars}]}}"
	files := map[string]string{
		"apps/tries.yaml": strings.Join([]string{
			childOf("right", vars), childOf("wrong", vars), childOf("plain", "}"), childOf("kept", ", postBuild: {substitute: {password: ''}, substituteFrom: [{kind: Secret, name: vars}]}}"),
			childOf("sealed", ", decryption: {provider: sops, secretRef: {name: keys}}}"),
			childOf("forged", "}") + "status: {inventory: {entries: [{id: other_there__ConfigMap, v: v1}, {id: other_absent__ConfigMap, v: v1}]}}\n",
		}, "---\n"),
		"tries/right/a.yaml": service("right", "80${password##hunter*}"),
		"tries/wrong/a.yaml": service("wrong", "80${password##guess*}"),
		"tries/kept/a.yaml":  service("kept", "80${password}"),
		"tries/plain/a.yaml": strings.Join([]string{
			strings.ReplaceAll(configMap("there", "x"), "default", "other"), strings.ReplaceAll(configMap("absent", "x"), "default", "other"),
			"apiVersion: v1\nkind: Secret\nmetadata: {name: known, namespace: default}\nstringData: {password: hunter2}\n",
		}, "---\n"),
		"tries/forged/a.yaml": configMap("forged", "x"),
		"tries/sealed/kustomization.yaml": `resources: [service.yaml, s.yaml]
replacements:
- source: {kind: Secret, name: sealed, fieldPath: stringData.port}
  targets: [{select: {kind: Service}, fieldPaths: [spec.selector.a]}]
`,
		"tries/sealed/service.yaml": service("sealed", "80"),
		"tries/sealed/s.yaml":       string(sopstest.Secret(t, "sealed", map[string]string{"port": "hunter2"}, id.Recipient())),
	}
	w.branch("tries", files)
	plan := func() (string, wire.Plans) {
		t.Helper()
		all, err := w.sync.Plan(rights.WithUser(t.Context(), rights.User{Name: "ci"}), wire.PlanRequest{Source: "headway-system/cluster", Rev: "tries"})
		if err != nil {
			t.Fatal(err)
		}
		raw, err := json.MarshalIndent(all, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		return string(raw), all
	}
	without, all := plan()
	for _, e := range all.Errors {
		t.Errorf("a fault: %s", e.Message)
	}
	for _, want := range []string{"Service/sealed", "Service/right", "Service/wrong", "Secret/sealed"} {
		found := false
		for _, a := range all.Actions {
			found = found || a.Kind+"/"+a.Name == want && a.Action == "Skip" && strings.Contains(a.Reason, "you may not read")
		}
		if !found {
			t.Errorf("%s is not told to be left out:\n%s", want, without)
		}
	}
	for _, want := range []string{"you may not read Secret/headway-system/vars", "you may not read Secret/headway-system/keys"} {
		if !strings.Contains(without, want) {
			t.Errorf("the plan does not say %q:\n%s", want, without)
		}
	}
	kept := false
	for _, a := range all.Actions {
		kept = kept || a.Name == "kept" && a.Kind == "Service" && a.Action == "Create"
	}
	if !kept {
		t.Errorf("a variable that the spec sets after all is unknown:\n%s", without)
	}
	same := func(what string) {
		t.Helper()
		if now, _ := plan(); now != without {
			t.Errorf("the plan tells %s:\n%s\nwithout it:\n%s", what, now, without)
		}
	}
	w.create(secretOf("vars", map[string]string{"password": "hunter2"}))
	same("that a Secret is there")
	w.commit(change.Patch(key("Secret", "headway-system", "vars"), func(o object.Object) bool {
		o.(*corev1.Secret).Data = map[string][]byte{"password": []byte("guess"), "a-b": []byte("no name")}
		return true
	}))
	same("a Secret's value")
	w.create(secretOf("keys", map[string]string{"age.agekey": "AGE-SECRET-KEY-1BROKEN"}))
	same("that there is a key")
	w.commit(change.Patch(key("Secret", "headway-system", "keys"), func(o object.Object) bool {
		o.(*corev1.Secret).Data = map[string][]byte{"age.agekey": []byte(id.String())}
		return true
	}))
	same("whether a key fits")
	w.create(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "other", Name: "there", Labels: map[string]string{
		"kustomize.toolkit.fluxcd.io/name": "forged", "kustomize.toolkit.fluxcd.io/namespace": "headway-system",
	}}})
	same("what there is in another namespace")
	w.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "known"}, Data: map[string][]byte{"password": []byte("hunter2")}})
	same("that a Secret has a value")
	// What is applied is known by its inventory, and of a Secret only what Git
	// declared.
	w.commit(change.Patch(key("Secret", "default", "s"), func(o object.Object) bool {
		o.(*corev1.Secret).Data = map[string][]byte{"password": []byte("by hand")}
		return true
	}))
	if _, now := plan(); now.Summary != all.Summary {
		t.Errorf("the plan tells that a Secret was changed by hand: %+v, %+v", now.Summary, all.Summary)
	}
	// Diffs of commits render them, too.
	diff, err := w.sync.Diff(rights.WithUser(t.Context(), rights.User{Name: "ci"}), wire.DiffRequest{Source: "headway-system/cluster", To: "tries", From: "main"})
	if err != nil || len(diff.Errors) > 0 {
		t.Errorf("diff: %v %+v", err, diff.Errors)
	}
	// Who may read the Secret has the plan as it is.
	full, err := w.sync.Plan(t.Context(), wire.PlanRequest{Source: "headway-system/cluster", Rev: "tries"})
	if raw, _ := json.Marshal(full); err != nil || strings.Contains(string(raw), "you may not read") {
		t.Errorf("without a user: %v\n%s", err, raw)
	}
}

// Who takes over, or lives in a namespace, is told only to those who may read
// the Kustomization that does: what a plan deletes does not depend on others.
func TestPlanTellsNothingOfHiddenNeighbours(t *testing.T) {
	w := newWorldWith(t, map[string]string{"apps/a.yaml": configMap("a", "one"), "apps/ns.yaml": webNamespace, "apps/keep.yaml": configMap("keep", "one"), "hidden/a.yaml": configMap("a", "two"), "hidden/x.yaml": inWeb("x")},
		func(_ *sourcev1.GitRepository, ks *kustomizev1.Kustomization) { ks.Spec.Path = "./apps" }, func(c *syncer.Config) { c.Access = viewer{} })
	w.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "other"}})
	w.eventually("applied", func() bool { return w.configMap("a")["key"] == "one" })
	w.branch("drop", map[string]string{"apps/a.yaml": "", "apps/ns.yaml": ""})
	plan := func() string {
		t.Helper()
		all, err := w.sync.Plan(rights.WithUser(t.Context(), rights.User{Name: "ci"}), wire.PlanRequest{Source: "headway-system/cluster", Rev: "drop"})
		raw, _ := json.MarshalIndent(all, "", " ")
		if err != nil || len(all.Errors) > 0 || all.Summary.Delete != 2 {
			t.Errorf("%v: the plan tells of others, or fails:\n%s", err, raw)
		}
		return string(raw)
	}
	without := plan()
	w.create(&kustomizev1.Kustomization{
		ObjectMeta: metav1.ObjectMeta{Namespace: "other", Name: "hidden"},
		Spec: kustomizev1.KustomizationSpec{
			Interval: metav1.Duration{Duration: time.Hour}, Path: "./hidden", Suspend: false,
			SourceRef: kustomizev1.CrossNamespaceSourceReference{Kind: "GitRepository", Name: "cluster", Namespace: "headway-system"},
		},
	})
	w.eventually("the hidden one is there", func() bool {
		ks, ok := w.store.Get(key("Kustomization", "other", "hidden")).(*kustomizev1.Kustomization)
		return ok && ks.Status.LastAttemptedRevision != ""
	})
	if with := plan(); with != without {
		t.Errorf("the plan tells of a hidden Kustomization:\n%s\nwithout it:\n%s", with, without)
	}
	// Who may read all has the plan as it will be.
	if p := w.plan(wire.PlanRequest{Source: "headway-system/cluster", Rev: "drop", Kustomization: "headway-system/cluster"}); !strings.Contains(strings.Join(actionsOf(p), " "), "Skip ConfigMap/a") || len(p.Errors) != 1 {
		t.Errorf("without a user: %q %q", actionsOf(p), messages(p.Errors))
	}
}

// A Kustomization that acts as an account reads no Secret that the account may
// not, neither for variables nor as keys.
func TestAccountReadsSecrets(t *testing.T) {
	r := &grantList{}
	w := newWorldWith(t, map[string]string{"a.yaml": configMap("a", "${password}")}, func(_ *sourcev1.GitRepository, ks *kustomizev1.Kustomization) {
		ks.Spec.ServiceAccountName = "deployer"
		ks.Spec.PostBuild = &kustomizev1.PostBuild{SubstituteFrom: []kustomizev1.SubstituteReference{{Kind: "Secret", Name: "vars"}}}
	}, func(c *syncer.Config) { c.Access = r })
	r.set(grants("get", "create", "patch")...)
	w.create(secretOf("vars", map[string]string{"password": "hunter2"}))
	w.commit(w.account("deployer"))
	const want = `False BuildFailed post build failed: vars is forbidden: User "` + deployer + `" cannot get`
	w.eventually(want, func() bool { return w.ready("Kustomization") == want })
	r.set(append(grants("get", "create", "patch"), deployer+" get headway-system")...)
	w.commit(w.account("nudge"))
	w.eventually("applied once the account may read it", func() bool { return w.configMap("a")["key"] == "hunter2" })
}
