package e2e_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"headway.dev/cmd/headway/e2e"
)

// A pod with an init container gets its environment from a ConfigMap, a
// Secret and its own fields, its files from volumes, and its limits as cgroup
// settings.
func TestPodEnvironmentVolumesAndResources(t *testing.T) {
	t.Parallel()
	host := t.TempDir()
	if err := os.WriteFile(filepath.Join(host, "fact"), []byte("from the host"), 0o644); err != nil {
		t.Fatal(err)
	}
	c := e2e.Start(t, "--images-dir", e2e.BusyboxImages(t), "--listen", "0.0.0.0:6443")
	c.KubectlIn(strings.ReplaceAll(`apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {colour: blue, file.txt: "content of the file"}
---
apiVersion: v1
kind: Secret
metadata: {name: keys}
stringData: {token: s3cret}
---
apiVersion: v1
kind: Pod
metadata: {name: box, labels: {app: box}}
spec:
  terminationGracePeriodSeconds: 0
  initContainers:
  - name: init
    image: headway.dev/test/busybox:1
    command: [sh, -c, "echo written by init > /shared/note"]
    volumeMounts: [{name: work, mountPath: /shared}]
  containers:
  - name: box
    image: headway.dev/test/busybox:1
    command: [sleep, "3600"]
    env:
    - {name: COLOUR, valueFrom: {configMapKeyRef: {name: settings, key: colour}}}
    - {name: TOKEN, valueFrom: {secretKeyRef: {name: keys, key: token}}}
    - {name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    - {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
    - {name: BOTH, value: "$(POD)-$(COLOUR)"}
    resources: {requests: {cpu: 100m, memory: 16Mi}, limits: {cpu: 500m, memory: 64Mi}}
    volumeMounts:
    - {name: work, mountPath: /shared}
    - {name: settings, mountPath: /settings}
    - {name: keys, mountPath: /keys, readOnly: true}
    - {name: host, mountPath: /host, readOnly: true}
    - {name: account, mountPath: /account}
  volumes:
  - {name: work, emptyDir: {}}
  - {name: settings, configMap: {name: settings}}
  - {name: keys, secret: {secretName: keys, defaultMode: 0400}}
  - {name: host, hostPath: {path: HOST, type: Directory}}
  - name: account
    projected:
      sources:
      - serviceAccountToken: {path: token, expirationSeconds: 600}
      - serviceAccountToken: {path: vault, audience: vault.example.com}
---
apiVersion: v1
kind: Pod
metadata: {name: plain}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: plain
    image: headway.dev/test/busybox:1
    command: [sleep, "3600"]
`, "HOST", host), "apply", "-f", "-")
	c.Kubectl("wait", "--for=condition=Ready", "pod/box", "pod/plain", "--timeout=60s")

	facts := c.Kubectl("exec", "box", "--", "sh", "-c",
		"echo $COLOUR $TOKEN $POD $BOTH; cat /shared/note; cat /settings/file.txt; echo; cat /keys/token; echo; cat /host/fact; echo; stat -L -c %a /keys/token; hostname; touch /host/x || echo read-only")
	contains(t, "facts", facts, "blue s3cret box box-blue", "written by init", "content of the file", "s3cret", "from the host", "400", "read-only")
	if ip := c.Kubectl("get", "pod", "box", "-o", "jsonpath={.status.podIP}"); !strings.Contains(c.Kubectl("exec", "box", "--", "sh", "-c", "echo $IP; ip address"), ip+"\n") {
		t.Errorf("the pod does not know its address %s", ip)
	}
	if got := c.Processes.CgroupValue("box", "memory", "memory.limit_in_bytes"); got != "67108864" {
		t.Errorf("memory limit is %s, want 64 MiB", got)
	}
	if got := c.Processes.CgroupValue("box", "cpu", "cpu.cfs_quota_us"); got != "50000" {
		t.Errorf("CPU quota is %s, want 50000", got)
	}

	// Its token says who it is, to the API server; that for another audience
	// does not, there.
	whoami := func(file string) e2e.Result {
		return c.Run("", "kubectl", "--kubeconfig", os.DevNull, "--server", "https://127.0.0.1:6443", "--insecure-skip-tls-verify",
			"--token", c.Kubectl("exec", "box", "--", "cat", "/account/"+file), "auth", "whoami", "-o", "yaml")
	}
	contains(t, "the pod's account", whoami("token").Stdout, "username: system:serviceaccount:default:default", "authentication.kubernetes.io/pod-name", "- box")
	if r := whoami("vault"); r.Code == 0 {
		t.Errorf("the API server takes a token for another audience:\n%s", r.Stdout)
	}

	// A pod that asks for nothing reaches the API by what client libraries look
	// for in a cluster, and verifies it.
	path, err := exec.LookPath("kubectl")
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	c.KubectlIn(string(program), "exec", "-i", "plain", "--", "sh", "-c", "cat > /tmp/kubectl && chmod +x /tmp/kubectl")
	contains(t, "who the plain pod is", c.Kubectl("exec", "plain", "--", "/tmp/kubectl", "auth", "whoami", "-o", "yaml"),
		"username: system:serviceaccount:default:default", "authentication.kubernetes.io/pod-name", "- plain")
	const account = "/var/run/secrets/kubernetes.io/serviceaccount"
	contains(t, "what it has", c.Kubectl("exec", "plain", "--", "sh", "-c", "cd "+account+"; ls; cat namespace; touch x || echo read-only"),
		"ca.crt\nnamespace\ntoken\ndefault", "read-only")

	// A changed ConfigMap reaches the mounted file.
	c.Kubectl("patch", "configmap", "settings", "-p", `{"data":{"file.txt":"new content"}}`)
	c.Eventually(2*time.Minute, "the mounted file changes", func() error {
		if got := c.Kubectl("exec", "box", "--", "cat", "/settings/file.txt"); got != "new content" {
			return fmt.Errorf("it holds %q", got)
		}
		return nil
	})
}

