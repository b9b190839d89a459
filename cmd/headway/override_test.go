package main

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/object"
)

// Everything that kubectl adds to what Git declares goes again, as with Flux's
// default policy, and with the annotation ssa: Merge all of it stays; what
// scales and restarts stays either way.
func TestKubectlAdditionsAreOverridden(t *testing.T) {
	free := strings.Replace(strings.ReplaceAll(writesWeb, "web", "free"), "  replicas: 2 # for now\n", "", 1)
	c := newWritesCluster(t, "heal", map[string]string{
		"free.yaml":  free,
		"plain.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: plain, namespace: default}\ndata: {k: v}\n",
		"merge.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: merge, namespace: default, annotations: {kustomize.toolkit.fluxcd.io/ssa: Merge}}\ndata: {k: v}\n",
	})
	add := func(name string) {
		c.env = []string{`KUBE_EDITOR=sed -i 's/^data:/data:\n  edited: x/'`}
		for _, args := range []string{
			"annotate cm/" + name + " note=mine", "label cm/" + name + " tier=front", "edit cm/" + name,
			`patch cm/` + name + ` --type=merge -p {"data":{"patched":"y"}}`,
		} {
			c.run("", "kubectl", strings.Fields(args)...)
		}
		c.run("", "kubectl", "patch", "cm/"+name, "--type=merge", "--field-manager=operator", "-p", `{"data":{"operators":"z"}}`)
	}
	state := func(name string) string {
		return c.run("", "kubectl", "get", "cm", name, "-o", "jsonpath={.metadata.annotations.note} {.metadata.labels.tier} {.data.edited} {.data.patched} {.data.operators}")
	}
	add("merge")
	add("plain")
	c.eventually("what was added goes", func() bool { return strings.TrimSpace(state("plain")) == "z" })
	if got := state("merge"); got != "mine front x y z" {
		t.Errorf("with ssa: Merge there is %q left", got)
	}

	c.run("", "kubectl", "scale", "deploy/free", "--replicas=3")
	c.run("", "kubectl", "patch", "deploy/free", "--subresource=scale", "--type=merge", "--field-manager=autoscaler", "-p", `{"spec":{"replicas":4}}`)
	c.run("", "kubectl", "rollout", "restart", "deploy/free")
	c.run("", "kubectl", "label", "deploy/free", "tier=front")
	c.eventually("the label goes", func() bool {
		return c.run("", "kubectl", "get", "deploy/free", "-o", "jsonpath={.metadata.labels.tier}") == ""
	})
	if got := c.run("", "kubectl", "get", "deploy/free", "-o", `jsonpath={.spec.replicas} {.spec.template.metadata.annotations}`); !strings.HasPrefix(got, "4 ") || !strings.Contains(got, "restartedAt") {
		t.Errorf("free has %q", got)
	}
	if got := c.run("", "kubectl", "get", "deploy/free", "-o", `jsonpath={.metadata.annotations.deployment\.kubernetes\.io/revision}`); got == "" {
		t.Error("the controller's annotation is gone")
	}
}

// What kubectl made before Git declared it becomes Git's as a whole; what the
// server keeps of it stays.
func TestKubectlObjectsAreTakenOver(t *testing.T) {
	c := newWritesCluster(t, "heal", map[string]string{"a.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: default}\n"})
	c.run("", "kubectl", "create", "namespace", "shop")
	if out, err := c.try("", "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop, labels: {old: label}}\nspec: {selector: {app: web}, sessionAffinity: ClientIP, ports: [{port: 80}]}\n", "kubectl", "apply", "-f", "-"); err != nil {
		t.Fatal(out)
	}
	ip := c.run("", "kubectl", "-n", "shop", "get", "svc", "web", "-o", "jsonpath={.spec.clusterIP}")
	c.commit(map[string]string{
		"default.yaml": "apiVersion: v1\nkind: Namespace\nmetadata: {name: default, labels: {from: git}}\n",
		"shop.yaml":    "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n---\napiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\nspec: {selector: {app: web}, ports: [{port: 80}]}\n",
	})
	c.eventually("it is applied", func() bool { return strings.HasSuffix(c.ks().Status.LastAppliedRevision, c.head()) })
	c.commit(map[string]string{"default.yaml": "apiVersion: v1\nkind: Namespace\nmetadata: {name: default, labels: {from: git2}}\n"})
	c.eventually("it is applied", func() bool { return strings.HasSuffix(c.ks().Status.LastAppliedRevision, c.head()) })
	svc := c.Engine.Store().Get(object.Key{GroupKind: schema.GroupKind{Kind: "Service"}, Namespace: "shop", Name: "web"}).(*corev1.Service)
	if svc.Labels["old"] != "" || svc.Spec.SessionAffinity != corev1.ServiceAffinityNone || svc.Spec.ClusterIP != ip || svc.Annotations[corev1.LastAppliedConfigAnnotation] != "" {
		t.Errorf("the Service is %+v %+v", svc.ObjectMeta, svc.Spec)
	}
	for _, name := range []string{"default", "shop"} {
		ns := c.Engine.Store().Get(object.Key{GroupKind: schema.GroupKind{Kind: "Namespace"}, Name: name}).(*corev1.Namespace)
		if ns.Labels[corev1.LabelMetadataName] != name || len(ns.Spec.Finalizers) != 1 {
			t.Errorf("the namespace is %+v %+v", ns.ObjectMeta, ns.Spec)
		}
	}
}

// commit pushes files.
func (c *writesCluster) commit(files map[string]string) {
	c.t.Helper()
	c.write(files)
	c.run(c.work, "git", "add", "-A")
	c.run(c.work, "git", "commit", "-q", "-m", "More")
	c.run(c.work, "git", "push", "-q", "origin", "main")
}
