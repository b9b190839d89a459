package api_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"headway.dev/engine/api/apitest"
)

const deployment = `apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  labels: {app: web}
spec:
  replicas: 2
  selector:
    matchLabels: {app: web}
  template:
    metadata:
      labels: {app: web}
    spec:
      containers:
      - name: web
        image: example.com/web:1
        ports:
        - containerPort: 8080
`

// kubectl runs kubectl and fails the test unless it succeeds.
func kubectl(t *testing.T, s *apitest.Server, stdin string, args ...string) string {
	t.Helper()
	stdout, stderr, err := s.Kubectl(t, stdin, args...)
	if err != nil {
		t.Fatalf("kubectl %s: %v\n%s%s", strings.Join(args, " "), err, stdout, stderr)
	}
	return stdout + stderr
}

// expect runs kubectl and checks that the output contains all of want.
func expect(t *testing.T, s *apitest.Server, stdin string, args []string, want ...string) {
	t.Helper()
	got := kubectl(t, s, stdin, args...)
	for _, w := range want {
		if !strings.Contains(got, w) {
			t.Errorf("kubectl %s: missing %q in:\n%s", strings.Join(args, " "), w, got)
		}
	}
}

// refuse runs kubectl, which has to fail with want in its output.
func refuse(t *testing.T, s *apitest.Server, stdin string, args []string, want ...string) {
	t.Helper()
	stdout, stderr, err := s.Kubectl(t, stdin, args...)
	if err == nil {
		t.Errorf("kubectl %s succeeded: %s", strings.Join(args, " "), stdout)
	}
	for _, w := range want {
		if !strings.Contains(stdout+stderr, w) {
			t.Errorf("kubectl %s: missing %q in:\n%s%s", strings.Join(args, " "), w, stdout, stderr)
		}
	}
}

func args(line string) []string { return strings.Fields(line) }

