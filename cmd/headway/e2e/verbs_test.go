package e2e_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"headway.dev/cmd/headway/e2e"
)

// verb is one verb of kubectl, at work in the namespace verbs.
type verb struct {
	t *testing.T
	c *e2e.Cluster
	// Dir is the case's own.
	dir string
}

// verbs has a case for each verb of `kubectl --help`. They run side by side, and share
// the pods box and patient and the Deployment shared: each leaves alone what others
// make.
var verbs = map[string]func(verb){
	"annotate":      verb.annotate,
	"api-resources": verb.apiResources,
	"api-versions":  verb.apiVersions,
	"apply":         verb.apply,
	"attach":        verb.attach,
	"auth":          verb.auth,
	"autoscale":     verb.autoscale,
	"certificate":   verb.certificate,
	"cluster-info":  verb.clusterInfo,
	"completion":    verb.completion,
	"config":        verb.config,
	"cp":            verb.cp,
	"create":        verb.create,
	"debug":         verb.debug,
	"delete":        verb.remove,
	"describe":      verb.describe,
	"diff":          verb.diff,
	"edit":          verb.edit,
	"events":        verb.events,
	"exec":          verb.exec,
	"explain":       verb.explain,
	"expose":        verb.expose,
	"get":           verb.get,
	"kuberc":        verb.kuberc,
	"kustomize":     verb.kustomize,
	"label":         verb.label,
	"logs":          verb.logs,
	"patch":         verb.patch,
	"plugin":        verb.plugin,
	"port-forward":  verb.portForward,
	"proxy":         verb.proxy,
	"replace":       verb.replace,
	"rollout":       verb.rollout,
	"run":           verb.start,
	"scale":         verb.scale,
	"set":           verb.set,
	"top":           verb.top,
	"version":       verb.version,
	"wait":          verb.wait,
}

const verbsPods = `apiVersion: v1
kind: Namespace
metadata: {name: verbs}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: default, namespace: verbs}
---
apiVersion: v1
kind: Pod
metadata: {name: box, namespace: verbs, labels: {app: box}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: web
    image: headway.dev/test/busybox:1
    command: [sh, -c, "echo first; echo second; mkdir /www; echo here > /www/index.html; exec httpd -f -p 8080 -h /www"]
    ports: [{name: http, containerPort: 8080}]
  - name: echo
    image: headway.dev/test/busybox:1
    command: [sh, -c, "while read line; do echo \"heard $line\"; done"]
    stdin: true
---
apiVersion: v1
kind: Pod
metadata: {name: patient, namespace: verbs}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: web
    image: headway.dev/test/busybox:1
    command: [sh, -c, "mkdir /www; echo here > /www/index.html; exec httpd -f -p 8080 -h /www"]
` + "---\n" + verbsDeployment

const verbsDeployment = `apiVersion: apps/v1
kind: Deployment
metadata: {name: NAME, namespace: verbs}
spec:
  selector: {matchLabels: {app: NAME}}
  template:
    metadata: {labels: {app: NAME}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: web, image: "headway.dev/test/busybox:1", command: [sleep, "3600"]}]
`

// kubectlVerbs takes the machine's kubectl through everything that its help has.
func kubectlVerbs(t *testing.T, c *e2e.Cluster) {
	t.Helper()
	help := c.Kubectl("--help")
	listed := regexp.MustCompile(`(?m)^  ([a-z-]+)  +\S`).FindAllStringSubmatch(help, -1)
	if len(listed) < 40 {
		t.Errorf("kubectl --help lists %d verbs only:\n%s", len(listed), help)
	}
	for _, match := range listed {
		if verbs[match[1]] == nil && nodeVerbs[match[1]] == nil {
			t.Errorf("kubectl %s has no case here", match[1])
		}
	}
	c.KubectlIn(strings.ReplaceAll(verbsPods, "NAME", "shared"), "apply", "-f", "-")
	c.Kubectl("wait", "-n", "verbs", "--for=condition=Available", "deploy/shared", "--timeout=60s")
	c.Kubectl("wait", "-n", "verbs", "--for=condition=Ready", "pod/box", "--timeout=60s")
	c.Kubectl("wait", "-n", "verbs", "--for=condition=Ready", "pod/patient", "--timeout=60s")
	runVerbs(t, c, verbs, 4)
}

