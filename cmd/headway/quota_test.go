package main

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/cmd/headway/cli"
	"headway.dev/manifests/model/object"
)

// A commit counts whole: with a quota and more than it allows, nothing of it is
// applied, and both the plan and the sync say which object is too much. What fits
// is applied with the quota and the priority class that it comes with.
func TestQuotaFromGit(t *testing.T) {
	s := newStory(t, map[string]string{"a.yaml": "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n"}, nil)
	s.deployed(s.repo.Git(s.repo.Work, "rev-parse", "HEAD"))
	count := func(kind string) int {
		list, _ := s.Cluster.Engine.Store().List(schema.GroupKind{Kind: kind}, "shop")
		return len(list)
	}
	pods := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "---\napiVersion: v1\nkind: Pod\nmetadata: {name: web-%02d, namespace: shop}\nspec: {priorityClassName: high, containers: [{name: c1, image: \"example.com/web:1\"}]}\n", i)
		}
		return b.String()
	}
	const quota = "apiVersion: v1\nkind: ResourceQuota\nmetadata: {name: all, namespace: shop}\nspec: {hard: {pods: 19}}\n"
	const class = "apiVersion: scheduling.k8s.io/v1\nkind: PriorityClass\nmetadata: {name: high}\nvalue: 1000\n"
	files := map[string]string{"class.yaml": class, "quota.yaml": quota, "pods.yaml": pods(20)}
	const refused = `pods.yaml:97: Pod shop/web-19: pods "web-19" is forbidden: exceeded quota: all, requested: pods=1, used: pods=19, limited: pods=19`
	s.repo.Push("next", files)
	if code, out, errOut := s.headway("plan", "next"); code != cli.ExitFailed || !strings.Contains(out+errOut, refused) {
		t.Errorf("plan: exit code %d, want %s\n%s%s", code, refused, out, errOut)
	}
	s.repo.Git(s.repo.Work, "push", "-q", "origin", "HEAD:main")
	if code, out, errOut := s.headway("sync"); code != cli.ExitFailed || !strings.Contains(out+errOut, refused) {
		t.Errorf("sync: exit code %d, want %s\n%s%s", code, refused, out, errOut)
	}
	if pods, quotas := count("Pod"), count("ResourceQuota"); pods+quotas != 0 {
		t.Errorf("of a commit that is too much, %d pods and %d quotas are stored", pods, quotas)
	}

	s.repo.Push("main", map[string]string{"pods.yaml": pods(19)})
	s.must(cli.ExitOK, "sync", "--no-wait")
	s.eventually("what fits is applied", func() bool { return count("Pod") == 19 })
	q, ok := s.Cluster.Engine.Store().Get(object.Key{GroupKind: schema.GroupKind{Kind: "ResourceQuota"}, Namespace: "shop", Name: "all"}).(*corev1.ResourceQuota)
	if !ok {
		t.Fatal("there is no quota")
	}
	if used := q.Status.Used[corev1.ResourcePods]; used.Value() != 19 {
		t.Errorf("the quota says %s pods, want 19", used.String())
	}
	first, ok := s.Cluster.Engine.Store().Get(object.Key{GroupKind: schema.GroupKind{Kind: "Pod"}, Namespace: "shop", Name: "web-00"}).(*corev1.Pod)
	if !ok || first.Spec.Priority == nil || *first.Spec.Priority != 1000 {
		t.Errorf("a pod of the commit is %+v, want priority 1000", first)
	}
	s.must(cli.ExitOK, "plan")

	// The commit as a whole decides: what it takes away keeps nothing of it out, and
	// plan and sync agree.
	const low = "apiVersion: scheduling.k8s.io/v1\nkind: PriorityClass\nmetadata: {name: low}\nvalue: 1\nglobalDefault: "
	isDefault := func(name string) bool {
		c, ok := s.Cluster.Engine.Store().Get(object.Key{GroupKind: schema.GroupKind{Group: "scheduling.k8s.io", Kind: "PriorityClass"}, Name: name}).(*schedulingv1.PriorityClass)
		return ok && c.GlobalDefault
	}
	for _, step := range []struct {
		what  string
		files map[string]string
		done  func() bool
	}{
		{"a quota goes and more comes", map[string]string{"quota.yaml": "", "pods.yaml": pods(20), "low.yaml": low + "true\n"}, func() bool {
			return count("Pod") == 20 && count("ResourceQuota") == 0 && isDefault("low")
		}},
		{"another class is the default", map[string]string{"class.yaml": class + "globalDefault: true\n", "low.yaml": low + "false\n"}, func() bool {
			return isDefault("high") && !isDefault("low")
		}},
		{"it goes, and another is the default", map[string]string{"low.yaml": "", "class.yaml": class + "globalDefault: false\n", "a-class.yaml": strings.Replace(low, "low", "first", 1) + "true\n"}, func() bool {
			return isDefault("first") && !isDefault("high")
		}},
	} {
		s.repo.Push("next", step.files)
		if code, out, errOut := s.headway("plan", "next"); code != cli.ExitChanges {
			t.Errorf("%s: plan: exit code %d\n%s%s", step.what, code, out, errOut)
		}
		s.repo.Git(s.repo.Work, "push", "-q", "origin", "HEAD:main")
		s.must(cli.ExitOK, "sync", "--no-wait")
		s.eventually(step.what, step.done)
	}
}

