package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/cmd/headway/cli"
	"headway.dev/cmd/headway/gitops"
	"headway.dev/cmd/headway/headwaytest"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer/wire"
)

func childKustomization(interval string) string {
	return fmt.Sprintf("apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: apps, namespace: headway-system}\n"+
		"spec: {interval: %s, prune: true, path: ./apps, suspend: false, sourceRef: {kind: GitRepository, name: cluster}}\n", interval)
}

func settingsFile(value string) string {
	return "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings, namespace: default}\ndata: {value: " + value + "}\n"
}

// value is what the cluster has of settings.
func (s *story) value() string {
	obj := s.Cluster.Engine.Store().Get(object.Key{GroupKind: schema.GroupKind{Kind: "ConfigMap"}, Namespace: "default", Name: "settings"})
	if cm, ok := obj.(*corev1.ConfigMap); ok {
		return cm.Data["value"]
	}
	return ""
}

func (s *story) sources() []wire.SourceStatus {
	s.t.Helper()
	var status wire.Status
	if err := json.Unmarshal([]byte(s.must(cli.ExitOK, "status", "-o", "json")), &status); err != nil || len(status.Sources) == 0 {
		s.t.Fatalf("status: %v, %+v", err, status)
	}
	return status.Sources
}

func (s *story) status() wire.SourceStatus { return s.sources()[0] }

func (s *story) kustomization(name string) wire.KustomizationStatus {
	s.t.Helper()
	for _, k := range s.status().Kustomizations {
		if k.Name == name {
			return k
		}
	}
	s.t.Fatalf("no Kustomization %s", name)
	return wire.KustomizationStatus{}
}

// A Kustomization that is itself in Git, which says that it is not suspended,
// stays so when it is suspended by the command or by kubectl, whatever Git
// changes of it, until it is resumed; status says by whom and since when.
func TestSuspendAndResume(t *testing.T) {
	s := newStory(t, map[string]string{"root.yaml": childKustomization("1h"), "apps/settings.yaml": settingsFile("zero"), "kustomization.yaml": "resources: [root.yaml]\n"}, nil)
	s.deployed(s.repo.Git(s.repo.Work, "rev-parse", "HEAD"))
	s.eventually("the child is applied", func() bool { return s.value() == "zero" })

	byCommand := func(yes bool) {
		word := map[bool]string{true: "suspend", false: "resume"}[yes]
		if got := s.must(cli.ExitOK, word, "ks/apps"); !strings.Contains(got, "Kustomization headway-system/apps "+word) {
			t.Errorf("%s: %s", word, got)
		}
	}
	byKubectl := func(yes bool) {
		body := fmt.Sprintf(`{"spec":{"suspend":%t}}`, yes)
		path := "/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/headway-system/kustomizations/apps?fieldManager=kubectl-patch"
		if code, answer := s.ask("", http.MethodPatch, path, body, http.Header{"Content-Type": {"application/merge-patch+json"}}); code != http.StatusOK {
			t.Fatalf("patch: %d %s", code, answer)
		}
	}
	before := "zero"
	for i, way := range []struct {
		with string
		set  func(bool)
	}{{"headway-suspend", byCommand}, {"kubectl-patch", byKubectl}} {
		way.set(true)
		next := fmt.Sprint("next", i)
		head := s.push(map[string]string{"root.yaml": childKustomization(fmt.Sprint(2+i, "h")), "apps/settings.yaml": settingsFile(next)})
		s.eventually("the parent applies the commit, the child's spec included", func() bool {
			obj := s.Cluster.Engine.Store().Get(object.Key{GroupKind: rootKey("Kustomization").GroupKind, Namespace: wire.SystemNamespace, Name: "apps"})
			return strings.HasSuffix(s.kustomization("cluster").Applied, head) && obj.(*kustomizev1.Kustomization).Spec.Interval.Hours() == float64(2+i)
		})
		k := s.kustomization("apps")
		if k.Sync != wire.SyncSuspended || !strings.HasSuffix(k.SuspendedBy, " with "+way.with) || k.SuspendedSince.IsZero() {
			t.Errorf("suspended with %s: %s by %q since %s", way.with, k.Sync, k.SuspendedBy, k.SuspendedSince)
		}
		headwaytest.Shows(t, "status", s.must(cli.ExitOK, "status"), "suspended by "+k.SuspendedBy+" since ", "new commits wait for `headway resume`")
		if got := s.value(); got != before {
			t.Errorf("suspended, and a new commit was applied: %q", got)
		}
		if _, out, _ := s.headway("__complete", "resume", ""); !strings.Contains(out, "kustomization/apps\n") || strings.Contains(out, "kustomization/cluster\n") {
			t.Errorf("completion of resume: %s", out)
		}
		way.set(false)
		s.eventually("the commit is applied once it is resumed", func() bool { return s.value() == next })
		if k := s.kustomization("apps"); k.SuspendedBy != "" || k.Sync == wire.SyncSuspended {
			t.Errorf("resumed: %+v", k)
		}
		before = next
	}
}

// A source is suspended as well, and the newest commit is fetched when it is
// resumed. What follows no Git cannot be.
func TestSuspendSource(t *testing.T) {
	s := newStory(t, map[string]string{"settings.yaml": settingsFile("zero")}, nil)
	s.deployed(s.repo.Git(s.repo.Work, "rev-parse", "HEAD"))
	var out gitops.Suspension
	if err := json.Unmarshal([]byte(s.must(cli.ExitOK, "suspend", "gitrepo/cluster", "-o", "json")), &out); err != nil || out != (gitops.Suspension{Kind: "GitRepository", Namespace: wire.SystemNamespace, Name: "cluster", Suspended: true}) {
		t.Errorf("suspend -o json: %+v %v", out, err)
	}
	s.eventually("status says who suspended it", func() bool {
		st := s.status()
		return st.Suspended && strings.HasSuffix(st.SuspendedBy, " with headway-suspend") && !st.SuspendedSince.IsZero()
	})
	headwaytest.Shows(t, "status", s.must(cli.ExitOK, "status"), "  source   suspended by ")
	s.push(map[string]string{"settings.yaml": settingsFile("one")})
	s.must(cli.ExitOK, "resume", "gitrepo/cluster")
	s.eventually("the commit is applied", func() bool { return s.value() == "one" && s.status().SuspendedBy == "" })

	headwaytest.Shows(t, "refusal", s.must(cli.ExitFailed, "suspend", "deploy/web"), "a Deployment follows no Git")
	headwaytest.Shows(t, "refusal", s.must(cli.ExitFailed, "suspend", "ks/nothing"), `"nothing" not found`)
}

// Who resumes what Git suspends is told that it does not last, in every format.
func TestResumeOfWhatGitSuspends(t *testing.T) {
	s := newStory(t, map[string]string{"apps.yaml": strings.Replace(childKustomization("1h"), "suspend: false", "suspend: true", 1)}, nil)
	s.eventually("the Kustomization is suspended", func() bool {
		code, out, _ := s.headway("status")
		return code == cli.ExitOK && strings.Contains(out, "Suspended")
	})
	const warning = "warning: spec.suspend is true in Git, too"
	code, out, errOut := s.headway("resume", "ks/apps", "-o", "json")
	var got gitops.Suspension
	want := gitops.Suspension{Kind: "Kustomization", Namespace: wire.SystemNamespace, Name: "apps", ByGit: true}
	if err := json.Unmarshal([]byte(out), &got); err != nil || code != cli.ExitOK || got != want || !strings.Contains(errOut, warning) {
		t.Errorf("resume -o json: %d %v\n%s%s", code, err, out, errOut)
	}
}