// runVerbs runs so many cases at a time.
func runVerbs(t *testing.T, c *e2e.Cluster, cases map[string]func(verb), lanes int) {
	t.Helper()
	// With room for all: a case that fails the whole cluster takes its lane along.
	names := make(chan string, len(cases))
	var all sync.WaitGroup
	for range lanes {
		all.Go(func() {
			for name := range names {
				t.Run(name, func(t *testing.T) { cases[name](verb{t, c, t.TempDir()}) })
			}
		})
	}
	for _, name := range slices.Sorted(maps.Keys(cases)) {
		names <- name
	}
	close(names)
	all.Wait()
}

// run runs kubectl with the words of a line, and then more arguments, and fails
// unless it prints all of want.
func (v verb) run(line string, want ...string) string {
	v.t.Helper()
	return v.in("", line, want...)
}

func (v verb) in(stdin, line string, want ...string) string {
	v.t.Helper()
	return v.check(v.c.Run(stdin, v.words(line)...), 0, line, want)
}

// refused runs kubectl, which has to fail.
func (v verb) refused(line string, want ...string) {
	v.t.Helper()
	v.check(v.c.Run("", v.words(line)...), 1, line, want)
}

func (v verb) words(line string) []string {
	return append([]string{"kubectl", "-n", "verbs"}, strings.Fields(line)...)
}

func (v verb) check(r e2e.Result, code int, line string, want []string) string {
	v.t.Helper()
	if r.Code != code {
		v.t.Fatalf("kubectl %s: exit code %d, want %d\n%s%s", line, r.Code, code, r.Stdout, r.Stderr)
	}
	contains(v.t, "kubectl "+line, r.Stdout+r.Stderr, want...)
	return r.Stdout
}

func (v verb) file(name, content string) string {
	v.t.Helper()
	path := filepath.Join(v.dir, name)
	if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
		v.t.Fatal(err)
	}
	return path
}

func (v verb) deployment(name string) {
	v.t.Helper()
	v.in(strings.ReplaceAll(verbsDeployment, "NAME", name), "create -f -", "deployment.apps/"+name+" created")
}

func (v verb) annotate() {
	v.run("annotate cm kube-root-ca.crt note=one", "configmap/kube-root-ca.crt annotated")
	v.refused("annotate cm kube-root-ca.crt note=two", "--overwrite is false")
	v.run("annotate cm kube-root-ca.crt note-", "annotated")
}

func (v verb) apiResources() {
	v.run("api-resources", "NAME", "SHORTNAMES", "deployments", "customresourcedefinitions")
	v.run("api-resources --api-group=apps --namespaced -o wide", "replicasets", "create,delete,deletecollection,get,list,patch,update,watch")
	v.run("api-resources --verbs=list,watch -o name", "deployments.apps", "pods")
}

func (v verb) apiVersions() { v.run("api-versions", "apps/v1", "admissionregistration.k8s.io/v1") }

func (v verb) apply() {
	const cm = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: applied}\ndata: {a: one}\n"
	v.in(cm, "apply -f -", "configmap/applied created")
	v.in(cm, "apply -f -", "configmap/applied unchanged")
	v.run("apply view-last-applied cm applied", "a: one")
	v.in(strings.Replace(cm, "one", "two", 1), "apply set-last-applied -f -", "configmap/applied configured")
	editor := v.file("editor", "#!/bin/sh\nexec sed -i 's/two/three/' \"$1\"\n")
	v.check(v.c.Run("", "env", "KUBE_EDITOR="+editor, "kubectl", "-n", "verbs", "apply", "edit-last-applied", "cm", "applied"), 0, "apply edit-last-applied", nil)
	v.run("apply view-last-applied cm applied -o json", `"a": "three"`)
	v.in(cm, "apply --server-side --force-conflicts -f -", "serverside-applied")
	v.in(cm, "apply --dry-run=server -f -", "configmap/applied configured (server dry run)")
	// An ApplySet prunes what is no longer in it.
	set := func(names ...string) {
		var all strings.Builder
		for _, name := range names {
			all.WriteString("---\n" + strings.Replace(cm, "applied", name, 1))
		}
		v.check(v.c.Run(all.String(), "env", "KUBECTL_APPLYSET=true", "kubectl", "-n", "verbs", "apply", "--prune", "--applyset=configmap/set", "-f", "-"), 0, "apply --prune", nil)
	}
	set("in-set-1", "in-set-2")
	set("in-set-1")
	v.run("get cm in-set-1")
	v.refused("get cm in-set-2", `configmaps "in-set-2" not found`)
}

