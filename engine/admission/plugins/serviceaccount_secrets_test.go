package plugins_test

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

var (
	fromKey = func(secret string) corev1.EnvVar {
		return corev1.EnvVar{Name: "TOKEN", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: secret}, Key: "k"}}}
	}
	fromAll = func(secret string) corev1.EnvFromSource {
		return corev1.EnvFromSource{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: secret}}}
	}
)

// Pods of an account that says so use no Secrets but those that it lists.
func TestMountableSecrets(t *testing.T) {
	c := start(t)
	c.must(shop(), account("strict", func(a *corev1.ServiceAccount) {
		a.Annotations = map[string]string{"kubernetes.io/enforce-mountable-secrets": "true"}
		a.Secrets = []corev1.ObjectReference{{Name: "mine"}}
		a.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "pull"}}
	}), account("lax", func(a *corev1.ServiceAccount) {
		a.Annotations = map[string]string{"kubernetes.io/enforce-mountable-secrets": "no"}
	}))
	const because = " is not allowed because service account strict does not reference that "
	for name, test := range map[string]struct {
		edit func(*corev1.PodSpec)
		want string
	}{
		"volume": {func(s *corev1.PodSpec) {
			s.Volumes = append(s.Volumes, corev1.Volume{Name: "s", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "other"}}})
		}, `volume with secret.secretName="other"` + because + "secret"},
		"variable":                   {func(s *corev1.PodSpec) { s.Containers[0].Env = []corev1.EnvVar{fromKey("other")} }, `container main with envVar TOKEN referencing secret.secretName="other"` + because + "secret"},
		"variables":                  {func(s *corev1.PodSpec) { s.Containers[0].EnvFrom = []corev1.EnvFromSource{fromAll("other")} }, `container main with envFrom referencing secret.secretName="other"` + because + "secret"},
		"first container":            {func(s *corev1.PodSpec) { s.InitContainers[0].Env = []corev1.EnvVar{fromKey("other")} }, `init container init with envVar TOKEN referencing secret.secretName="other"` + because + "secret"},
		"first container, variables": {func(s *corev1.PodSpec) { s.InitContainers[0].EnvFrom = []corev1.EnvFromSource{fromAll("other")} }, `init container init with envFrom referencing secret.secretName="other"` + because + "secret"},
		"images": {func(s *corev1.PodSpec) {
			s.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "pull"}, {Name: "other"}}
		}, `imagePullSecrets[1].name="other"` + because + "imagePullSecret"},
	} {
		t.Run(name, func(t *testing.T) {
			strict := func(account string) change.Change {
				return podNamed("web", func(s *corev1.PodSpec) { s.ServiceAccountName = account; test.edit(s) })
			}
			wantError(t, name, c.commit(strict("strict")), apierrors.IsForbidden, `pods "web" is forbidden: `+test.want)
			c.must(strict("lax"), change.Delete(object.Key{GroupKind: schema.GroupKind{Kind: "Pod"}, Namespace: "shop", Name: "web"}, metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))}, time.Now()))
		})
	}
	c.must(podNamed("fine", func(s *corev1.PodSpec) {
		s.ServiceAccountName = "strict"
		s.Containers[0].Env, s.Containers[0].EnvFrom = []corev1.EnvVar{fromKey("mine")}, []corev1.EnvFromSource{fromAll("mine")}
	}))
	if got := c.spec("fine").ImagePullSecrets; len(got) != 1 || got[0].Name != "pull" {
		t.Errorf("the pod has the pull secrets %v, want the account's", got)
	}
	late := change.Patch(object.Key{GroupKind: schema.GroupKind{Kind: "Pod"}, Namespace: "shop", Name: "fine"}, func(obj object.Object) bool {
		pod := obj.(*corev1.Pod)
		pod.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "look", Env: []corev1.EnvVar{fromKey("other")}}}}
		return true
	})
	late.Subresource = "ephemeralcontainers"
	wantError(t, "ephemeral", c.commit(late), apierrors.IsForbidden, `ephemeral container look with envVar TOKEN referencing secret.secretName="other"`+because+"secret")
}

// A pod that mirrors one of a node's own is left as it is, and refers to no account
// and no Secret.
func TestMirrorPods(t *testing.T) {
	c := start(t)
	c.must(shop())
	mirror := func(edit func(*corev1.PodSpec)) change.Change {
		return change.Create(newPod(func(p *corev1.Pod) {
			p.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"}
			edit(&p.Spec)
		}), time.Now())
	}
	secret := func(s *corev1.PodSpec, source corev1.VolumeSource) {
		s.Volumes = append(s.Volumes, corev1.Volume{Name: "s", VolumeSource: source})
	}
	const secrets = "a mirror pod may not reference secrets"
	for name, test := range map[string]struct {
		edit func(*corev1.PodSpec)
		want string
	}{
		"account": {func(s *corev1.PodSpec) { s.ServiceAccountName = "default" }, "a mirror pod may not reference service accounts"},
		"volume": {func(s *corev1.PodSpec) {
			secret(s, corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "x"}})
		}, secrets},
		"driver": {func(s *corev1.PodSpec) {
			secret(s, corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{NodePublishSecretRef: &corev1.LocalObjectReference{Name: "x"}}})
		}, secrets},
		"variable": {func(s *corev1.PodSpec) { s.Containers[0].Env = []corev1.EnvVar{fromKey("x")} }, secrets},
		"images":   {func(s *corev1.PodSpec) { s.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "x"}} }, secrets},
		"token": {func(s *corev1.PodSpec) {
			secret(s, corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "t"}}}}})
		}, "a mirror pod may not use ServiceAccountToken volume projections"},
	} {
		t.Run(name, func(t *testing.T) {
			wantError(t, name, c.commit(mirror(test.edit)), apierrors.IsForbidden, `pods "web" is forbidden: `+test.want)
		})
	}
	c.must(mirror(func(*corev1.PodSpec) {}))
	if s := c.spec("web"); s.ServiceAccountName != "" || len(s.Volumes) != 1 || len(s.Containers[0].VolumeMounts) != 1 {
		t.Errorf("a mirror pod was given an account or a token: %+v", s)
	}
}
