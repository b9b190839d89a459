package main

import (
	"os/exec"
	"strings"
	"testing"

	"headway.dev/cmd/headway/cli"
)

// kindStory is what Git does with an object of a kind that runs no pods by itself.
type kindStory struct {
	resource, name string
	// manifest is changed by a replacement of old by next, which the plan tells as field,
	// and kubectl by path, and is made invalid by one of old by bad.
	manifest, old, next, field, path, bad string
	// columns is what kubectl get prints, but for the age.
	columns []string
	// fault is what is wrong with bad.
	fault string
}

var kindStories = map[string]kindStory{
	"podtemplate.yaml": {
		resource: "podtemplates", name: "runner",
		manifest: "apiVersion: v1\nkind: PodTemplate\nmetadata: {name: runner}\ntemplate:\n  metadata: {labels: {app: runner}}\n  spec: {containers: [{name: main, image: 'example.com/runner:1'}]}\n",
		old:      "runner:1", next: "runner:2", field: "template.spec.containers[name=main].image", path: "{.template.spec.containers[0].image}",
		bad: "runner:1', imagePullPolicy: 'Sometimes", fault: "template.spec.containers[0].imagePullPolicy", columns: []string{"NAME", "CONTAINERS", "IMAGES", "POD LABELS", "runner", "main", "example.com/runner:1", "app=runner"},
	},
	"attachment.yaml": {
		resource: "volumeattachments", name: "disk",
		manifest: "apiVersion: storage.k8s.io/v1\nkind: VolumeAttachment\nmetadata: {name: disk, labels: {level: one}}\nspec:\n  attacher: disks.example.com\n  nodeName: node-1\n  source: {persistentVolumeName: disk}\n",
		old:      "one", next: "two", field: "metadata.labels.level", path: "{.metadata.labels.level}",
		bad: "'no no'", fault: "metadata.labels", columns: []string{"NAME", "ATTACHER", "PV", "NODE", "ATTACHED", "AGE", "disk", "disks.example.com", "node-1", "false"},
	},
	"volume.yaml": {
		resource: "persistentvolumes", name: "disk",
		manifest: "apiVersion: v1\nkind: PersistentVolume\nmetadata: {name: disk}\nspec:\n  capacity: {storage: 1Gi}\n  accessModes: [ReadWriteOnce]\n  persistentVolumeReclaimPolicy: Retain\n  storageClassName: keep\n  hostPath: {path: /srv/disk}\n",
		old:      "Retain", next: "Delete", field: "spec.persistentVolumeReclaimPolicy", path: "{.spec.persistentVolumeReclaimPolicy}",
		bad: "Sometimes", fault: "spec.persistentVolumeReclaimPolicy", columns: []string{"CAPACITY", "ACCESS MODES", "RECLAIM POLICY", "STATUS", "1Gi", "RWO", "Retain", "Available", "keep"},
	},
	"class.yaml": {
		resource: "storageclasses", name: "keep",
		manifest: "apiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata: {name: keep, labels: {level: one}}\nprovisioner: headway.dev/local\nvolumeBindingMode: WaitForFirstConsumer\nreclaimPolicy: Retain\n",
		old:      "one", next: "two", field: "metadata.labels.level", path: "{.metadata.labels.level}",
		bad: "'no no'", fault: "metadata.labels", columns: []string{"PROVISIONER", "RECLAIMPOLICY", "VOLUMEBINDINGMODE", "keep", "headway.dev/local", "Retain", "WaitForFirstConsumer"},
	},
	"priority.yaml": {
		resource: "priorityclasses", name: "important",
		manifest: "apiVersion: scheduling.k8s.io/v1\nkind: PriorityClass\nmetadata: {name: important}\nvalue: 1000\ndescription: first\n",
		old:      "description: first", next: "description: second", field: "description", path: "{.description}",
		bad: "preemptionPolicy: Sometimes", fault: "preemptionPolicy", columns: []string{"NAME", "VALUE", "GLOBAL-DEFAULT", "AGE", "important", "1000", "false"},
	},
	"runtime.yaml": {
		resource: "runtimeclasses", name: "sandbox",
		manifest: "apiVersion: node.k8s.io/v1\nkind: RuntimeClass\nmetadata: {name: sandbox}\nhandler: sandbox\nscheduling: {nodeSelector: {level: one}}\n",
		old:      "one", next: "two", field: "scheduling.nodeSelector.level", path: "{.scheduling.nodeSelector.level}",
		bad: "'no no'", fault: "scheduling.nodeSelector", columns: []string{"NAME", "HANDLER", "AGE", "sandbox"},
	},
	"quota.yaml": {
		resource: "resourcequotas", name: "team",
		manifest: "apiVersion: v1\nkind: ResourceQuota\nmetadata: {name: team}\nspec: {hard: {pods: '5'}}\n",
		old:      "'5'", next: "'6'", field: "spec.hard.pods", path: "{.spec.hard.pods}",
		bad: "'-1'", fault: "spec.hard[pods]", columns: []string{"NAME", "REQUEST", "LIMIT", "AGE", "team", "pods: 0/5"},
	},
	"limits.yaml": {
		resource: "limitranges", name: "bounds",
		manifest: "apiVersion: v1\nkind: LimitRange\nmetadata: {name: bounds}\nspec: {limits: [{type: Container, max: {cpu: '2'}}]}\n",
		old:      "'2'", next: "'3'", field: "spec.limits", path: "{.spec.limits[0].max.cpu}",
		bad: "'2'}, min: {cpu: '3'", fault: "spec.limits[0].min[cpu]", columns: []string{"NAME", "CREATED AT", "bounds"},
	},
}