func (v verb) attach() {
	attached := v.c.Background("(echo to you; sleep 30) | kubectl attach -n verbs -i box -c echo")
	v.c.Eventually(time.Minute, "attach shows the answer", func() error { return attached.Has("heard to you") })
	attached.Stop()
}

func (v verb) auth() {
	v.run("auth whoami", "kubernetes-admin", "system:masters")
	v.run("auth can-i create deployments.apps", "yes")
	v.refused("auth can-i list pods --as=jane", "no")
	v.run("auth can-i --list", "selfsubjectreviews.authentication.k8s.io", "[*]")
	role := "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: reconciled, namespace: verbs}\nrules: [{apiGroups: [\"\"], resources: [pods], verbs: [list]}]\n"
	v.in(role, "auth reconcile -f -", "role.rbac.authorization.k8s.io/reconciled reconciled")
	v.in(strings.Replace(role, "list", "get", 1), "auth reconcile -f -", "missing rules added")
	v.run("get role reconciled -o jsonpath={.rules[*].verbs[*]}", "list get")
}

// madeOrUnknown is for kinds that may not be served: that is the answer then.
func (v verb) madeOrUnknown(line, made string) bool {
	v.t.Helper()
	r := v.c.Run("", v.words(line)...)
	if r.Code == 0 && strings.Contains(r.Stdout, made) {
		return true
	}
	if r.Code != 1 || !regexp.MustCompile(`the server could not find the requested resource|the server doesn't have a resource type|no matches for kind`).MatchString(r.Stderr) {
		v.t.Errorf("kubectl %s: exit code %d\n%s%s", line, r.Code, r.Stdout, r.Stderr)
	}
	return false
}

func (v verb) certificate() {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		v.t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "jane"}}, key)
	if err != nil {
		v.t.Fatal(err)
	}
	request := base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
	for _, name := range []string{"approved", "denied"} {
		v.in("apiVersion: certificates.k8s.io/v1\nkind: CertificateSigningRequest\nmetadata: {name: verbs-"+name+"}\nspec: {request: "+request+", signerName: kubernetes.io/kube-apiserver-client, usages: [client auth]}\n", "create -f -", "created")
	}
	v.run("certificate approve verbs-approved", "certificatesigningrequest.certificates.k8s.io/verbs-approved approved")
	v.run("certificate deny verbs-denied", "denied")
	v.run("wait csr/verbs-approved --for=jsonpath={.status.certificate} --timeout=60s", "condition met")
	v.run("get csr verbs-approved verbs-denied", "Approved,Issued", "Denied")
}

func (v verb) clusterInfo() {
	v.run("cluster-info", "is running at", "https://127.0.0.1:6443")
	// The dump has kinds that may not be served, and ends with them.
	if !v.madeOrUnknown("cluster-info dump --output-directory="+v.dir+" --namespaces=verbs", "Cluster info dumped to") {
		return
	}
	for _, file := range []string{"nodes.json", "verbs/pods.json", "verbs/deployments.json", "verbs/events.json", "verbs/box/logs.txt"} {
		if info, err := os.Stat(filepath.Join(v.dir, file)); err != nil || info.Size() == 0 {
			v.t.Errorf("cluster-info dump: %v, %v", info, err)
		}
	}
}

func (v verb) completion() {
	v.run("completion bash", "__start_kubectl")
	complete := func(words, want string) {
		v.t.Helper()
		v.check(v.c.Run("", append([]string{"kubectl", "__complete"}, strings.Fields(words)...)...), 0, "__complete "+words, []string{want})
	}
	complete("logs -n verbs b", "box")
	complete("get deploymen", "deployments")
}