// A failing liveness probe restarts the container, a failing readiness probe
// takes the pod out of its Service, and a startup probe holds both back.
func TestProbes(t *testing.T) {
	t.Parallel()
	c := e2e.Start(t, "--images-dir", e2e.BusyboxImages(t))
	c.KubectlIn(`apiVersion: v1
kind: Service
metadata: {name: box}
spec:
  selector: {app: box}
  ports: [{port: 80, targetPort: 8080}]
---
apiVersion: v1
kind: Pod
metadata: {name: box, labels: {app: box}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: web
    image: headway.dev/test/busybox:1
    command: [sh, -c, "mkdir /www; echo here > /www/index.html; sleep 1; touch /tmp/started /tmp/ready /tmp/live; exec httpd -f -p 8080 -h /www"]
    startupProbe: {exec: {command: [cat, /tmp/started]}, periodSeconds: 1, failureThreshold: 30}
    readinessProbe: {exec: {command: [cat, /tmp/ready]}, periodSeconds: 1, failureThreshold: 1}
    livenessProbe: {exec: {command: [cat, /tmp/live]}, periodSeconds: 1, failureThreshold: 2}
`, "apply", "-f", "-")
	c.Kubectl("wait", "--for=condition=Ready", "pod/box", "--timeout=60s")
	url := "http://" + c.Kubectl("get", "service", "box", "-o", "jsonpath={.spec.clusterIP}")
	c.Eventually(30*time.Second, "the Service answers", func() error { return answers(c, url, "here") })

	c.Kubectl("exec", "box", "--", "rm", "/tmp/ready")
	c.Eventually(30*time.Second, "the Service refuses", func() error {
		if err := answers(c, url, "here"); err == nil {
			return fmt.Errorf("still answers")
		}
		return nil
	})
	c.Kubectl("exec", "box", "--", "touch", "/tmp/ready")
	c.Eventually(30*time.Second, "the Service answers again", func() error { return answers(c, url, "here") })

	c.Kubectl("exec", "box", "--", "rm", "/tmp/live")
	c.Eventually(time.Minute, "the container is restarted", func() error {
		if got := c.Kubectl("get", "pod", "box", "-o", "jsonpath={.status.containerStatuses[0].restartCount}"); got != "1" {
			return fmt.Errorf("restart count is %s", got)
		}
		return nil
	})
	contains(t, "events", c.Kubectl("describe", "pod", "box"), "Liveness probe failed", "Readiness probe failed", "will be restarted")
	c.Kubectl("wait", "--for=condition=Ready", "pod/box", "--timeout=60s")
}

