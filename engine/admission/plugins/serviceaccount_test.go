package plugins_test

import (
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

const tokenPath = "/var/run/secrets/kubernetes.io/serviceaccount"

func newPod(edit ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"},
		Spec: corev1.PodSpec{
			InitContainers: []corev1.Container{{Name: "init", Image: "example/web:1"}},
			Containers:     []corev1.Container{{Name: "main", Image: "example/web:1", VolumeMounts: []corev1.VolumeMount{{Name: "work", MountPath: "/work"}}}},
			Volumes:        []corev1.Volume{{Name: "work"}},
		},
	}
	for _, e := range edit {
		e(p)
	}
	return p
}

func account(name string, edit ...func(*corev1.ServiceAccount)) change.Change {
	a := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}}
	for _, e := range edit {
		e(a)
	}
	return change.Create(a, time.Now())
}

func shop() change.Change {
	return change.Create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}, time.Now())
}

// admitted is a pod as it is stored, in one transaction with its namespace.
func (c *cluster) admitted(pod *corev1.Pod, before ...change.Change) *corev1.Pod {
	c.t.Helper()
	c.must(append(append([]change.Change{shop()}, before...), change.Create(pod, time.Now()))...)
	key := object.Key{GroupKind: schema.GroupKind{Kind: "Pod"}, Namespace: "shop", Name: "web"}
	stored, ok := c.store.Get(key).(*corev1.Pod)
	if !ok {
		c.t.Fatal("there is no pod")
	}
	return stored
}

// mounts are the names of the volumes that the containers mount for the token.
func mounts(p *corev1.Pod) []string {
	var names []string
	for _, c := range slices.Concat(p.Spec.InitContainers, p.Spec.Containers) {
		for _, m := range c.VolumeMounts {
			if m.MountPath == tokenPath {
				names = append(names, c.Name+" "+regexp.MustCompile(`-[a-z0-9]{5}$`).ReplaceAllString(m.Name, "-x"))
			}
		}
	}
	return names
}

// A pod that comes with its namespace gets the token of the account default,
// as Kubernetes mounts it, in every container.
func TestTokenIsMounted(t *testing.T) {
	given := newPod()
	p := start(t).admitted(given)
	if p.Spec.ServiceAccountName != "default" || p.Spec.DeprecatedServiceAccount != "default" {
		t.Errorf("account = %q, %q, want default", p.Spec.ServiceAccountName, p.Spec.DeprecatedServiceAccount)
	}
	if len(p.Spec.Volumes) != 2 || !regexp.MustCompile(`^kube-api-access-[a-z0-9]{5}$`).MatchString(p.Spec.Volumes[1].Name) {
		t.Fatalf("volumes = %+v, want one more", p.Spec.Volumes)
	}
	want := &corev1.ProjectedVolumeSource{DefaultMode: new(int32(420)), Sources: []corev1.VolumeProjection{
		{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{ExpirationSeconds: new(int64(3607)), Path: "token"}},
		{ConfigMap: &corev1.ConfigMapProjection{
			LocalObjectReference: corev1.LocalObjectReference{Name: "kube-root-ca.crt"},
			Items:                []corev1.KeyToPath{{Key: "ca.crt", Path: "ca.crt"}},
		}},
		{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{{
			Path: "namespace", FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.namespace"},
		}}}},
	}}
	if diff := cmp.Diff(want, p.Spec.Volumes[1].Projected); diff != "" {
		t.Errorf("volume (-want +got):\n%s", diff)
	}
	mount := corev1.VolumeMount{Name: p.Spec.Volumes[1].Name, ReadOnly: true, MountPath: tokenPath}
	for _, c := range slices.Concat(p.Spec.InitContainers, p.Spec.Containers) {
		if diff := cmp.Diff(mount, c.VolumeMounts[len(c.VolumeMounts)-1]); diff != "" {
			t.Errorf("mount of container %s (-want +got):\n%s", c.Name, diff)
		}
	}
	if len(given.Spec.Volumes) != 1 || len(given.Spec.Containers[0].VolumeMounts) != 1 {
		t.Errorf("what was handed over has changed: %+v", given.Spec)
	}
}

