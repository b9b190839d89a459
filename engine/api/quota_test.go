package api_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	"headway.dev/engine/api/apitest"
)

func podManifest(name string, more ...string) string {
	return "apiVersion: v1\nkind: Pod\nmetadata: {name: " + name + ", namespace: shop}\nspec:\n  containers:\n  - {name: c1, image: \"example.com/web:1\"" + strings.Join(more, "") + "}\n"
}

// Quotas as kubectl makes and shows them, and as they refuse: each kind of object
// that is counted, dry runs, and what becomes of the numbers.
func TestResourceQuotas(t *testing.T) {
	s := apitest.Start(t)
	expect(t, s, "", args("create namespace shop"), "created")
	expect(t, s, "", args("create quota few -n shop --hard=pods=2,limits.cpu=1,configmaps=2,count/widgets.example.com=1,services.loadbalancers=0,persistentvolumeclaims=5"), "resourcequota/few created")
	expect(t, s, "", args("get quota -n shop"), "NAME   REQUEST", "LIMIT", "AGE",
		"few    configmaps: 0/2, count/widgets.example.com: 0/1, persistentvolumeclaims: 0/5, pods: 0/2, services.loadbalancers: 0/0   limits.cpu: 0/1")
	limited := `, resources: {limits: {cpu: 400m}}`
	refuse(t, s, podManifest("web"), args("create -f -"), `Error from server (Forbidden): error when creating "STDIN": pods "web" is forbidden: failed quota: few: must specify limits.cpu for: c1`)
	expect(t, s, podManifest("a", limited), args("create -f -"), "created")
	expect(t, s, podManifest("b", limited), args("create --dry-run=server -f -"), "created (server dry run)")
	expect(t, s, podManifest("b", limited), args("create -f -"), "created")
	const full = `pods "c" is forbidden: exceeded quota: few, requested: limits.cpu=400m,pods=1, used: limits.cpu=800m,pods=2, limited: limits.cpu=1,pods=2`
	refuse(t, s, podManifest("c", limited), args("create -f -"), full)
	refuse(t, s, podManifest("c", limited), args("create --dry-run=server -f -"), full)
	refuse(t, s, podManifest("c", limited), args("apply --server-side -f -"), full)
	expect(t, s, "", args("describe quota few -n shop"), "Name:", "few", "limits.cpu", "800m  1", "pods", "2     2")
	expect(t, s, "", args("describe namespace shop"), "Resource Quotas", "limits.cpu", "800m  1")
	expect(t, s, "", args("delete pod a -n shop --force --grace-period=0"), "deleted")
	expect(t, s, "", args("get quota few -n shop -o jsonpath={.status.used.pods},{.status.used.limits\\.cpu}"), "1,400m")

	refuse(t, s, "", args("create service loadbalancer lb --tcp=80 -n shop"), `services "lb" is forbidden: exceeded quota: few, requested: services.loadbalancers=1, used: services.loadbalancers=0, limited: services.loadbalancers=0`)
	expect(t, s, "", args("create service clusterip web --tcp=80 -n shop"), "created")
	refuse(t, s, "", []string{"patch", "service", "web", "-n", "shop", "-p", `{"spec":{"type":"LoadBalancer"}}`}, "exceeded quota: few, requested: services.loadbalancers=1")

	expect(t, s, "", args("create configmap a -n shop"), "created")
	expect(t, s, "", args("create configmap b -n shop"), "created")
	refuse(t, s, "", args("create configmap c -n shop"), `configmaps "c" is forbidden: exceeded quota: few, requested: configmaps=1, used: configmaps=2, limited: configmaps=2`)
	expect(t, s, "", []string{"patch", "quota", "few", "-n", "shop", "-p", `{"spec":{"hard":{"configmaps":"3","secrets":"1"}}}`}, "patched")
	expect(t, s, "", args("get quota few -n shop -o jsonpath={.status.hard.configmaps},{.status.used.configmaps},{.status.used.secrets}"), "3,2,0")
	expect(t, s, "", args("create configmap c -n shop"), "created")
	// What somebody writes into its status is not what counts.
	expect(t, s, "", []string{"patch", "quota", "few", "-n", "shop", "--subresource=status", "-p", `{"metadata":{"labels":{"a":"b"}},"status":{"hard":{"configmaps":"9"},"used":{"configmaps":"1"}}}`}, "patched")
	expect(t, s, "", args("get quota few -n shop -o jsonpath={.metadata.labels.a},{.spec.hard.configmaps},{.status.hard.configmaps},{.status.used.configmaps}"), "b,3,9,1")
	refuse(t, s, "", args("create configmap d -n shop"), `exceeded quota: few, requested: configmaps=1, used: configmaps=3, limited: configmaps=3`)
	refuse(t, s, "", []string{"patch", "quota", "few", "-n", "shop", "-p", `{"spec":{"scopes":["BestEffort"]}}`}, "field is immutable")

	// A custom resource, of a definition that comes later.
	expect(t, s, widgetDefinition, args("apply -f -"), "created")
	expect(t, s, "", args("wait --for=condition=Established crd/widgets.example.com --timeout=30s"), "condition met")
	widget := func(name string) string {
		return "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: " + name + ", namespace: shop}\nspec: {size: 1}\n"
	}
	expect(t, s, widget("one"), args("create -f -"), "created")
	refuse(t, s, widget("two"), args("create -f -"), `widgets.example.com "two" is forbidden: exceeded quota: few, requested: count/widgets.example.com=1, used: count/widgets.example.com=1, limited: count/widgets.example.com=1`)
}

