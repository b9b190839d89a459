package nodes_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/nodes"
	"headway.dev/nodes/eviction"
	"headway.dev/nodes/nodetest"
)

func emptyDir(limit string) corev1.Volume {
	v := corev1.Volume{Name: "data", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}
	if limit != "" {
		v.EmptyDir.SizeLimit = new(resource.MustParse(limit))
	}
	return v
}

// writer is a pod that writes mib MiB to file, with an emptyDir at /data.
func writer(file, mib, dirLimit, limit string) corev1.PodSpec {
	app := tool("fill", file, mib)
	app.VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}
	if limit != "" {
		app.Resources.Limits = corev1.ResourceList{corev1.ResourceEphemeralStorage: resource.MustParse(limit)}
	}
	spec := one(app)
	spec.Volumes = []corev1.Volume{emptyDir(dirLimit)}
	return spec
}

// evicted waits for the kubelet's status of an evicted pod.
func (c *cluster) evicted(name, message string) {
	c.t.Helper()
	p := c.wait(name, phase(corev1.PodFailed))
	if p.Status.Reason != "Evicted" || !strings.HasPrefix(p.Status.Message, message) {
		c.t.Errorf("pod %s ended with %q: %q, want Evicted: %q", name, p.Status.Reason, p.Status.Message, message)
	}
	if said := hasCondition(p, corev1.DisruptionTarget, corev1.ConditionTrue); said != "" {
		c.t.Errorf("pod %s: %s", name, said)
	}
	c.waitEvent("Evicted " + message)
}

func TestStorageLimits(t *testing.T) {
	c := newClusterOn(t, nodetest.Start(t), func(cfg *nodes.Config) { cfg.EvictionPeriod = 200 * time.Millisecond })
	c.run("keeps", writer("/data/file", "3", "4Mi", "16Mi"))
	c.run("dir", writer("/data/file", "8", "4Mi", ""))
	c.run("layer", writer("/file", "8", "", "4Mi"))
	logs := one(tool("lines", "200000"))
	logs.Containers[0].Resources.Limits = corev1.ResourceList{corev1.ResourceEphemeralStorage: resource.MustParse("2Mi")}
	logs.RestartPolicy = corev1.RestartPolicyAlways
	c.run("logs", logs)
	c.evicted("dir", `Usage of EmptyDir volume "data" exceeds the limit "4Mi". `)
	c.evicted("layer", "Pod ephemeral local storage usage exceeds the total limit of containers 4Mi. ")
	c.evicted("logs", "Pod ephemeral local storage usage exceeds the total limit of containers 2Mi. ")
	if p := c.wait("keeps", ready); p.Status.Phase != corev1.PodRunning {
		t.Errorf("a pod within its limits is %s", p.Status.Phase)
	}
}

// TestFullDisk: a pod that fills the disk, with bytes or with files, is evicted,
// the one beside it is not, and the node says so; where nothing is evicted it can
// still be deleted.
func TestFullDisk(t *testing.T) {
	bytes := writer("/data/file", "1000", "", "")
	many := writer("", "", "", "")
	many.Containers[0].Args = []string{"files", "/data", "1000000"}
	for name, test := range map[string]struct {
		disk   string
		filler corev1.PodSpec
		evict  eviction.Thresholds // none: it is deleted
		says   string
	}{
		"bytes, evicted": {
			"96m", bytes,
			eviction.Thresholds{Available: eviction.Threshold{Percent: 10}},
			"The node was low on resource: ephemeral-storage. Threshold quantity: ",
		},
		"bytes, deleted": {"96m", bytes, eviction.Thresholds{}, ""},
		"files, evicted": {
			"96m,nr_inodes=8k", many,
			eviction.Thresholds{InodesFree: eviction.Threshold{Percent: 10}},
			"The node was low on resource: inodes. Threshold quantity: ",
		},
		"files, deleted": {"96m,nr_inodes=8k", many, eviction.Thresholds{}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClusterOn(t, nodetest.Small(t, test.disk), func(cfg *nodes.Config) {
				cfg.EvictionPeriod, cfg.EvictionHard = time.Second, test.evict
			})
			c.run("beside", one(tool("serve", ":8080")))
			c.wait("beside", ready)
			c.run("filler", test.filler)
			if test.says != "" {
				c.evicted("filler", test.says)
				c.waitNode(corev1.NodeDiskPressure, corev1.ConditionTrue)
			} else {
				nodetest.Eventually(t, time.Minute, func() string {
					var fs unix.Statfs_t
					if err := unix.Statfs(c.config.DataDir, &fs); err != nil || fs.Bavail > 0 && fs.Ffree > 0 {
						return "the disk is not full yet"
					}
					return ""
				})
			}
			c.delete("filler", 1)
			c.wait("filler", gone)
			c.wait("beside", ready)
			c.run("after", one(tool("serve", ":8080")))
			c.wait("after", ready)
		})
	}
}

