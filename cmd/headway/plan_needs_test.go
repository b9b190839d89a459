package main

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/cmd/headway/cli"
	"headway.dev/cmd/headway/headwaytest"
	"headway.dev/manifests/model/object"
)

// A plan tells what the pods of its workloads would wait for in vain, and how many of them
// a quota would refuse when their controllers make them; not of what the commit declares,
// of what is optional, and of what comes by itself.
func TestPlanTellsWhatPodsLack(t *testing.T) {
	const team = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n---\napiVersion: v1\nkind: ResourceQuota\nmetadata: {name: team, namespace: shop}\nspec: {hard: {pods: '3'}}\n---\n" +
		"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings, namespace: shop}\ndata: {level: debug}\n"
	deploy := func(name, replicas, pod string) string {
		return "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: " + name + ", namespace: shop}\nspec:\n  replicas: " + replicas + "\n  selector: {matchLabels: {app: " + name + "}}\n" +
			"  template:\n    metadata: {labels: {app: " + name + "}}\n    spec:\n      containers:\n      - {name: c, image: x, " + pod + "}\n"
	}
	const reads = "envFrom: [{configMapRef: {name: settings}}]"
	s := newStory(t, map[string]string{"team.yaml": team, "old.yaml": deploy("old", "1", reads)}, nil)
	s.eventually("the first pod is counted", func() bool {
		key := object.Key{GroupKind: schema.GroupKind{Kind: "ResourceQuota"}, Namespace: "shop", Name: "team"}
		quota, ok := s.Cluster.Engine.Store().Get(key).(*corev1.ResourceQuota)
		used := corev1.ResourceList{}
		if ok {
			used = quota.Status.Used
		}
		return used.Pods().Value() == 1
	})

	s.repo.Push("lacks", map[string]string{
		"web.yaml": deploy("web", "5", `envFrom: [{configMapRef: {name: conf}}, {secretRef: {name: maybe, optional: true}}], env: [{name: LEVEL, valueFrom: {configMapKeyRef: {name: settings, key: lvl}}}]`) +
			"      serviceAccountName: builder\n      priorityClassName: urgent\n      volumes: [{name: data, persistentVolumeClaim: {claimName: data}}, {name: token, secret: {secretName: token}}, {name: ca, configMap: {name: kube-root-ca.crt}}]\n",
		"token.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: token, namespace: shop}\n",
		"cron.yaml":  "apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: nightly, namespace: shop}\nspec:\n  schedule: '@daily'\n  jobTemplate:\n    spec:\n      template:\n        spec:\n          restartPolicy: Never\n          containers: [{name: c, image: x, envFrom: [{secretRef: {name: none}}]}]\n",
		"claim.yaml": "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: disk, namespace: shop}\nspec: {storageClassName: fast, accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}\n",
	})
	out := s.must(cli.ExitChanges, "plan", "lacks")
	const template = "Deployment/shop/web: spec.template.spec."
	headwaytest.Shows(t, "the plan", out,
		"! references: "+template+"serviceAccountName names ServiceAccount/shop/builder, and there is none, and the commit declares none",
		"! references: "+template+"priorityClassName names PriorityClass/urgent",
		"! references: "+template+"volumes[0].persistentVolumeClaim.claimName names PersistentVolumeClaim/shop/data",
		"! references: "+template+"containers[0].envFrom[0].configMapRef names ConfigMap/shop/conf",
		"! references: "+template+`containers[0].env[0].valueFrom.configMapKeyRef names the key "lvl" in ConfigMap/shop/settings, and it has no such key`,
		"! references: CronJob/shop/nightly: spec.jobTemplate.spec.template.spec.containers[0].envFrom[0].secretRef names Secret/shop/none",
		"! references: PersistentVolumeClaim/shop/disk: spec.storageClassName names StorageClass/fast",
		"! admission: Deployment/shop/web: 5 of 5 new pods would be refused when they are made:",
	)
	for line := range strings.Lines(out) {
		for _, quiet := range []string{"maybe", "Secret/shop/token", "kube-root-ca", "Deployment/shop/old"} {
			if strings.Contains(line, "! references") && strings.Contains(line, quiet) {
				t.Errorf("the plan speaks of %s: %s", quiet, line)
			}
		}
	}

	// The quota counts what there is, and what each pod before uses.
	s.repo.Git(s.repo.Work, "reset", "-q", "--hard", "origin/main")
	s.repo.Push("many", map[string]string{"web.yaml": deploy("web", "5", reads)})
	out = s.must(cli.ExitChanges, "plan", "many")
	headwaytest.Shows(t, "the plan of too many", out, "! admission: Deployment/shop/web: 3 of 5 new pods would be refused when they are made:", "exceeded quota: team, requested: pods=1, used: pods=3, limited: pods=3")

	// What the commit takes from a workload that stays as it is.
	s.repo.Git(s.repo.Work, "reset", "-q", "--hard", "origin/main")
	s.repo.Push("takes", map[string]string{"team.yaml": team[:strings.LastIndex(team, "---")]})
	out = s.must(cli.ExitChanges, "plan", "takes")
	headwaytest.Shows(t, "the plan that takes", out, "! references: Deployment/shop/old: spec.template.spec.containers[0].envFrom[0].configMapRef names ConfigMap/shop/settings, and the commit removes it")
}