// An object that a commit deletes and creates again counts as new where its quota is, and
// only once; the plan says what the sync does.
func TestQuotaOfReplacedObjects(t *testing.T) {
	secret := func(name, kind string) string {
		return "apiVersion: v1\nkind: Secret\nmetadata: {name: " + name + ", namespace: shop, annotations: {kustomize.toolkit.fluxcd.io/force: enabled}}\ntype: example.com/" + kind + "\n"
	}
	quota := func(n int) string {
		return fmt.Sprintf("apiVersion: v1\nkind: ResourceQuota\nmetadata: {name: all, namespace: shop}\nspec: {hard: {secrets: %d}}\n", n)
	}
	s := newStory(t, map[string]string{
		"ns.yaml": "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n", "quota.yaml": quota(2), "a.yaml": secret("a", "one"), "b.yaml": secret("b", "one"),
	}, nil)
	s.deployed(s.repo.Git(s.repo.Work, "rev-parse", "HEAD"))
	s.push(map[string]string{"a.yaml": secret("a", "two")})
	s.must(cli.ExitOK, "sync")
	s.push(map[string]string{"quota.yaml": quota(1)})
	s.must(cli.ExitOK, "sync")
	s.repo.Push("next", map[string]string{"a.yaml": secret("a", "three")})
	const refused = `a.yaml:1: Secret shop/a: secrets "a" is forbidden: exceeded quota: all, requested: secrets=1, used: secrets=1, limited: secrets=1`
	if code, out, errOut := s.headway("plan", "next"); code != cli.ExitFailed || !strings.Contains(out+errOut, refused) {
		t.Errorf("plan: exit code %d, want %s\n%s%s", code, refused, out, errOut)
	}
	s.repo.Git(s.repo.Work, "push", "-q", "origin", "HEAD:main")
	if code, out, errOut := s.headway("sync"); code != cli.ExitFailed || !strings.Contains(out+errOut, "exceeded quota: all, requested: secrets=1, used: secrets=1, limited: secrets=1") {
		t.Errorf("sync: exit code %d, want %s\n%s%s", code, refused, out, errOut)
	}
}

// What every cluster has can be declared and stays when it is no longer.
func TestPermanentObjectsInGit(t *testing.T) {
	class := "apiVersion: scheduling.k8s.io/v1\nkind: PriorityClass\nmetadata: {name: system-node-critical, labels: {team: one}}\nvalue: 2000001000\n"
	s := newStory(t, map[string]string{"class.yaml": class, "ns.yaml": "apiVersion: v1\nkind: Namespace\nmetadata: {name: default, labels: {team: one}}\n"}, nil)
	s.deployed(s.repo.Git(s.repo.Work, "rev-parse", "HEAD"))
	s.repo.Push("main", map[string]string{"class.yaml": "", "ns.yaml": "", "a.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: default}\n"})
	s.must(cli.ExitOK, "sync")
	for _, key := range []object.Key{
		{GroupKind: schema.GroupKind{Group: "scheduling.k8s.io", Kind: "PriorityClass"}, Name: "system-node-critical"},
		{GroupKind: schema.GroupKind{Kind: "Namespace"}, Name: "default"},
	} {
		if obj := s.Cluster.Engine.Store().Get(key); obj == nil || obj.GetDeletionTimestamp() != nil {
			t.Errorf("%s was deleted", key)
		}
	}
	s.must(cli.ExitOK, "plan")
}
