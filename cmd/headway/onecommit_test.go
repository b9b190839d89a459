package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"headway.dev/cmd/headway/up"
)

// Whoever lists what a repository declares, by several Kustomizations of which
// commits change the specs and add new ones, sees the one commit or the other.
func TestNobodySeesHalfACommit(t *testing.T) {
	kustomization := func(name, extra string) string {
		return fmt.Sprintf("apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: %s, namespace: headway-system}\n"+
			"spec:\n  interval: 1h\n  path: ./%s\n  prune: true\n  sourceRef: {kind: GitRepository, name: cluster}\n%s", name, name, extra)
	}
	settings := func(name, value string) string {
		return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s, namespace: default, labels: {story: half}}\ndata: {value: \"%s\"}\n", name, value)
	}
	commit := func(i int) map[string]string {
		value := fmt.Sprint("v", i)
		files := map[string]string{
			"cluster/root.yaml":     settings("root", value),
			"cluster/variable.yaml": kustomization("variable", fmt.Sprintf("  postBuild: {substitute: {v%d: %s}}\n", i, value)),
			"variable/a.yaml":       settings("variable", fmt.Sprintf("${v%d:=of-another-commit}", i)),
		}
		for n := range i + 1 {
			name := fmt.Sprint("app-", n)
			files["cluster/"+name+".yaml"], files[name+"/a.yaml"] = kustomization(name, ""), settings(name, value)
		}
		return files
	}
	s := newStory(t, commit(0), func(_ *story, up *up.Options) { up.Path = "./cluster" })
	for i := range 6 {
		if i > 0 {
			s.push(commit(i))
		}
		want, before := fmt.Sprint("v", i), fmt.Sprint("v", i-1)
		s.eventually("all is "+want, func() bool {
			code, body := s.ask("", http.MethodGet, "/api/v1/namespaces/default/configmaps?labelSelector=story%3Dhalf", "", nil)
			var list corev1.ConfigMapList
			if err := json.Unmarshal([]byte(body), &list); err != nil || code != http.StatusOK {
				t.Fatalf("%d %s", code, body)
			}
			got := map[string]int{}
			for _, cm := range list.Items {
				got[cm.Data["value"]]++
			}
			switch {
			case len(got) == 0 && i == 0, len(got) == 1 && got[before] == 2+i:
				return false
			case len(got) == 1 && got[want] == 3+i:
				return true
			}
			t.Fatalf("commit %d: the values are %v: half a commit", i, got)
			return false
		})
	}
}