func (v verb) config() {
	content, err := os.ReadFile(filepath.Join(v.c.DataDir, "kubeconfig"))
	if err != nil {
		v.t.Fatal(err)
	}
	run := func(line string, want ...string) string {
		v.t.Helper()
		return v.check(v.c.Run("", append([]string{"kubectl", "--kubeconfig", filepath.Join(v.dir, "config")}, strings.Fields(line)...)...), 0, line, want)
	}
	v.file("config", string(content))
	context := strings.TrimSpace(run("config current-context"))
	run("config view --minify", "server: https://127.0.0.1:6443", "DATA+OMITTED")
	run("config set-context --current --namespace=verbs", "modified")
	run("get pod box", "Running")
	run("config set-context other --cluster=none --user=none", "created")
	run("config get-contexts", "other", context)
	run("config use-context other", "Switched")
	run("config delete-context other", "deleted context other")
}

func (v verb) cp() {
	content := strings.Repeat("0123456789abcdef", 1<<12)
	v.run("cp " + v.file("up", content) + " box:/tmp/copied -c web")
	v.run("cp box:/tmp/copied " + filepath.Join(v.dir, "down") + " -c web")
	if got, err := os.ReadFile(filepath.Join(v.dir, "down")); err != nil || string(got) != content {
		v.t.Errorf("copied there and back: %d bytes, %v; want the %d bytes of before", len(got), err, len(content))
	}
}

// create makes what is served, and says of every other kind that it is not.
func (v verb) create() {
	key := v.file("key", "x")
	for line, want := range map[string]string{
		"namespace verbs-created":                                                                   "namespace/verbs-created created",
		"configmap created --from-literal=a=b --from-file=" + key:                                   "configmap/created created",
		"secret generic created --from-literal=a=b":                                                 "secret/created created",
		"secret docker-registry registry --docker-server=x --docker-username=y --docker-password=z": "secret/registry created",
		"serviceaccount robot":                                                                      "serviceaccount/robot created",
		"deployment created --image=headway.dev/test/busybox:1 --replicas=0 -- sleep 1":             "deployment.apps/created created",
		"service clusterip created --tcp=80:8080":                                                   "service/created created",
		"service nodeport ports --tcp=80:8080":                                                      "service/ports created",
		"service loadbalancer balanced --tcp=80:8080":                                               "service/balanced created",
		"service externalname external --external-name=example.com":                                 "service/external created",
		"role created --verb=get --resource=pods":                                                   "role.rbac.authorization.k8s.io/created created",
		"rolebinding created --role=created --serviceaccount=verbs:robot":                           "rolebinding.rbac.authorization.k8s.io/created created",
		"clusterrole verbs-created --verb=get --non-resource-url=/metrics":                          "clusterrole.rbac.authorization.k8s.io/verbs-created created",
		"clusterrolebinding verbs-created --clusterrole=verbs-created --group=nobody":               "clusterrolebinding.rbac.authorization.k8s.io/verbs-created created",
	} {
		v.run("create "+line, want)
	}
	if token := v.run("create token robot --duration=10m"); strings.Count(token, ".") != 2 {
		v.t.Errorf("create token: %q", token)
	}
	for _, line := range []string{
		"job created --image=x", "cronjob created --image=x --schedule=@daily", "ingress created --rule=example.com/=created:80",
		"poddisruptionbudget created --selector=app=none --min-available=1", "priorityclass verbs-created --value=1", "quota created --hard=pods=1000",
	} {
		v.madeOrUnknown("create "+line, "created")
	}
}

