package nodes_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"headway.dev/nodes/nodetest"
	"headway.dev/nodes/pod"
)

func get(t *testing.T, url string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	data, _ := io.ReadAll(resp.Body)
	return string(data)
}

func TestConfigurationOfContainers(t *testing.T) {
	c := newCluster(t)
	ctx := context.Background()
	app := tool("env")
	app.Env = []corev1.EnvVar{
		{Name: "FROM_MAP", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "settings"}, Key: "greeting"}}},
		{Name: "IP", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "status.podIP"}}},
	}
	spec := one(app)
	spec.RestartPolicy = corev1.RestartPolicyNever
	c.run("env", spec)
	c.wait("env", func(p *corev1.Pod) string {
		if len(p.Status.ContainerStatuses) > 0 && p.Status.ContainerStatuses[0].State.Waiting != nil {
			if w := p.Status.ContainerStatuses[0].State.Waiting; w.Reason == "CreateContainerConfigError" && w.Message == `configmap "settings" not found` {
				return ""
			}
		}
		return fmt.Sprintf("not waiting for its ConfigMap: %+v", p.Status)
	})
	// As soon as it exists the pod goes on.
	settings := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "settings"}, Data: map[string]string{"greeting": "hello"}}
	if _, err := c.client.CoreV1().ConfigMaps("default").Create(ctx, settings, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	p := c.wait("env", phase(corev1.PodSucceeded))
	env, err := os.ReadFile(c.node.LogPath(pod.Ref(p), "app", 0))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"FROM_MAP=hello", "IP=" + p.Status.PodIP, "FROM_IMAGE=yes"} {
		if p.Status.PodIP == "" || !strings.Contains(string(env), want) {
			t.Errorf("environment: %q is missing in\n%s", want, env)
		}
	}
}

