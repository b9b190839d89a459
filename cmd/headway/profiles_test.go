package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/cmd/headway/cli"
	"headway.dev/cmd/headway/headwaytest"
	"headway.dev/cmd/headway/up"
	"headway.dev/syncer/wire"
)

const schedulerFile = `apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
profiles:
- schedulerName: default-scheduler
- schedulerName: packed
  pluginConfig:
  - name: NodeResourcesFit
    args: {scoringStrategy: {type: MostAllocated}}
  - name: NodeAffinity
    args:
      addedAffinity:
        requiredDuringSchedulingIgnoredDuringExecution:
          nodeSelectorTerms:
          - matchExpressions: [{key: example.com/gone, operator: DoesNotExist}]
`

// Deployments are scheduled by the profiles that their pods name, and what names none is
// told by the plan and by why.
func TestSchedulerProfiles(t *testing.T) {
	file := filepath.Join(t.TempDir(), "scheduler.yaml")
	if err := os.WriteFile(file, []byte(schedulerFile), 0o600); err != nil {
		t.Fatal(err)
	}
	by := func(name, cpu, scheduler string) string {
		return strings.Replace(whyFile(name, cpu), "      containers:", "      schedulerName: "+scheduler+"\n      containers:", 1)
	}
	s := newStory(t, map[string]string{"first.yaml": whyFile("first", "2")}, func(_ *story, up *up.Options) {
		up.NodeGrace, up.SchedulerConfig = time.Hour, file
	})
	s.addNodes("n1")
	nodeOf := func(app string) string {
		list, _ := s.Engine.Store().List(schema.GroupKind{Kind: "Pod"}, "default")
		for _, o := range list {
			if p := o.(*corev1.Pod); p.Labels["app"] == app && p.DeletionTimestamp == nil {
				return p.Spec.NodeName
			}
		}
		return ""
	}
	s.eventually("the first has a node", func() bool { return nodeOf("first") == "n1" })
	s.addNodes("n2")
	s.push(map[string]string{"packed.yaml": by("packed", "1", "packed")})
	s.eventually("the packed one is beside the first", func() bool { return nodeOf("packed") == "n1" })
	s.push(map[string]string{"even.yaml": by("even", "1", "default-scheduler")})
	s.eventually("the one of the default profile is elsewhere", func() bool { return nodeOf("even") == "n2" })

	dir := t.TempDir()
	for name, text := range map[string]string{"first.yaml": whyFile("first", "2"), "packed.yaml": by("packed", "1", "packed"), "even.yaml": by("even", "1", "default-scheduler"), "lost.yaml": by("lost", "1", "mine")} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	headwaytest.Shows(t, "headway plan", s.must(cli.ExitChanges, "plan", "--path", dir), "Deployment/lost", `no profile of the scheduler has the name "mine" of spec.schedulerName`)

	s.push(map[string]string{"lost.yaml": by("lost", "1", "mine")})
	var why wire.Why
	s.eventually("nobody schedules the one of no profile", func() bool {
		why, _, _ = s.why("", "deploy", "lost")
		return reasonOf(why, "OtherScheduler") != nil
	})
	r := reasonOf(why, "OtherScheduler")
	if want := "run the scheduler mine, start Headway with a profile of that name (--scheduler-config), or set spec.schedulerName to default-scheduler or packed"; len(r.Fixes) != 1 || r.Fixes[0] != want {
		t.Errorf("fixes %q, want %q", r.Fixes, want)
	}
	if len(r.Set) != 1 || r.Set[0].File != "lost.yaml" || r.Set[0].Path != "spec.template.spec.schedulerName" {
		t.Errorf("set by %+v, want lost.yaml", r.Set)
	}
	if on := nodeOf("lost"); on != "" {
		t.Errorf("it is on %s", on)
	}
}