// What cannot run says why, in Kubernetes' words.
func TestPodsThatCannotRun(t *testing.T) {
	t.Parallel()
	c := e2e.Start(t, "--images-dir", e2e.BusyboxImages(t))
	for _, tt := range []struct{ name, spec, column, want string }{
		{"huge", `containers: [{name: a, image: "headway.dev/test/busybox:1", resources: {requests: {cpu: "1000"}}}]`, "Pending", "0/1 nodes are available: 1 Insufficient cpu"},
		{"elsewhere", `{nodeSelector: {disk: ssd}, containers: [{name: a, image: "headway.dev/test/busybox:1"}]}`, "Pending", "didn't match Pod's node affinity/selector"},
		{"no-image", `containers: [{name: a, image: "127.0.0.1:1/none:1"}]`, "ErrImagePull", "Failed to pull image"},
		{"never", `containers: [{name: a, image: "headway.dev/none:1", imagePullPolicy: Never}]`, "ErrImageNeverPull", "is not present with pull policy of Never"},
		{"no-config", `containers: [{name: a, image: "headway.dev/test/busybox:1", envFrom: [{configMapRef: {name: none}}]}]`, "CreateContainerConfigError", `configmap "none" not found`},
		{"done", `{restartPolicy: Never, containers: [{name: a, image: "headway.dev/test/busybox:1", command: ["true"]}]}`, "Completed", "Container started"},
		{"oom", `{restartPolicy: Never, containers: [{name: a, image: "headway.dev/test/busybox:1", command: [sh, -c, "x=x; while true; do x=$x$x; done"], resources: {limits: {memory: 16Mi}}}]}`, "OOMKilled", "Container started"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			spec := "spec: " + tt.spec
			if !strings.HasPrefix(tt.spec, "{") {
				spec = "spec:\n  " + tt.spec
			}
			c.KubectlIn("apiVersion: v1\nkind: Pod\nmetadata: {name: "+tt.name+"}\n"+spec+"\n", "apply", "-f", "-")
			c.Eventually(time.Minute, tt.column, func() error {
				row := c.Kubectl("get", "pod", tt.name)
				if tt.name == "no-image" && strings.Contains(row, "ImagePullBackOff") {
					row += "ErrImagePull"
				}
				description := c.Kubectl("describe", "pod", tt.name)
				if !strings.Contains(row, tt.column) || !strings.Contains(description, tt.want) {
					return fmt.Errorf("want %q and %q in:\n%s%s", tt.column, tt.want, row, description)
				}
				return nil
			})
		})
	}
}

// Termination is graceful: the program is told, has its time to end, and its
// last words are in the log until the pod is gone.
func TestGracefulTermination(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	c := e2e.Start(t, "--images-dir", e2e.BusyboxImages(t))
	c.KubectlIn(strings.ReplaceAll(`apiVersion: v1
kind: Pod
metadata: {name: box}
spec:
  terminationGracePeriodSeconds: 20
  containers:
  - name: box
    image: headway.dev/test/busybox:1
    command: [sh, -c, "trap 'echo told >> /out/said; sleep 1; echo done >> /out/said; exit 0' TERM; while true; do sleep 0.1; done"]
    lifecycle: {preStop: {exec: {command: [sh, -c, "echo hook >> /out/said"]}}}
    volumeMounts: [{name: out, mountPath: /out}]
  volumes: [{name: out, hostPath: {path: OUT}}]
`, "OUT", dir), "apply", "-f", "-")
	c.Kubectl("wait", "--for=condition=Ready", "pod/box", "--timeout=60s")
	c.Kubectl("delete", "pod", "box", "--timeout=60s")
	said, err := os.ReadFile(filepath.Join(dir, "said"))
	if err != nil || string(said) != "hook\ntold\ndone\n" {
		t.Errorf("the container said %q, %v; want the hook, the signal and the end", said, err)
	}
}

// NodePort answers on the node's address.
func TestNodePort(t *testing.T) {
	t.Parallel()
	c := e2e.Start(t)
	c.Deployed(c.Clone.Git("rev-parse", "HEAD"))
	c.Kubectl("expose", "deploy/hello", "-n", "hello", "--name=outside", "--type=NodePort", "--port=80", "--target-port=8080")
	port := c.Kubectl("get", "service", "outside", "-n", "hello", "-o", "jsonpath={.spec.ports[0].nodePort}")
	for _, host := range []string{e2e.NodeAddress, "127.0.0.1"} {
		c.Eventually(30*time.Second, host+":"+port+" answers", func() error {
			return answers(c, "http://"+host+":"+port, "Hello")
		})
	}
}