func (v verb) debug() {
	v.run("debug patient --image=headway.dev/test/busybox:1 --target=web --container=debugger -- cat /proc/1/root/www/index.html")
	v.run("wait pod/patient --for=jsonpath={.status.ephemeralContainerStatuses[0].state.terminated.exitCode}=0 --timeout=60s")
	v.run("logs patient -c debugger", "here")
	v.run("debug patient --image=headway.dev/test/busybox:1 --copy-to=copy --share-processes=false --container=web -- sleep 3600")
	v.run("wait pod/copy --for=condition=Ready --timeout=60s")
	v.run("delete pod copy")
	pod := regexp.MustCompile(`node-debugger-\S+`).FindString(v.run("debug node/node-1 --image=headway.dev/test/busybox:1 --profile=general -- chroot /host /bin/busybox ls -d /etc", "Creating debugging pod"))
	v.run("wait --for=jsonpath={.status.phase}=Succeeded --timeout=60s pod/" + pod)
	v.run("logs "+pod, "/etc")
}

func (v verb) remove() {
	for _, name := range []string{"one", "two", "three"} {
		v.run("create configmap delete-" + name)
		v.run("label configmap delete-" + name + " delete=" + name)
	}
	v.run("delete cm delete-one --dry-run=server", `configmap "delete-one" deleted`, "(server dry run)")
	v.run("delete cm delete-one", `configmap "delete-one" deleted`)
	v.run("delete cm -l delete=two", `configmap "delete-two" deleted`)
	v.run("delete cm delete-one delete-three --ignore-not-found", `configmap "delete-three" deleted`)
	v.refused("delete cm delete-one", `configmaps "delete-one" not found`)
	v.deployment("deleted")
	v.run("delete deploy deleted --cascade=foreground --timeout=60s", "deleted")
	v.run("get pods -l app=deleted", "No resources found")
}

func (v verb) describe() {
	v.run("describe deploy shared", "Replicas:", "1 desired", "MinimumReplicasAvailable", "ScalingReplicaSet")
	v.run("describe pod box", "Successfully assigned verbs/box to node-1", "Started", "heard", "http")
	v.run("describe node node-1", "KubeletReady", "Allocatable:", "Non-terminated Pods:", "box")
	v.run("describe ns/verbs sa/default cm/kube-root-ca.crt", "Active")
	v.run("describe clusterrole view", "PolicyRule:")
}

func (v verb) diff() {
	manifest := strings.ReplaceAll(verbsDeployment, "NAME", "shared")
	v.check(v.c.Run(strings.Replace(manifest, "3600", "7200", 1), v.words("diff -f -")...), 1, "diff", []string{`-        - "3600"`, `+        - "7200"`})
	v.in(manifest, "diff -f -")
}

func (v verb) edit() {
	v.run("create configmap edited --from-literal=a=one")
	editor := v.file("editor", "#!/bin/sh\nexec sed -i 's/one/two/' \"$1\"\n")
	v.check(v.c.Run("", "env", "KUBE_EDITOR="+editor, "kubectl", "-n", "verbs", "edit", "cm", "edited"), 0, "edit", []string{"configmap/edited edited"})
	v.run("get cm edited -o jsonpath={.data.a}", "two")
}

func (v verb) events() {
	v.run("events --for=pod/box", "LAST SEEN", "Scheduled", "Started", "Pod/box")
	v.run("events --types=Normal", "Normal")
}

func (v verb) exec() {
	v.run("exec box -c web -- hostname", "box")
	v.in("through\n", "exec -i box -c web -- cat", "through")
	v.run("exec deploy/shared -- hostname", "shared-")
	v.refused("exec box -c web -- ls /absent", "command terminated with exit code 1")
}

func (v verb) explain() {
	v.run("explain deploy.spec.strategy", "KIND:       Deployment", "RollingUpdate")
	v.run("explain pod --recursive", "containerPort", "<integer>")
	v.run("explain crd --api-version=apiextensions.k8s.io/v1", "CustomResourceDefinition")
}

func (v verb) expose() {
	v.run("expose pod box --name=exposed --port=80 --target-port=http", "service/exposed exposed")
	v.c.Eventually(time.Minute, "the Service reaches the pod", func() error {
		r := v.c.Run("", v.words("get --raw /api/v1/namespaces/verbs/services/exposed/proxy/index.html")...)
		if r.Stdout != "here\n" {
			return fmt.Errorf("%s%s", r.Stdout, r.Stderr)
		}
		return nil
	})
}