// The pod has the last word about the mount, then its account; a container that
// mounts something there keeps that, and a declared volume is used.
func TestWhoGetsAToken(t *testing.T) {
	automount := func(yes bool) func(*corev1.Pod) {
		return func(p *corev1.Pod) { p.Spec.AutomountServiceAccountToken = &yes }
	}
	as := func(name string) func(*corev1.Pod) { return func(p *corev1.Pod) { p.Spec.ServiceAccountName = name } }
	own := func(p *corev1.Pod) {
		p.Spec.Containers[0].VolumeMounts = append(p.Spec.Containers[0].VolumeMounts, corev1.VolumeMount{Name: "work", MountPath: tokenPath})
	}
	ownInit := func(p *corev1.Pod) {
		p.Spec.InitContainers[0].VolumeMounts = []corev1.VolumeMount{{Name: "work", MountPath: tokenPath}}
	}
	declared := func(p *corev1.Pod) {
		p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: "kube-api-access-own"})
	}
	for name, tc := range map[string]struct {
		pod     *corev1.Pod
		want    []string
		volumes int
	}{
		"the pod says no":                     {newPod(automount(false)), nil, 1},
		"the account says no":                 {newPod(as("mute")), nil, 1},
		"the pod says yes, the account no":    {newPod(as("mute"), automount(true)), []string{"init kube-api-access-x", "main kube-api-access-x"}, 2},
		"another account":                     {newPod(as("robot")), []string{"init kube-api-access-x", "main kube-api-access-x"}, 2},
		"a container has something there":     {newPod(own), []string{"init kube-api-access-x", "main work"}, 2},
		"all containers have something there": {newPod(own, ownInit), []string{"init work", "main work"}, 1},
		"a volume is declared":                {newPod(declared), []string{"init kube-api-access-own", "main kube-api-access-own"}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			p := start(t).admitted(tc.pod, account("robot"), account("mute", func(a *corev1.ServiceAccount) { a.AutomountServiceAccountToken = new(false) }))
			if diff := cmp.Diff(tc.want, mounts(p)); diff != "" || len(p.Spec.Volumes) != tc.volumes {
				t.Errorf("%d volumes, want %d; mounts (-want +got):\n%s", len(p.Spec.Volumes), tc.volumes, diff)
			}
		})
	}
}

func TestPullSecretsOfTheAccount(t *testing.T) {
	secrets := func(names ...string) (list []corev1.LocalObjectReference) {
		for _, n := range names {
			list = append(list, corev1.LocalObjectReference{Name: n})
		}
		return list
	}
	// It takes the place of the one that comes with the namespace.
	private := account("default", func(a *corev1.ServiceAccount) { a.ImagePullSecrets = secrets("registry") })
	own := newPod(func(p *corev1.Pod) { p.Spec.ImagePullSecrets = secrets("own", "more") })
	for _, tc := range []struct {
		pod  *corev1.Pod
		want []corev1.LocalObjectReference
	}{{newPod(), secrets("registry")}, {own, secrets("own", "more")}} {
		p := start(t).admitted(tc.pod, private)
		if diff := cmp.Diff(tc.want, p.Spec.ImagePullSecrets, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("pull secrets (-want +got):\n%s", diff)
		}
	}
}

// A pod's account must be there when the pod is made, and only then.
func TestPodWithoutAccount(t *testing.T) {
	c := start(t)
	as := func(name string) change.Change {
		return change.Create(newPod(func(p *corev1.Pod) { p.Spec.ServiceAccountName = name }), time.Now())
	}
	c.must(shop(), account("robot"))
	wantError(t, "no account", c.commit(as("nobody")), apierrors.IsForbidden,
		`pods "web" is forbidden: error looking up service account shop/nobody: serviceaccount "nobody" not found`)
	generated := newPod(func(p *corev1.Pod) { p.Name, p.GenerateName, p.Spec.ServiceAccountName = "", "web-", "nobody" })
	wantError(t, "generated name", c.commit(change.Create(generated, time.Now())), apierrors.IsForbidden, `pods "web-" is forbidden: error`)
	c.must(as("robot"))
	key := func(kind, name string) object.Key {
		return object.Key{GroupKind: schema.GroupKind{Kind: kind}, Namespace: "shop", Name: name}
	}
	c.must(change.Delete(key("ServiceAccount", "robot"), metav1.DeleteOptions{}, time.Now()))
	c.must(change.Patch(key("Pod", "web"), func(obj object.Object) bool {
		obj.SetLabels(map[string]string{"a": "b"})
		return true
	}))
}
