package plugins_test

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/defaults"
	"headway.dev/manifests/model/object"
)

func amounts(pairs ...string) corev1.ResourceList {
	list := corev1.ResourceList{}
	for i := 0; i < len(pairs); i += 2 {
		list[corev1.ResourceName(pairs[i])] = resource.MustParse(pairs[i+1])
	}
	return list
}

func limitRange(name string, items ...corev1.LimitRangeItem) change.Change {
	r := &corev1.LimitRange{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}, Spec: corev1.LimitRangeSpec{Limits: items}}
	defaults.Apply(r)
	return change.Create(r, time.Now())
}

// A pod that is created in one transaction with a LimitRange gets what that has for
// containers which ask for nothing; what they ask for stays, and a request that only
// has a limit is that.
func TestLimitRangeDefaults(t *testing.T) {
	pod := start(t).admitted(newPod(func(p *corev1.Pod) {
		p.Spec.Containers[0].Resources.Limits = amounts("memory", "300Mi")
	}), limitRange("a", corev1.LimitRangeItem{Type: corev1.LimitTypeContainer, Default: amounts("cpu", "1", "memory", "512Mi"), DefaultRequest: amounts("memory", "256Mi")}),
		limitRange("b", corev1.LimitRangeItem{Type: corev1.LimitTypeContainer, Default: amounts("cpu", "7")}))
	for name, test := range map[string]struct {
		got  corev1.ResourceRequirements
		want map[string]string
	}{
		"main": {pod.Spec.Containers[0].Resources, map[string]string{"limits.cpu": "1", "limits.memory": "300Mi", "requests.cpu": "1", "requests.memory": "300Mi"}},
		"init": {pod.Spec.InitContainers[0].Resources, map[string]string{"limits.cpu": "1", "limits.memory": "512Mi", "requests.cpu": "1", "requests.memory": "256Mi"}},
	} {
		got := map[string]string{}
		for k, v := range test.got.Limits {
			got["limits."+string(k)] = v.String()
		}
		for k, v := range test.got.Requests {
			got["requests."+string(k)] = v.String()
		}
		for k, want := range test.want {
			if got[k] != want {
				t.Errorf("%s: %s is %s, want %s", name, k, got[k], want)
			}
		}
		if len(got) != len(test.want) {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
	const want = "LimitRanger plugin set: cpu request for container main; cpu limit for container main; cpu, memory request for init container init; cpu, memory limit for init container init"
	if got := pod.Annotations["kubernetes.io/limit-ranger"]; got != want {
		t.Errorf("the annotation is %q, want %q", got, want)
	}
}

// The QoS class of a pod, by which its node places and ends it, is that of what it was
// given.
func TestLimitRangeMakesTheClass(t *testing.T) {
	all := amounts("cpu", "1", "memory", "512Mi")
	for want, request := range map[corev1.PodQOSClass]corev1.ResourceList{
		corev1.PodQOSGuaranteed: all, corev1.PodQOSBurstable: amounts("cpu", "1", "memory", "256Mi"), corev1.PodQOSBestEffort: nil,
	} {
		item := corev1.LimitRangeItem{Type: corev1.LimitTypeContainer}
		if request != nil {
			item.Default, item.DefaultRequest = all, request
		}
		if got := start(t).admitted(newPod(), limitRange("a", item)).Status.QOSClass; got != want {
			t.Errorf("the QoS class of a pod that is given %v is %s, want %s", request, got, want)
		}
	}
}

func TestLimitRangeBounds(t *testing.T) {
	c := start(t)
	c.must(shop(),
		limitRange("container", corev1.LimitRangeItem{
			Type: corev1.LimitTypeContainer, Min: amounts("cpu", "100m"), Max: amounts("memory", "1Gi"), MaxLimitRequestRatio: amounts("cpu", "2"),
			Default: amounts("cpu", "200m", "memory", "100Mi"), DefaultRequest: amounts("cpu", "100m", "memory", "100Mi"),
		}),
		limitRange("pod", corev1.LimitRangeItem{Type: corev1.LimitTypePod, Max: amounts("memory", "1Gi", "cpu", "3"), Min: amounts("cpu", "100m")}))
	for name, test := range map[string]struct {
		requests, limits corev1.ResourceList
		want             string
	}{
		"little":           {amounts("cpu", "50m"), amounts("cpu", "100m"), `pods "web" is forbidden: minimum cpu usage per Container is 100m, but request is 50m`},
		"little of both":   {amounts("cpu", "50m"), amounts("cpu", "50m"), `pods "web" is forbidden: minimum cpu usage per Container is 100m, but request is 50m`},
		"much":             {nil, amounts("memory", "2Gi"), `maximum memory usage per Container is 1Gi, but limit is 2Gi`},
		"ratio":            {amounts("cpu", "100m"), amounts("cpu", "1"), `cpu max limit to request ratio per Container is 2, but provided ratio is 10.000000`},
		"the pod has much": {amounts("cpu", "2"), amounts("cpu", "4"), `pods "web" is forbidden: maximum cpu usage per Pod is 3, but limit is 4`},
	} {
		pod := newPod(func(p *corev1.Pod) {
			p.Spec.Containers[0].Resources = corev1.ResourceRequirements{Requests: test.requests, Limits: test.limits}
		})
		t.Run(name, func(t *testing.T) {
			wantError(t, name, c.commit(change.Create(pod, time.Now())), apierrors.IsForbidden, test.want)
		})
	}
	c.must(change.Create(newPod(), time.Now()))
}

// A ratio is kept to that no floating-point number has.
func TestLimitRangeRatio(t *testing.T) {
	c := start(t)
	c.must(shop(), limitRange("ratio", corev1.LimitRangeItem{
		Type: corev1.LimitTypeContainer, MaxLimitRequestRatio: amounts("cpu", "7"), Default: amounts("cpu", "1"), DefaultRequest: amounts("cpu", "1"),
	}))
	sized := func(limit string) change.Change {
		return change.Create(newPod(func(p *corev1.Pod) {
			p.Spec.Containers[0].Resources = corev1.ResourceRequirements{Requests: amounts("cpu", "10m"), Limits: amounts("cpu", limit)}
		}), time.Now())
	}
	wantError(t, "71m", c.commit(sized("71m")), apierrors.IsForbidden, `cpu max limit to request ratio per Container is 7, but provided ratio is 7.100000`)
	c.must(sized("70m"))
}

// A claim that was larger than its bounds before there were any can go.
func TestLimitRangeLetsClaimsGo(t *testing.T) {
	c := start(t)
	claim := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "data", Finalizers: []string{"example.com/backup"}},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, Resources: corev1.VolumeResourceRequirements{Requests: amounts("storage", "9Gi")},
		},
	}
	defaults.Apply(claim)
	key := object.Key{GroupKind: schema.GroupKind{Kind: "PersistentVolumeClaim"}, Namespace: "shop", Name: "data"}
	released := change.Patch(key, func(obj object.Object) bool {
		obj.SetFinalizers(nil)
		return true
	})
	c.must(shop(), change.Create(claim, time.Now()))
	c.must(limitRange("a", corev1.LimitRangeItem{Type: corev1.LimitTypePersistentVolumeClaim, Max: amounts("storage", "5Gi")}))
	wantError(t, "while it is used", c.commit(released), apierrors.IsForbidden, "maximum storage usage per PersistentVolumeClaim is 5Gi, but request is 9Gi")
	c.must(change.Delete(key, metav1.DeleteOptions{}, time.Now()))
	c.must(released)
	if got := c.store.Get(key); got != nil {
		t.Errorf("the claim is there with the finalizers %q", got.GetFinalizers())
	}
}