func (v verb) get() {
	v.run("get pods -o wide", "NAME", "READY", "2/2", "NODE", "node-1")
	v.run("get all", "pod/box", "deployment.apps/shared", "replicaset.apps/shared-")
	v.run("get pod box -o yaml", "kind: Pod", "qosClass: BestEffort")
	v.run("get pods -o custom-columns=N:.metadata.name --sort-by=.metadata.name --no-headers", "box")
	v.run("get pods -A --field-selector=metadata.name=box,status.phase=Running -o name", "pod/box")
	v.run("get pods -l app=box -L app --chunk-size=1", "APP", "box")
	v.run("get --raw /readyz?verbose", "ok")
	v.run("get deploy shared --subresource=scale -o jsonpath={.kind}/{.spec.replicas}", "Scale/1")
	v.refused("get pod absent", `Error from server (NotFound): pods "absent" not found`)
	v.refused("get absent", `the server doesn't have a resource type "absent"`)
	watch := v.c.Background("exec kubectl get cm -n verbs --watch --output-watch-events")
	v.c.Eventually(time.Minute, "the watch begins", func() error { return watch.Has("kube-root-ca.crt") })
	v.run("create configmap watched")
	v.c.Eventually(time.Minute, "the watch shows what comes", func() error { return watch.Has("watched") })
	watch.Stop()
}

// kuberc writes preferences, in versions of kubectl that have it.
func (v verb) kuberc() {
	if !strings.Contains(v.run("--help"), "kuberc") {
		return
	}
	v.run("kuberc view --kuberc=" + v.file("kuberc", "apiVersion: kubectl.config.k8s.io/v1beta1\nkind: Preference\n"))
}

func (v verb) kustomize() {
	v.file("kustomization.yaml", "namePrefix: a-\nconfigMapGenerator: [{name: built, literals: [a=b]}]\n")
	v.run("kustomize "+v.dir, "name: a-built-")
	v.run("apply -k "+v.dir, "configmap/a-built-")
	v.run("delete -k "+v.dir, "deleted")
}

func (v verb) label() {
	v.run("label pod box tier=front", "pod/box labeled")
	v.run("get pods -l tier=front -o name", "pod/box")
	v.run("label sa --all tier=all", "serviceaccount/default labeled")
	v.run("label pod box tier-", "unlabeled")
	v.refused("label pod box tier=no/label", "invalid label value")
}

func (v verb) logs() {
	v.run("logs box -c web", "first\nsecond\n")
	v.run("logs box -c web --tail=1 --timestamps", "Z second")
	v.run("logs -l app=box --all-containers --prefix", "[pod/box/web] first")
	v.run("logs deploy/shared")
	v.refused("logs box -c absent", "container absent is not valid for pod box")
}

func (v verb) patch() {
	v.run("create configmap patched --from-literal=a=one")
	v.run(`patch cm patched -p {"data":{"b":"two"}}`, "patched")
	v.run(`patch cm patched --type=merge -p {"data":{"a":null}}`, "patched")
	v.run(`patch cm patched --type=json -p [{"op":"add","path":"/data/c","value":"three"}]`, "patched")
	v.run("get cm patched -o jsonpath={.data}", `{"b":"two","c":"three"}`)
	v.run(`patch deploy shared --subresource=scale --type=merge --dry-run=server -p {"spec":{"replicas":2}}`, "patched")
}

func (v verb) plugin() {
	v.file("kubectl-greet", "#!/bin/sh\nexec kubectl get pod box -n verbs -o jsonpath='hello {.metadata.name}'\n")
	path := "PATH=" + v.dir + ":" + os.Getenv("PATH")
	v.check(v.c.Run("", "env", path, "kubectl", "plugin", "list"), 0, "plugin list", []string{"kubectl-greet"})
	v.check(v.c.Run("", "env", path, "kubectl", "greet"), 0, "greet", []string{"hello box"})
}

func (v verb) portForward() {
	forward := v.c.Background("exec kubectl port-forward -n verbs pod/box 18081:http")
	v.c.Eventually(time.Minute, "port-forward answers", func() error { return answers(v.c, "http://127.0.0.1:18081/", "here") })
	forward.Stop()
}