// TestVolumesFollow: a running container sees a changed ConfigMap, swapped in
// whole, and a Secret that never touched the disk; after a restart of the agent
// it sees what changes then, and gets a new token, also if the API refuses the
// first time.
func TestVolumesFollow(t *testing.T) {
	var asked atomic.Int32
	c := newCluster(t, func(client *fake.Clientset) {
		client.PrependReactor("create", "serviceaccounts", func(a clienttesting.Action) (bool, runtime.Object, error) {
			n := asked.Add(1)
			if n == 2 {
				return true, nil, errors.New("try later")
			}
			req := a.(clienttesting.CreateAction).GetObject().(*authenticationv1.TokenRequest).DeepCopy()
			req.Status = authenticationv1.TokenRequestStatus{Token: fmt.Sprint("token-", n), ExpirationTimestamp: metav1.NewTime(time.Now().Add(time.Hour))}
			return true, req, nil
		})
	})
	ctx := context.Background()
	settings := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "settings"}, Data: map[string]string{"greeting": "hello"}}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "key"}, Data: map[string][]byte{"pin": []byte("1234")}}
	if _, err := c.client.CoreV1().ConfigMaps("default").Create(ctx, settings, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.client.CoreV1().Secrets("default").Create(ctx, secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	app := tool("serve", ":8080")
	app.VolumeMounts = []corev1.VolumeMount{{Name: "settings", MountPath: "/settings"}, {Name: "key", MountPath: "/key"}, {Name: "mem", MountPath: "/mem"}}
	app.StartupProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(8080)}}}
	app.ReadinessProbe = &corev1.Probe{PeriodSeconds: 1, ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"/tool", "read", "/settings/greeting", "/key/pin", "/settings/new"}}}}
	spec := one(app)
	size := resource.MustParse("1Mi")
	spec.Volumes = []corev1.Volume{
		{Name: "settings", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "settings"}}}},
		{Name: "key", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "key"}}},
		{Name: "account", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
			{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token"}},
		}}}},
		{Name: "mem", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory, SizeLimit: &size}}},
	}
	web := c.run("web", spec)
	// What the command printed before may stand in front: two streams, no order.
	nodetest.Eventually(t, 30*time.Second, func() string {
		if events := strings.Join(c.events(), "; "); !strings.Contains(events, "tool: open /settings/new: no such file or directory") {
			return "events: " + events
		}
		return ""
	})
	set := func(key, value string) {
		t.Helper()
		settings.Data[key] = value
		if _, err := c.client.CoreV1().ConfigMaps("default").Update(ctx, settings, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	set("new", "there")
	c.wait("web", ready)

	holds := func(file, want string) {
		t.Helper()
		nodetest.Eventually(t, 30*time.Second, func() string {
			data, err := os.ReadFile(filepath.Join(c.config.DataDir, "pods", string(web.UID), "volumes", file))
			if err != nil || string(data) != want {
				return fmt.Sprintf("%s holds %q, %v, want %q", file, data, err, want)
			}
			return ""
		})
	}
	holds("account/token", "token-1")
	c.stop()
	c.start()
	holds("account/token", "token-3")
	set("later", "too")
	holds("settings/later", "too")
}

func TestLivenessRestarts(t *testing.T) {
	c := newCluster(t)
	app := tool("serve", ":8080")
	app.LivenessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/ready", Port: intstr.FromInt32(8080)}}, PeriodSeconds: 1, FailureThreshold: 2}
	c.run("web", one(app))
	p := c.wait("web", ready)
	nodetest.Get(t, "http://"+p.Status.PodIP+":8080/unready") // ready without a readiness probe does not mean that it listens
	c.wait("web", first(func(s corev1.ContainerStatus) string {
		if s.RestartCount != 1 || s.State.Running == nil {
			return fmt.Sprintf("not restarted: %+v", s)
		}
		return ""
	}))
	c.waitEvent("Unhealthy Liveness probe failed: HTTP probe failed with statuscode: 503")
	c.waitEvent("Killing Container app failed liveness probe, will be restarted")
}

func TestImages(t *testing.T) {
	c := newCluster(t)
	never := tool("sleep")
	never.Image, never.ImagePullPolicy = "headway.dev/test/none:1", corev1.PullNever
	c.run("never", one(never))
	bad := tool("sleep")
	bad.Image = "UPPER/Case:::"
	c.run("bad", one(bad))
	unreachable := tool("sleep")
	unreachable.Image = "127.0.0.1:1/none:1"
	c.run("unreachable", one(unreachable))
	waits := func(reasons ...string) func(*corev1.Pod) string {
		return func(p *corev1.Pod) string {
			for _, reason := range reasons {
				if len(p.Status.ContainerStatuses) > 0 && p.Status.ContainerStatuses[0].State.Waiting != nil && p.Status.ContainerStatuses[0].State.Waiting.Reason == reason {
					return ""
				}
			}
			return fmt.Sprintf("not waiting for any of %v: %+v", reasons, p.Status)
		}
	}
	c.wait("never", waits("ErrImageNeverPull"))
	c.wait("bad", waits("InvalidImageName"))
	c.wait("unreachable", waits("ErrImagePull"))
	c.wait("unreachable", waits("ImagePullBackOff"))
	c.waitEvent(`BackOff Back-off pulling image "127.0.0.1:1/none:1"`)
	// An archive that is put into the directory is imported while the agent runs.
	late := tool("sleep")
	late.Image, late.ImagePullPolicy = "headway.dev/test/late:1", corev1.PullIfNotPresent
	archive := nodetest.OCIArchive(t, "headway.dev/test/late:1", nodetest.Image(t, nodetest.ImageOptions{}))
	if err := os.WriteFile(filepath.Join(c.config.ImagesDir, "late.tar"), archive, 0o644); err != nil {
		t.Fatal(err)
	}
	nodetest.Eventually(t, 20*time.Second, func() string {
		if _, ok, err := c.node.Image(context.Background(), "headway.dev/test/late:1"); !ok || err != nil {
			return fmt.Sprintf("not imported: %v", err)
		}
		return ""
	})
	c.run("late", one(late))
	c.wait("late", ready)
}

// TestDeletionInterrupts: a deletion does not wait for a pull, and a shorter
// grace period not for the longer one.
func TestDeletionInterrupts(t *testing.T) {
	c := newCluster(t)
	stubborn := one(tool("stubborn"))
	stubborn.TerminationGracePeriodSeconds = new(int64(600))
	p := c.run("stubborn", stubborn)
	c.wait("stubborn", ready)
	nodetest.Eventually(t, 20*time.Second, func() string {
		if !strings.Contains(c.log(p, "app", 0), "ignoring SIGTERM") {
			return "not up yet"
		}
		return ""
	})
	c.delete("stubborn", 600)
	c.waitEvent("Killing Stopping container app")
	c.delete("stubborn", 1)
	c.wait("stubborn", gone)
}

func TestHooks(t *testing.T) {
	c := newCluster(t)
	dir := t.TempDir()
	app := tool("serve", ":8080")
	app.VolumeMounts = []corev1.VolumeMount{{Name: "host", MountPath: "/host"}}
	write := func(file string) *corev1.LifecycleHandler {
		return &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"/tool", "write", "/host/" + file, "done"}}}
	}
	app.Lifecycle = &corev1.Lifecycle{PostStart: write("started"), PreStop: write("stopping")}
	spec := one(app)
	spec.Volumes = []corev1.Volume{{Name: "host", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: dir}}}}
	c.run("web", spec)
	c.wait("web", ready)
	if _, err := os.Stat(filepath.Join(dir, "started")); err != nil {
		t.Errorf("postStart did not run before the pod was ready: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "stopping")); err == nil {
		t.Error("preStop ran too early")
	}
	c.delete("web", 10)
	c.wait("web", gone)
	if _, err := os.Stat(filepath.Join(dir, "stopping")); err != nil {
		t.Errorf("preStop did not run: %v", err)
	}
}