// TestEndingPodsAreEvicted: a pod that takes its whole grace period to end
// neither keeps the disk from others meanwhile, nor others from eviction.
func TestEndingPodsAreEvicted(t *testing.T) {
	c := newClusterOn(t, nodetest.Small(t, "96m"), func(cfg *nodes.Config) {
		cfg.EvictionPeriod, cfg.EvictionHard = 200*time.Millisecond, eviction.Thresholds{Available: eviction.Threshold{Percent: 10}}
	})
	ending := func(name string, hook corev1.LifecycleHandler) {
		t.Helper()
		app := tool("sleep")
		app.VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}
		app.Lifecycle = &corev1.Lifecycle{PreStop: &hook}
		spec := one(app)
		spec.TerminationGracePeriodSeconds, spec.Volumes = new(int64(600)), []corev1.Volume{emptyDir("4Mi")}
		c.run(name, spec)
		c.wait(name, ready)
		c.delete(name, 600)
	}
	ending("over", corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"/tool", "fill", "/data/file", "8"}}})
	c.waitEvent(`Evicted Usage of EmptyDir volume "data" exceeds the limit "4Mi". `)
	c.wait("over", gone)

	ending("lingers", corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: 600}})
	c.run("filler", writer("/data/file", "1000", "", ""))
	c.evicted("filler", "The node was low on resource: ephemeral-storage. Threshold quantity: ")
	c.delete("lingers", 1)
	c.wait("lingers", gone)
}

func (c *cluster) waitNode(condition corev1.NodeConditionType, want corev1.ConditionStatus) {
	c.t.Helper()
	nodetest.Eventually(c.t, time.Minute, func() string {
		node, err := c.client.CoreV1().Nodes().Get(context.Background(), "n1", metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		for _, have := range node.Status.Conditions {
			if have.Type == condition && have.Status == want {
				return ""
			}
		}
		return "the node's condition " + string(condition) + " is not " + string(want)
	})
}

func TestParseEvictionHard(t *testing.T) {
	got, err := eviction.ParseHard(eviction.DefaultHard)
	if want := (eviction.Thresholds{Available: eviction.Threshold{Percent: 10}, InodesFree: eviction.Threshold{Percent: 5}}); err != nil || got != want {
		t.Errorf("the default = %+v, %v; want %+v", got, err, want)
	}
	got, err = eviction.ParseHard("nodefs.available<1Gi")
	if want := (eviction.Thresholds{Available: eviction.Threshold{Amount: 1 << 30}}); err != nil || got != want {
		t.Errorf("an amount = %+v, %v; want %+v", got, err, want)
	}
	for _, bad := range []string{"nodefs.available", "nodefs.available<x", "nodefs.available<0%", "nodefs.available<100%", "memory.available<1Gi", "nodefs.available>1Gi"} {
		if _, err := eviction.ParseHard(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}