func (v verb) proxy() {
	proxy := v.c.Background("exec kubectl proxy --port=18082")
	v.c.Eventually(time.Minute, "the proxy answers", func() error {
		return answers(v.c, "http://127.0.0.1:18082/api/v1/namespaces/verbs/pods/box:8080/proxy/", "here")
	})
	proxy.Stop()
}

func (v verb) replace() {
	const cm = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: replaced}\ndata: {a: one}\n"
	v.in(cm, "create -f -", "created")
	v.in(strings.Replace(cm, "a: one", "b: two", 1), "replace -f -", "configmap/replaced replaced")
	v.run("get cm replaced -o jsonpath={.data}", `{"b":"two"}`)
	v.in(cm, "replace --force -f -", `configmap "replaced" deleted`, "configmap/replaced replaced")
}

func (v verb) rollout() {
	v.deployment("rolled")
	v.run("rollout status deploy/rolled --timeout=60s", "successfully rolled out")
	v.run("rollout pause deploy/rolled", "paused")
	v.run("set env deploy/rolled A=1", "env updated")
	v.refused("rollout undo deploy/rolled --to-revision=1", "cannot rollback a paused deployment")
	v.run("rollout resume deploy/rolled", "resumed")
	v.run("rollout status deploy/rolled --timeout=60s", "successfully rolled out")
	v.run("rollout history deploy/rolled", "REVISION", "2")
	v.run("rollout undo deploy/rolled --to-revision=1", "rolled back")
	v.run("rollout restart deploy/rolled", "restarted")
	v.run("rollout status deploy/rolled --timeout=60s", "successfully rolled out")
	v.run("get deploy rolled -o jsonpath={.spec.template.spec.containers[0].env}{.spec.template.metadata.annotations}", "kubectl.kubernetes.io/restartedAt")
}

func (v verb) scale() {
	v.deployment("scaled")
	v.run("scale deploy/scaled --current-replicas=1 --replicas=2", "deployment.apps/scaled scaled")
	v.run("wait deploy/scaled --for=jsonpath={.status.availableReplicas}=2 --timeout=60s")
	v.refused("scale deploy/scaled --current-replicas=1 --replicas=3", "Expected replicas to be 1, was 2")
	v.run("scale --replicas=0 deploy/scaled", "scaled")
}

func (v verb) set() {
	v.deployment("set")
	v.run("create role set --verb=get --resource=pods")
	v.run("create rolebinding set --role=set --user=jane")
	v.run("create service clusterip set --tcp=80:80")
	v.run("set image deploy/set web=headway.dev/test/busybox:1")
	v.run("set env deploy/set A=1 --from=configmap/kube-root-ca.crt", "env updated")
	v.run("set env deploy/set --list", "A=1")
	v.run("set resources deploy/set --requests=memory=1Mi", "resource requirements updated")
	v.run("set serviceaccount deploy/set default", "serviceaccount updated")
	v.run("set selector svc/set a=b", "selector updated")
	v.run("set subject rolebinding/set --user=john", "subjects updated")
	v.run("get rolebinding set -o jsonpath={.subjects[*].name}", "jane john")
}

func (v verb) version() { v.run("version -o yaml", "serverVersion:", "gitVersion: v1.37") }

func (v verb) wait() {
	v.run("wait pod/box --for=condition=Ready --timeout=60s", "pod/box condition met")
	v.run("create configmap waited --from-literal=a=a")
	waiting := v.c.Background("kubectl wait -n verbs --for=jsonpath='{.data.a}'=b cm/waited --timeout=60s; echo code $?")
	v.run(`patch cm waited -p {"data":{"a":"b"}}`)
	v.c.Eventually(time.Minute, "the wait for a value ends", func() error { return waiting.Has("code 0") })
	waiting = v.c.Background("kubectl wait -n verbs --for=delete cm/waited --timeout=60s; echo code $?")
	v.run("delete cm waited")
	v.c.Eventually(time.Minute, "the wait for the end ends", func() error { return waiting.Has("code 0") })
	v.refused("wait pod/box --for=condition=Absent --timeout=1s", "timed out waiting for the condition on pods/box")
}