// Kinds that run no pods by themselves go the way of the others: from Git, with what
// kubectl prints of them; a change, which the plan tells before; a mistake, which applies
// nothing and is named with its file; back by reverts; and gone once Git has them no more.
func TestKindsWithoutPods(t *testing.T) {
	edited := func(edit func(kindStory) string) map[string]string {
		files := map[string]string{"none.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: none}\n"}
		for file, k := range kindStories {
			files[file] = edit(k)
		}
		return files
	}
	first := edited(func(k kindStory) string { return k.manifest })
	s := newStory(t, first, nil)
	kubectl := func(args ...string) string {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), "kubectl", append([]string{"--kubeconfig", s.Cfg.KubeconfigPath()}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	changed := func(k kindStory, now string) bool {
		return strings.Contains(k.next, now) || strings.Contains(now, k.next)
	}
	value := func(k kindStory) string { return kubectl("get", k.resource, k.name, "-o", "jsonpath="+k.path) }
	s.deployed(s.repo.Git(s.repo.Work, "rev-parse", "HEAD"))
	before := map[string]string{}
	for file, k := range kindStories {
		out := kubectl("get", k.resource, k.name)
		for _, word := range k.columns {
			if !strings.Contains(out, word) {
				t.Errorf("%s: kubectl get lacks %q:\n%s", file, word, out)
			}
		}
		before[file] = value(k)
	}

	s.repo.Git(s.repo.Work, "checkout", "-q", "-b", "next")
	s.repo.Push("next", edited(func(k kindStory) string { return strings.Replace(k.manifest, k.old, k.next, 1) }))
	plan := s.must(cli.ExitChanges, "plan", "next")
	for file, k := range kindStories {
		kind := strings.Fields(strings.SplitAfter(k.manifest, "kind:")[1])[0]
		if !strings.Contains(plan, "update "+kind+"/"+k.name) || !strings.Contains(plan, k.field) {
			t.Errorf("%s: the plan lacks %s/%s, %s:\n%s", file, kind, k.name, k.field, plan)
		}
	}
	s.repo.Git(s.repo.Work, "checkout", "-q", "main")
	s.deployed(s.push(edited(func(k kindStory) string { return strings.Replace(k.manifest, k.old, k.next, 1) })))
	for file, k := range kindStories {
		if now := value(k); now == before[file] || !changed(k, now) {
			t.Errorf("%s: %s is %q after the change, want %s", file, k.path, now, k.next)
		}
	}

	s.push(edited(func(k kindStory) string { return strings.Replace(k.manifest, k.old, k.bad, 1) }))
	code, out, errOut := s.headway("sync")
	if code != cli.ExitFailed {
		t.Errorf("a commit of mistakes: exit code %d\n%s%s", code, out, errOut)
	}
	for file, k := range kindStories {
		if !strings.Contains(out+errOut, file+":") || !strings.Contains(out+errOut, k.fault) {
			t.Errorf("%s: what is wrong with %s is not told:\n%s%s", file, k.fault, out, errOut)
		}
		if now := value(k); !changed(k, now) {
			t.Errorf("%s: %s is %q after the mistake", file, k.path, now)
		}
	}

	s.repo.Git(s.repo.Work, "revert", "--no-edit", "HEAD", "HEAD~1")
	s.repo.Git(s.repo.Work, "push", "-q", "origin", "main")
	s.deployed(s.repo.Git(s.repo.Work, "rev-parse", "HEAD"))
	for file, k := range kindStories {
		if now := value(k); now != before[file] {
			t.Errorf("%s: %s is %q after the reverts, want %q", file, k.path, now, before[file])
		}
	}

	s.deployed(s.push(edited(func(kindStory) string { return "" })))
	s.eventually("what Git has no more is gone", func() bool {
		for _, k := range kindStories {
			if strings.TrimSpace(kubectl("get", k.resource, k.name, "--ignore-not-found", "-o", "name")) != "" {
				return false
			}
		}
		return true
	})
}
