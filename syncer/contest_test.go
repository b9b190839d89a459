package syncer_test

import (
	"maps"
	"testing"

	"headway.dev/syncer/wire"
)

// Of two Kustomizations that a commit has declare the same new object one gets
// it, and the other is refused: the plan says which, in the words of the sync.
func TestPlanOfContestedObject(t *testing.T) {
	for name, c := range map[string]struct {
		files         map[string]string
		winner, loser string
		at            string // where the loser declares it
	}{
		"siblings": {
			files:  map[string]string{"one/x.yaml": configMap("x", "one"), "two/x.yaml": configMap("x", "two")},
			winner: "one", loser: "two", at: "two/x.yaml:1",
		},
		"parent and child": {
			files:  map[string]string{"cluster/x.yaml": configMap("x", "root"), "one/x.yaml": configMap("x", "one")},
			winner: "cluster", loser: "one", at: "one/x.yaml:1",
		},
		"one that is new": {
			files:  map[string]string{"cluster/new.yaml": nested("a-new", "./new", ""), "new/x.yaml": configMap("x", "new"), "two/x.yaml": configMap("x", "two")},
			winner: "two", loser: "a-new", at: "new/x.yaml:1",
		},
		"one that waits": {
			files:  map[string]string{"cluster/one.yaml": nested("one", "./one", "  dependsOn: [{name: two}]\n"), "one/x.yaml": configMap("x", "one"), "two/x.yaml": configMap("x", "two")},
			winner: "two", loser: "one", at: "one/x.yaml:1",
		},
		"one that reads what the commit changes": {
			files: map[string]string{
				"cluster/vars.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: vars, namespace: headway-system}\ndata: {v: new}\n",
				"cluster/one.yaml":  nested("one", "./one", "  postBuild: {substituteFrom: [{kind: ConfigMap, name: vars, optional: true}]}\n"),
				"one/x.yaml":        configMap("x", "one"), "two/x.yaml": configMap("x", "two"),
			},
			winner: "two", loser: "one", at: "one/x.yaml:1",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := mono(t, two())
			w.allApplied(git(t, w.work, "rev-parse", "HEAD"), "cluster", "one", "two")
			files := maps.Clone(c.files)
			w.branch("contest", files)
			want := c.at + ": ConfigMap default/x: is managed by the Kustomization headway-system/" + c.winner + ": remove it from there first"
			got, creates := map[string][]string{}, map[string]bool{}
			for _, p := range w.plan(wire.PlanRequest{Source: "headway-system/cluster", Rev: "contest"}).Plans {
				got[p.Kustomization] = messages(p.Errors)
				for _, a := range p.Actions {
					creates[p.Kustomization] = creates[p.Kustomization] || a.Action == "Create" && a.Name == "x"
				}
			}
			for name, errs := range got {
				if loses := name == "headway-system/"+c.loser; loses && (len(errs) != 1 || errs[0] != want) || !loses && len(errs) > 0 {
					t.Errorf("the plan of %s has the errors %q", name, errs)
				}
			}
			if !creates["headway-system/"+c.winner] || creates["headway-system/"+c.loser] {
				t.Errorf("x is created by %v", creates)
			}
			w.write(c.files)
			w.allApplied(w.push("contest"), c.winner)
			want = "False ReconciliationFailed " + want
			w.eventually(want, func() bool { return w.readyOf(c.loser) == want })
		})
	}
}