// The way of a Deployment through kubectl's commands.
func TestKubectl(t *testing.T) {
	s := apitest.Start(t)
	expect(t, s, "", args("version"), "Server Version: v1.37")
	expect(t, s, deployment, args("create --dry-run=server -f -"), "deployment.apps/web created (server dry run)")
	refuse(t, s, "", args("get deploy web"), `Error from server (NotFound): deployments.apps "web" not found`)
	expect(t, s, deployment, args("apply -f -"), "deployment.apps/web created")
	expect(t, s, deployment, args("apply -f -"), "deployment.apps/web unchanged")
	expect(t, s, "", args("get deploy"), "NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE", "web", "0/2")
	expect(t, s, "", args("get deploy -o wide"), "CONTAINERS", "IMAGES", "SELECTOR", "example.com/web:1", "app=web")
	expect(t, s, "", args("get deploy -o name"), "deployment.apps/web")
	expect(t, s, "", args("get deploy web -o yaml"), "apiVersion: apps/v1", "kind: Deployment", "revisionHistoryLimit: 10", "terminationGracePeriodSeconds: 30")
	expect(t, s, "", args("get deploy -o json"), `"kind": "List"`, `"kind": "Deployment"`)
	expect(t, s, "", args("get deploy -o jsonpath={.items[*].spec.replicas}"), "2")
	expect(t, s, "", args("get deploy -o custom-columns=N:.metadata.name,K:.kind"), "web   Deployment")
	expect(t, s, "", args("get deploy --show-labels -l app=web"), "LABELS", "app=web")
	expect(t, s, "", args("get deploy -l app=other"), "No resources found in default namespace.")
	expect(t, s, "", args("get all"), "deployment.apps/web")
	expect(t, s, "", args("describe deploy web"), "Replicas:", "2 desired", "StrategyType:", "RollingUpdate")

	// Patches of all types.
	for _, c := range []struct{ kind, patch, image string }{
		{"strategic", `{"spec":{"template":{"spec":{"containers":[{"name":"web","image":"example.com/web:2"}]}}}}`, "example.com/web:2"},
		{"json", `[{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"example.com/web:3"}]`, "example.com/web:3"},
		{"merge", `{"spec":{"template":{"spec":{"containers":[{"name":"web","image":"example.com/web:4"}]}}}}`, "example.com/web:4"},
	} {
		expect(t, s, "", []string{"patch", "deploy", "web", "--type", c.kind, "-p", c.patch}, "patched")
		expect(t, s, "", args("get deploy web -o jsonpath={.spec.template.spec.containers[0].image}"), c.image)
	}
	expect(t, s, "", args("get deploy web -o jsonpath={.metadata.generation}"), "4")
	expect(t, s, "", args("scale deploy web --replicas=5"), "deployment.apps/web scaled")
	expect(t, s, "", args("get deploy web -o jsonpath={.spec.replicas}"), "5")
	if got := strings.Fields(kubectl(t, s, "", args("get deploy web --subresource=scale")...)); !slices.Equal(got[:min(7, len(got))], args("NAME DESIRED AVAILABLE AGE web 5 0")) {
		t.Errorf("kubectl get --subresource=scale: %q", got)
	}
	refuse(t, s, "", args("scale deploy web --replicas=6 --resource-version=1"), "Expected resource version to be 1, was ")
	expect(t, s, "", args("label deploy web tier=front"), "labeled")
	expect(t, s, "", args("annotate deploy web note=x"), "annotated")
	expect(t, s, "", args("set image deploy/web web=example.com/web:5"), "image updated")

	editor := filepath.Join(t.TempDir(), "editor")
	if err := os.WriteFile(editor, []byte("#!/bin/sh\nsed -i 's/^  replicas: 5/  replicas: 6/' \"$1\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KUBE_EDITOR", editor)
	expect(t, s, "", args("edit deploy web"), "deployment.apps/web edited")
	expect(t, s, "", args("get deploy web -o jsonpath={.spec.replicas}"), "6")

	stdout, stderr, err := s.Kubectl(t, strings.ReplaceAll(deployment, "replicas: 2", "replicas: 3"), "diff", "-f", "-")
	if err == nil || !strings.Contains(stdout, "-  replicas: 6") || !strings.Contains(stdout, "+  replicas: 3") {
		t.Errorf("kubectl diff: %v\n%s%s", err, stdout, stderr)
	}
	expect(t, s, "", args("wait deploy/web --for=jsonpath={.spec.replicas}=6 --timeout=10s"), "condition met")
	expect(t, s, "", args("delete deploy web"), `deployment.apps "web" deleted`)
	refuse(t, s, "", args("get deploy web"), "NotFound")
}

// Two managers of one field: the second is told who owns it, and may take it.
func TestServerSideApply(t *testing.T) {
	s := apitest.Start(t)
	expect(t, s, deployment, args("apply --server-side -f -"), "deployment.apps/web serverside-applied")
	changed := strings.ReplaceAll(deployment, "web:1", "web:2")
	refuse(t, s, changed, args("apply --server-side --field-manager=other -f -"),
		`Apply failed with 1 conflict: conflict with "kubectl": .spec.template.spec.containers[name="web"].image`)
	expect(t, s, changed, args("apply --server-side --field-manager=other --force-conflicts -f -"), "serverside-applied")
	expect(t, s, "", args("get deploy web -o jsonpath={.spec.template.spec.containers[0].image}"), "web:2")
	// The owner of a scale owns spec.replicas.
	expect(t, s, "", args("scale deploy web --replicas=7"), "scaled")
	refuse(t, s, strings.ReplaceAll(deployment, "web:1", "web:2"), args("apply --server-side -f -"), `conflict with "kubectl" with subresource "scale"`, ".spec.replicas")
	expect(t, s, "", args("get deploy web --show-managed-fields -o yaml"), "f:replicas", `k:{"name":"web"}`)
	expect(t, s, "apiVersion: source.toolkit.fluxcd.io/v1\nkind: GitRepository\nmetadata: {name: repo}\nspec: {url: 'https://example.com/repo.git', interval: 1m}\n",
		args("apply --server-side -f -"), "gitrepository.source.toolkit.fluxcd.io/repo serverside-applied")
}

func TestDiscovery(t *testing.T) {
	s := apitest.Start(t)
	expect(t, s, "", args("api-resources"),
		"deploy", "gitrepo", "ks", "endpointslices", "leases", "kustomize.toolkit.fluxcd.io/v1", "selfsubjectreviews")
	expect(t, s, "", args("api-resources -o wide"), "create,delete,deletecollection,get,list,patch,update,watch", "all")
	expect(t, s, "", args("api-versions"), "apps/v1", "source.toolkit.fluxcd.io/v1", "v1")
	expect(t, s, "", args("explain pods.spec.containers.ports"), "KIND:       Pod", "containerPort", "-required-", "FIELD: ports <[]ContainerPort>")
	expect(t, s, "", args("explain deploy"), "GROUP:      apps", "FIELDS:", "spec	<DeploymentSpec>", "Deployment enables declarative updates for Pods and ReplicaSets.")
	expect(t, s, "", args("explain gitrepository.spec"), "GROUP:      source.toolkit.fluxcd.io", "URL specifies the Git repository URL")
	expect(t, s, "", args("get --raw /openapi/v3"), "apis/apps/v1", "api/v1")
	expect(t, s, "", args("get --raw /openapi/v2"), `"swagger":"2.0"`, "io.k8s.api.apps.v1.Deployment")
	expect(t, s, "", args("auth whoami"), "kubernetes-admin", "system:masters")
	expect(t, s, "", args("auth can-i create pods"), "yes")
	for _, path := range []string{"/healthz", "/livez", "/readyz", "/metrics", "/version", "/"} {
		kubectl(t, s, "", "get", "--raw", path)
	}
}

// What kubectl prints for objects of every kind, and what it refuses.
func TestKinds(t *testing.T) {
	s := apitest.Start(t)
	for _, output := range []string{"", "wide"} {
		kubectl(t, s, "", "get", "ns,no,po,cm,secrets,svc,ep,ev,sa,deploy,rs,leases,endpointslices,gitrepo,ks", "-A", "-o", output)
	}
	expect(t, s, "", args("get ns"), "NAME", "STATUS", "default", "Active")
	expect(t, s, "", args("create namespace blue"), "namespace/blue created")
	expect(t, s, "", args("create configmap cm --from-literal=a=b"), "configmap/cm created")
	expect(t, s, "", args("create secret generic sec --from-literal=a=b"), "secret/sec created")
	expect(t, s, "", args("create service clusterip svc --tcp=80:8080"), "service/svc created")
	expect(t, s, "", args("create serviceaccount robot"), "serviceaccount/robot created")
	expect(t, s, "", args("run one --image=example.com/one --restart=Never"), "pod/one created")
	expect(t, s, "", args("get cm,secret,svc,sa,po"), "DATA", "Opaque", "ClusterIP", "10.96.", "80/TCP", "Pending")
	expect(t, s, "", args("get po --field-selector=status.phase=Pending,spec.nodeName="), "one")
	expect(t, s, "", args("get po --field-selector=status.phase=Running"), "No resources found")
	refuse(t, s, "", args("get po --field-selector=spec.foo=x"), "field label not supported: spec.foo")
	expect(t, s, "", args("get secrets --field-selector=type=Opaque"), "sec")
	refuse(t, s, "", args("create configmap cm"), `configmaps "cm" already exists`)
	refuse(t, s, "", args("-n nowhere create configmap cm"), `namespaces "nowhere" not found`)
	refuse(t, s, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndate: {a: b}\n", args("create -f -"), `unknown field "date"`)
	expect(t, s, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndate: {a: b}\n", args("create --validate=warn -f -"), `Warning: unknown field "date"`)
	expect(t, s, "apiVersion: v1\nkind: ConfigMap\nmetadata: {generateName: gen-}\n", args("create -f -"), "configmap/gen-")
	refuse(t, s, strings.ReplaceAll(deployment, "replicas: 2", "replicas: -1"), args("create -f -"), `The Deployment "web" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0`)
	refuse(t, s, "", args("delete ns default"), "this namespace may not be deleted")
	expect(t, s, "", args("delete po one --wait=false"), `pod "one" deleted`)
	expect(t, s, "", args("delete cm --all"), `configmap "cm" deleted`)
	expect(t, s, "", args("delete ns blue --wait=false"), `namespace "blue" deleted`)
	expect(t, s, "", args("get ns blue"), "Terminating")
	refuse(t, s, "", args("-n blue create configmap cm"), "unable to create new content in namespace blue because it is being terminated")
	expect(t, s, `{"kind":"Namespace","apiVersion":"v1","metadata":{"name":"blue"},"spec":{"finalizers":[]}}`, args("replace --raw /api/v1/namespaces/blue/finalize -f -"), "blue")
	refuse(t, s, "", args("get ns blue"), "NotFound")
	refuse(t, s, "", args("logs nothing"), `pods "nothing" not found`)
}