// Claims keep to the bounds of their own items; those of pods are not about them.
func TestLimitRangeOfClaims(t *testing.T) {
	c := start(t)
	c.must(shop(),
		limitRange("a", corev1.LimitRangeItem{Type: corev1.LimitTypePersistentVolumeClaim, Min: amounts("storage", "1Gi"), Max: amounts("storage", "5Gi")}),
		limitRange("b", corev1.LimitRangeItem{Type: corev1.LimitTypeContainer, Min: amounts("storage", "9Gi")}))
	claim := func(name, size string) change.Change {
		c := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}, Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, Resources: corev1.VolumeResourceRequirements{Requests: amounts("storage", size)},
		}}
		defaults.Apply(c)
		return change.Create(c, time.Now())
	}
	for size, want := range map[string]string{
		"100Mi": `persistentvolumeclaims "data" is forbidden: minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 100Mi`,
		"6Gi":   `persistentvolumeclaims "data" is forbidden: maximum storage usage per PersistentVolumeClaim is 5Gi, but request is 6Gi`,
	} {
		t.Run(size, func(t *testing.T) {
			wantError(t, size, c.commit(claim("data", size)), apierrors.IsForbidden, want)
		})
	}
	c.must(claim("least", "1Gi"), claim("most", "5Gi"))
}
