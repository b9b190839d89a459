package api_test

import (
	"bufio"
	"context"
	"os/exec"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"headway.dev/engine/api/apitest"
)

const podAndService = `apiVersion: v1
kind: Pod
metadata:
  name: web
  labels: {app: web}
spec:
  containers:
  - name: web
    image: example.com/web:1
    resources: {requests: {cpu: 100m, memory: 16Mi}, limits: {memory: 32Mi}}
    readinessProbe: {httpGet: {path: /healthz, port: 8080}}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: NodePort
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080}]
---
apiVersion: v1
kind: Node
metadata:
  name: n1
  labels: {node-role.kubernetes.io/worker: ""}
`

// What kubectl describe, events and get --watch read.
func TestDescribe(t *testing.T) {
	s := apitest.Start(t)
	ctx := t.Context()
	expect(t, s, podAndService, args("apply -f -"), "pod/web created", "service/web created", "node/n1 created")
	pod, err := kubernetes.NewForConfigOrDie(s.Config).CoreV1().Pods("default").Get(ctx, "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	now := metav1.Now()
	event := &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Name: "web.1", Namespace: "default"}, Type: "Warning", Reason: "FailedScheduling",
		Message: "0/1 nodes are available", Count: 1, FirstTimestamp: now, LastTimestamp: now,
		InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: "default", Name: "web", UID: pod.UID, APIVersion: "v1"},
		Source:         corev1.EventSource{Component: "default-scheduler"},
	}
	if _, err := kubernetes.NewForConfigOrDie(s.API.InProcess("scheduler", "system:masters")).CoreV1().Events("default").Create(ctx, event, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	expect(t, s, "", args("describe pod web"), "Image:", "memory:  32Mi", "QoS Class:", "Burstable", "FailedScheduling", "default-scheduler", "0/1 nodes are available")
	expect(t, s, "", args("describe svc web"), "NodePort:", "TargetPort:", "8080/TCP", "IPs:")
	expect(t, s, "", args("describe node n1"), "Roles:", "worker", "Unschedulable:", "false")
	expect(t, s, "", args("describe ns default"), "Status:", "Active")
	expect(t, s, "", args("events"), "LAST SEEN", "Warning", "FailedScheduling", "Pod/web", "0/1 nodes are available")
	expect(t, s, "", args("events --for pod/web"), "FailedScheduling")
	expect(t, s, "", args("get events --field-selector involvedObject.name=web,type=Warning"), "pod/web")
	expect(t, s, "", args("get nodes"), "NAME", "ROLES", "worker", "Unknown")
	expect(t, s, "", args("cordon n1"), "node/n1 cordoned")
	expect(t, s, "", args("get nodes --field-selector spec.unschedulable=true"), "SchedulingDisabled")
	expect(t, s, "", args("taint nodes n1 key=value:NoSchedule"), "node/n1 tainted")
}

// kubectl get --watch prints a line for every change.
func TestWatchTable(t *testing.T) {
	s := apitest.Start(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "kubectl", "--kubeconfig", s.Kubeconfig, "get", "configmaps", "--watch", "--output-watch-events")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	kubectl(t, s, "", "create", "configmap", "a", "--from-literal=k=v")
	var got []string
	for i := 0; i < 2 && lines.Scan(); i++ {
		got = append(got, strings.Join(strings.Fields(lines.Text()), " "))
	}
	kubectl(t, s, "", "delete", "configmap", "a")
	for len(got) < 3 && lines.Scan() {
		got = append(got, strings.Join(strings.Fields(lines.Text()), " "))
	}
	cancel()
	_ = cmd.Wait() // killed
	want := []string{"EVENT NAME DATA AGE", "ADDED a 1", "DELETED a 1"}
	if len(got) != len(want) {
		t.Fatalf("got %q, want %q", got, want)
	}
	for i := range want {
		if !strings.HasPrefix(got[i], want[i]) {
			t.Errorf("line %d: got %q, want %q…", i, got[i], want[i])
		}
	}
}

// A collection is deleted by its selector, and namespaces only one by one.
func TestDeleteCollection(t *testing.T) {
	s := apitest.Start(t)
	ctx := t.Context()
	client := kubernetes.NewForConfigOrDie(s.Config)
	for _, name := range []string{"a", "b", "c"} {
		cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"keep": map[bool]string{true: "yes", false: "no"}[name == "c"]}}}
		if _, err := client.CoreV1().ConfigMaps("default").Create(ctx, cm, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	dry := metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}}
	if err := client.CoreV1().ConfigMaps("default").DeleteCollection(ctx, dry, metav1.ListOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := client.CoreV1().ConfigMaps("default").DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "keep=no"}); err != nil {
		t.Fatal(err)
	}
	left, err := client.CoreV1().ConfigMaps("default").List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(left.Items) != 1 || left.Items[0].Name != "c" {
		t.Errorf("left: %v, want c", left.Items)
	}
	resources, err := client.Discovery().ServerResourcesForGroupVersion("v1")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range resources.APIResources {
		if got := strings.Join(r.Verbs, ","); r.Name == "namespaces" && got != "create,delete,get,list,patch,update,watch" {
			t.Errorf("verbs of namespaces: %s", got)
		}
	}
}