const widgetDefinition = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
`

// However many create at once, as many as the quota allows succeed, and it says
// so.
func TestQuotaRace(t *testing.T) {
	s := apitest.Start(t)
	config, err := clientcmd.BuildConfigFromFlags("", s.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	config.QPS = -1
	client := kubernetes.NewForConfigOrDie(config).CoreV1()
	if _, err := client.Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	const allowed, creators = 7, 200
	quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "all"}, Spec: corev1.ResourceQuotaSpec{
		Hard: corev1.ResourceList{corev1.ResourcePods: *resource.NewQuantity(allowed, resource.DecimalSI)},
	}}
	if _, err := client.ResourceQuotas("shop").Create(t.Context(), quota, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, round := range []string{"a", "b"} {
		var created atomic.Int32
		var group sync.WaitGroup
		for i := range creators {
			group.Go(func() {
				pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("%s-%d", round, i)}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c1", Image: "example.com/web:1"}}}}
				switch _, err := client.Pods("shop").Create(t.Context(), pod, metav1.CreateOptions{}); {
				case err == nil:
					created.Add(1)
				case !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "exceeded quota: all, requested: pods=1, used: pods=7, limited: pods=7"):
					t.Error(err)
				}
			})
		}
		group.Wait()
		stored, err := client.ResourceQuotas("shop").Get(t.Context(), "all", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if used := stored.Status.Used[corev1.ResourcePods]; created.Load() != allowed || used.Value() != allowed {
			t.Errorf("%d pods were created, and the quota says %s; want %d", created.Load(), used.String(), allowed)
		}
		if err := client.Pods("shop").DeleteCollection(t.Context(), metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))}, metav1.ListOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

// Priority classes as kubectl shows them.
func TestPriorityClasses(t *testing.T) {
	s := apitest.Start(t)
	expect(t, s, "", args("create priorityclass high --value=1000 --description=first --preemption-policy=Never"), "priorityclass.scheduling.k8s.io/high created")
	expect(t, s, "", args("get pc"), "GLOBAL-DEFAULT   AGE", "PREEMPTIONPOLICY\n", "Never\n")
	expect(t, s, "", args("create priorityclass usual --value=5 --global-default"), "created")
	refuse(t, s, "", args("create priorityclass other --value=6 --global-default"), `priorityclasses.scheduling.k8s.io "other" is forbidden: PriorityClass usual is already marked as default. Only one default can exist`)
	refuse(t, s, "", args("create priorityclass other --value=6 --global-default --dry-run=server"), "Only one default can exist")
	refuse(t, s, "", args("create priorityclass system-x --value=6"), "priority class names with 'system-' prefix are reserved for system use only. error: system-x is not a known system priority class")
	refuse(t, s, "", []string{"patch", "pc", "high", "-p", `{"value":2}`}, "value: Forbidden: may not be changed in an update.")
	expect(t, s, "", args("create namespace shop"), "created")
	expect(t, s, podManifest("usual"), args("create -f -"), "created")
	expect(t, s, podManifest("high")+"  priorityClassName: high\n", args("create -f -"), "created")
	expect(t, s, "", args("get pod usual -n shop -o jsonpath={.spec.priorityClassName},{.spec.priority},{.spec.preemptionPolicy}"), "usual,5,PreemptLowerPriority")
	expect(t, s, "", args("get pod high -n shop -o jsonpath={.spec.priority},{.spec.preemptionPolicy}"), "1000,Never")
	refuse(t, s, podManifest("low")+"  priorityClassName: low\n", args("create -f -"), `pods "low" is forbidden: no PriorityClass with name low was found`)
	expect(t, s, "", args("describe pc high"), "Value:", "1000", "Never")
	expect(t, s, "", args("explain priorityclass.preemptionPolicy"), "preemptionPolicy")
	expect(t, s, "", args("delete pc high"), "deleted")
}

// TestQuotaOfLives: what each kind of object uses of a quota is used while it is there, and
// scopes are about their own pods.
func TestQuotaOfLives(t *testing.T) {
	s := apitest.Start(t)
	expect(t, s, "", args("create namespace shop"), "created")
	const scoped = "\n---\napiVersion: v1\nkind: ResourceQuota\nmetadata: {name: %s, namespace: shop}\nspec: {hard: {%s}, scopes: [%s]}"
	var quotas strings.Builder
	quotas.WriteString(`
