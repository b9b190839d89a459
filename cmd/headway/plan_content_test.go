package main

import (
	"encoding/json"
	"strings"
	"testing"

	"headway.dev/cmd/headway/cli"
	"headway.dev/cmd/headway/headwaytest"
	"headway.dev/syncer/wire"
)

// The server says what a plan creates and what a generated object's change is;
// of secrets it says nothing.
func TestPlanTellsContent(t *testing.T) {
	const password = "hunter2"
	generated := func(colour, password string) string {
		return "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nnamespace: default\nconfigMapGenerator:\n- name: settings\n  literals: [colour=" + colour + ", size=big]\nsecretGenerator:\n- name: key\n  literals: [password=" + password + "]\n"
	}
	s := newStory(t, map[string]string{"kustomization.yaml": generated("red", password)}, nil)
	first := s.repo.Git(s.repo.Work, "rev-parse", "HEAD")
	s.deployed(first)
	s.repo.Push("next", map[string]string{
		"kustomization.yaml": generated("blue", password+"x") + "resources: [more.yaml]\n",
		"more.yaml":          "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: more}\ndata:\n  motd: |\n    Hello\n    world\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: plain}\nstringData: {token: " + password + "}\n",
	})
	next := s.repo.Git(s.repo.Work, "rev-parse", "HEAD")
	for _, args := range [][]string{{"plan", "next"}, {"diff", first, next}} {
		out := s.must(cli.ExitChanges, args...)
		headwaytest.Shows(t, args[0], out, "~ update ConfigMap/settings-", "which becomes settings-", "data.colour: red → blue", "+ create ConfigMap/more in default", "motd: |\n        Hello\n        world",
			"~ update Secret/key-", "data.password: (hidden) → (changed)", "token: (hidden)")
		if strings.Contains(out, "size") || strings.Contains(out, "- delete") || strings.Contains(out, password) || strings.Contains(out, "aHVudGVy") {
			t.Errorf("%s shows too much:\n%s", args[0], out)
		}
		_, text, _ := s.headway(append(args, "-o", "json")...)
		var plans wire.Plans
		if err := json.Unmarshal([]byte(text), &plans); err != nil {
			t.Fatal(err)
		}
		if sum := plans.Summary; sum.Create != 4 || sum.Delete != 2 || sum.Replace != 2 {
			t.Errorf("%s: summary %+v", args[0], sum)
		}
		if strings.Contains(text, password) || strings.Contains(text, "aHVudGVy") {
			t.Errorf("%s -o json shows a secret:\n%s", args[0], text)
		}
	}
	headwaytest.Shows(t, "plan", s.must(cli.ExitChanges, "plan", "next"), "2 to create, 2 to update, 0 to delete")
}
