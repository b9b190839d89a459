package pod_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"headway.dev/nodes/pod"
)

func storagePod(name string, priority int32, request, limit string) *corev1.Pod {
	p := &corev1.Pod{}
	p.Name, p.Spec.Priority = name, &priority
	c := corev1.Container{Name: "app"}
	set := func(list *corev1.ResourceList, value string) {
		if value != "" {
			*list = corev1.ResourceList{corev1.ResourceEphemeralStorage: resource.MustParse(value)}
		}
	}
	set(&c.Resources.Requests, request)
	set(&c.Resources.Limits, limit)
	p.Spec.Containers = []corev1.Container{c}
	return p
}

func TestOverStorage(t *testing.T) {
	limited := storagePod("p", 0, "", "10Mi")
	limited.Spec.Volumes = []corev1.Volume{
		{Name: "data", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: new(resource.MustParse("2Mi"))}}},
		{Name: "memory", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory, SizeLimit: new(resource.MustParse("1Mi"))}}},
	}
	sidecar := storagePod("p", 0, "", "1Mi")
	sidecar.Spec.Containers = append(sidecar.Spec.Containers, corev1.Container{Name: "big", Resources: corev1.ResourceRequirements{
		Limits: corev1.ResourceList{corev1.ResourceEphemeralStorage: resource.MustParse("100Mi")},
	}})
	const mi = 1 << 20
	for name, test := range map[string]struct {
		pod  *corev1.Pod
		used pod.Storage
		want string
	}{
		"within": {limited, pod.Storage{EmptyDirs: map[string]int64{"data": 2 * mi}, Containers: map[string]int64{"app": 8 * mi}}, ""},
		"volume": {limited, pod.Storage{EmptyDirs: map[string]int64{"data": 2*mi + 1}}, `Usage of EmptyDir volume "data" exceeds the limit "2Mi". `},
		// What is in memory counts as memory, and its size is the file system's.
		"memory":    {limited, pod.Storage{EmptyDirs: map[string]int64{"memory": 5 * mi}}, ""},
		"pod":       {limited, pod.Storage{EmptyDirs: map[string]int64{"data": mi}, Containers: map[string]int64{"app": 9 * mi}, Other: 1}, "Pod ephemeral local storage usage exceeds the total limit of containers 10Mi. "},
		"container": {sidecar, pod.Storage{Containers: map[string]int64{"app": mi + 1}}, `Container app exceeded its local ephemeral storage limit "1Mi". `},
		"no limits": {storagePod("p", 0, "", ""), pod.Storage{Containers: map[string]int64{"app": 1 << 40}}, ""},
	} {
		if got := pod.OverStorage(test.pod, test.used); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

func TestRankForDisk(t *testing.T) {
	used := func(n int64) pod.Storage { return pod.Storage{Containers: map[string]int64{"app": n}} }
	got := pod.RankForDisk([]pod.Candidate{
		{storagePod("within", -5, "1Gi", ""), used(500 << 20)},
		{storagePod("important", 10, "", ""), used(900 << 20)},
		{storagePod("small", 0, "", ""), used(1 << 20)},
		{storagePod("nothing", -9, "", ""), used(0)},
		{storagePod("critical", 2000000000, "", ""), used(1 << 40)},
		{storagePod("large", 0, "", ""), used(100 << 20)},
	}, corev1.ResourceEphemeralStorage)
	var names []string
	for _, c := range got {
		names = append(names, c.Pod.Name)
	}
	want := []string{"large", "small", "important", "within"}
	if len(names) != len(want) {
		t.Fatalf("order = %v, want %v", names, want)
	}
	for i := range want {
		if names[i] != want[i] {
			t.Fatalf("order = %v, want %v", names, want)
		}
	}
	message := pod.LowDisk(got[0], corev1.ResourceEphemeralStorage, resource.NewQuantity(10<<20, resource.BinarySI), resource.NewQuantity(3<<20, resource.BinarySI))
	if wantMessage := "The node was low on resource: ephemeral-storage. Threshold quantity: 10Mi, available: 3Mi. Container app was using 100Mi, request is 0, has larger consumption of ephemeral-storage. "; message != wantMessage {
		t.Errorf("message = %q, want %q", message, wantMessage)
	}
}

func TestRankForInodes(t *testing.T) {
	got := pod.RankForDisk([]pod.Candidate{
		{storagePod("bytes", 0, "", ""), pod.Storage{Other: 1 << 40, Inodes: 3}},
		{storagePod("files", 0, "1Gi", ""), pod.Storage{Inodes: 5000}},
		{storagePod("none", 0, "", ""), pod.Storage{Other: 1 << 40}},
	}, pod.Inodes)
	if len(got) != 2 || got[0].Pod.Name != "files" || got[1].Pod.Name != "bytes" {
		t.Fatalf("order = %v, want files and bytes", got)
	}
	message := pod.LowDisk(got[0], pod.Inodes, resource.NewQuantity(819, resource.DecimalSI), resource.NewQuantity(3, resource.DecimalSI))
	if want := "The node was low on resource: inodes. Threshold quantity: 819, available: 3. "; message != want {
		t.Errorf("message = %q, want %q", message, want)
	}
}