apiVersion: v1
kind: ResourceQuota
metadata: {name: all, namespace: shop}
spec:
  hard: {pods: "5", services: "10", services.nodeports: "2", services.loadbalancers: "1", replicationcontrollers: "10", resourcequotas: "9", cpu: "2", memory: 500Mi,
    configmaps: "12", secrets: "10", persistentvolumeclaims: "10", requests.storage: 10Gi, gold.storageclass.storage.k8s.io/persistentvolumeclaims: "10",
    gold.storageclass.storage.k8s.io/requests.storage: 10Gi, ephemeral-storage: 50Gi, requests.example.com/dongle: "3", count/replicasets.apps: "5", count/pods: "9",
    count/cronjobs.batch: "1", count/jobs.batch: "2", count/endpoints: "3", limits.cpu: "9"}`)
	for _, scope := range []string{"BestEffort", "NotBestEffort", "Terminating", "NotTerminating"} {
		hard := `pods: "9"`
		if scope != "BestEffort" {
			hard += `, requests.cpu: "2", limits.memory: 2Gi`
		}
		fmt.Fprintf(&quotas, scoped, strings.ToLower(scope), hard, scope)
	}
	expect(t, s, quotas.String(), args("create -f -"), "resourcequota/notterminating created")
	config := rest.CopyConfig(s.Config)
	config.QPS = -1
	client, objects := kubernetes.NewForConfigOrDie(config).CoreV1(), dynamic.NewForConfigOrDie(config)
	// used is what is used of all quotas, but for nothing at all.
	used := func() map[string]string {
		t.Helper()
		list, err := client.ResourceQuotas("shop").List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		found := map[string]string{}
		for _, q := range list.Items {
			if len(q.Status.Used) != len(q.Spec.Hard) || len(q.Status.Hard) != len(q.Spec.Hard) {
				t.Errorf("%s says %v of %v are used", q.Name, q.Status.Used, q.Spec.Hard)
			}
			for name, amount := range q.Status.Used {
				if !amount.IsZero() {
					found[q.Name+" "+string(name)] = amount.String()
				}
			}
		}
		return found
	}
	empty := used()
	if empty["all resourcequotas"] != "5" {
		t.Errorf("used in the beginning: %v", empty)
	}
	const template = `template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: i}]}}`
	pod := func(spec string) string {
		return "v1 Pod spec: {" + spec + "containers: [{name: c, image: i, resources: "
	}
	const amounts = "{requests: {cpu: 500m, memory: 100Mi, ephemeral-storage: 30Gi, example.com/dongle: 2}, limits: {cpu: 1, memory: 200Mi, example.com/dongle: 2}}}]}"
	const pods = "all count/pods=1 all cpu=500m all ephemeral-storage=30Gi all limits.cpu=1 all memory=100Mi all pods=1 all requests.example.com/dongle=2 " +
		"notbesteffort limits.memory=200Mi notbesteffort pods=1 notbesteffort requests.cpu=500m "
	for _, test := range []struct{ object, want string }{
		{"v1 ConfigMap data: {a: b}", "all configmaps=1"},
		{"v1 Secret data: {a: Yg==}", "all secrets=1"},
		{"v1 Endpoints subsets: []", "all count/endpoints=1"},
		{"v1 Service spec: {ports: [{port: 80}]}", "all services=1"},
		{"v1 Service spec: {type: NodePort, ports: [{port: 80}]}", "all services=1 all services.nodeports=1"},
		{"v1 Service spec: {type: LoadBalancer, ports: [{port: 80, name: a}, {port: 81, name: b}]}", "all services=1 all services.loadbalancers=1 all services.nodeports=2"},
		{"v1 Service spec: {type: LoadBalancer, allocateLoadBalancerNodePorts: false, ports: [{port: 80}]}", "all services=1 all services.loadbalancers=1"},
		{"v1 ReplicationController spec: {" + template + "}", "all replicationcontrollers=1"},
		{"apps/v1 ReplicaSet spec: {selector: {matchLabels: {a: b}}, " + template + "}", "all count/replicasets.apps=1"},
		{"batch/v1 Job spec: {suspend: true, template: {spec: {restartPolicy: Never, containers: [{name: c, image: i}]}}}", "all count/jobs.batch=1"},
		{
			"v1 PersistentVolumeClaim spec: {storageClassName: gold, accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}",
			"all gold.storageclass.storage.k8s.io/persistentvolumeclaims=1 all gold.storageclass.storage.k8s.io/requests.storage=1Gi all persistentvolumeclaims=1 all requests.storage=1Gi",
		},
		{pod("") + amounts, pods + "notterminating limits.memory=200Mi notterminating pods=1 notterminating requests.cpu=500m"},
		{pod("activeDeadlineSeconds: 3600, ") + amounts, pods + "terminating limits.memory=200Mi terminating pods=1 terminating requests.cpu=500m"},
	} {
		version, rest, _ := strings.Cut(test.object, " ")
		kind, rest, _ := strings.Cut(rest, " ")
		group, err := schema.ParseGroupVersion(version)
		if err != nil {
			t.Fatal(err)
		}
		api := objects.Resource(group.WithResource(strings.TrimSuffix(strings.ToLower(kind), "s") + "s")).Namespace("shop")
		obj := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte("apiVersion: "+version+"\nkind: "+kind+"\nmetadata: {name: one}\n"+rest), &obj.Object); err != nil {
			t.Fatal(err)
		}
		if _, err := api.Create(t.Context(), obj, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		var got []string
		now := used()
		for _, name := range slices.Sorted(maps.Keys(now)) {
			if now[name] != empty[name] {
				got = append(got, name+"="+now[name])
			}
		}
		if has := strings.Join(got, " "); has != test.want {
			t.Errorf("%s\nuses %s,\nwant %s", test.object, has, test.want)
		}
		if err := api.Delete(t.Context(), "one", metav1.DeleteOptions{PropagationPolicy: new(metav1.DeletePropagationBackground)}); err != nil {
			t.Fatal(err)
		}
		if kind == "PersistentVolumeClaim" { // which is protected
			if _, err := api.Patch(t.Context(), "one", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		if left := used(); !maps.Equal(left, empty) {
			t.Errorf("after %s: %v are used, want %v", kind, left, empty)
		}
	}
}