// A dry run answers as the real one would, and changes nothing.
func TestDryRun(t *testing.T) {
	s := apitest.Start(t)
	expect(t, s, deployment, args("apply -f -"), "created")
	before := kubectl(t, s, "", "get", "deploy", "web", "-o", "yaml", "--show-managed-fields")
	changed := strings.ReplaceAll(deployment, "replicas: 2", "replicas: 9")
	expect(t, s, changed, args("apply --dry-run=server -f - -o jsonpath={.spec.replicas}"), "9")
	expect(t, s, changed, args("apply --server-side --force-conflicts --dry-run=server -f -"), "serverside-applied (server dry run)")
	expect(t, s, "", args("scale deploy web --replicas=4 --dry-run=server"), "scaled (server dry run)")
	expect(t, s, "", args("delete deploy web --dry-run=server"), `deployment.apps "web" deleted`)
	expect(t, s, "", args("run p --image=example.com/p --dry-run=server -o jsonpath={.status.phase}"), "Pending")
	refuse(t, s, "", args("-n nowhere run p --image=example.com/p --dry-run=server"), `namespaces "nowhere" not found`)
	if after := kubectl(t, s, "", "get", "deploy", "web", "-o", "yaml", "--show-managed-fields"); after != before {
		t.Errorf("a dry run changed\n%s\nto\n%s", before, after)
	}
	refuse(t, s, "", args("get pod p"), "NotFound")

	// What the store checks at the point of commit is checked, too.
	service := "apiVersion: v1\nkind: Service\nmetadata: {name: NAME}\nspec: {type: NodePort, ports: [{port: 80, nodePort: 30080}]}\n"
	expect(t, s, strings.ReplaceAll(service, "NAME", "one"), args("create --dry-run=server -f - -o jsonpath={.spec.clusterIP}"), "10.96.")
	expect(t, s, strings.ReplaceAll(service, "NAME", "one"), args("create -f -"), "created")
	refuse(t, s, strings.ReplaceAll(service, "NAME", "two"), args("create --dry-run=server -f -"), "provided port is already allocated")
	expect(t, s, strings.ReplaceAll(strings.ReplaceAll(service, "NAME", "two"), "30080", "30081"), args("create -f -"), "created")
	refuse(t, s, "", append(args("patch svc two --dry-run=server -p"), `{"spec":{"ports":[{"port":80,"nodePort":30080}]}}`), "provided port is already allocated")
	expect(t, s, "", args("label svc two a=b --dry-run=server -o jsonpath={.metadata.labels.a}"), "b")
}

// The metrics tell of the process, the store and what follows Git, and hold no
// names but those of Flux' objects.
func TestMetrics(t *testing.T) {
	s := apitest.Start(t)
	const manifest = `apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: apps}
spec: {interval: 1m, path: ./apps, prune: true, sourceRef: {kind: GitRepository, name: apps}}
---
apiVersion: v1
kind: Secret
metadata: {name: unspoken}
stringData: {password: hunter2}
`
	expect(t, s, manifest, args("create -f -"), "created")
	metrics := []string{
		`headway_store_objects{group="",kind="Secret"} 1`, "headway_store_revision ", "headway_store_file_bytes ", "headway_store_failing 0",
		`headway_gitops_ready{kind="Kustomization",name="apps",namespace="default"} -1`,
		"apiserver_request_total{", "process_resident_memory_bytes", "go_goroutines",
	}
	expect(t, s, "", args("get --raw /metrics"), metrics...)
	patch := `{"status":{"conditions":[{"type":"Ready","status":"True","reason":"ReconciliationSucceeded","message":"","lastTransitionTime":"2026-01-01T00:00:00Z"}]}}`
	expect(t, s, "", append(args("patch ks apps --subresource=status --type=merge -p"), patch), "patched")
	expect(t, s, "", args("get --raw /metrics"), `headway_gitops_ready{kind="Kustomization",name="apps",namespace="default"} 1`)
	if out := kubectl(t, s, "", "get", "--raw", "/metrics"); strings.Contains(out, "unspoken") || strings.Contains(out, "hunter2") {
		t.Error("the metrics tell about a Secret")
	}
}

// Flux' kinds, which are custom resources elsewhere, by kubectl apply.
func TestFluxKinds(t *testing.T) {
	s := apitest.Start(t)
	const manifest = `apiVersion: source.toolkit.fluxcd.io/v1
kind: GitRepository
metadata: {name: apps}
spec: {url: "https://example.com/apps.git", interval: 1m, ref: {branch: main}}
---
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: apps}
spec: {interval: 1m, path: ./apps, prune: true, sourceRef: {kind: GitRepository, name: apps}}
`
	expect(t, s, manifest, args("apply -f -"), "gitrepository.source.toolkit.fluxcd.io/apps created", "kustomization.kustomize.toolkit.fluxcd.io/apps created")
	expect(t, s, strings.ReplaceAll(manifest, "1m", "2m"), args("apply -f -"), "gitrepository.source.toolkit.fluxcd.io/apps configured", "kustomization.kustomize.toolkit.fluxcd.io/apps configured")
	expect(t, s, "", args("get gitrepo,ks"), "URL", "https://example.com/apps.git", "READY", "STATUS")
	expect(t, s, "", args("get ks apps -o jsonpath={.spec.interval}"), "2m")
	expect(t, s, "", args("annotate --overwrite ks/apps reconcile.fluxcd.io/requestedAt=now"), "annotated")
	expect(t, s, "", args("patch ks apps --subresource=status --type=merge -p {\"status\":{\"lastAppliedRevision\":\"main@sha1:0\"}}"), "patched")
	expect(t, s, "", args("describe ks apps"), "Last Applied Revision:", "main@sha1:0")
	expect(t, s, "", args("delete ks,gitrepo --all"), `"apps" deleted`)
}
