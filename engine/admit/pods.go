package admit

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/rand"

	"headway.dev/manifests/model/object"
)

const (
	// tokenPath is where client libraries look for their account.
	tokenPath = "/var/run/secrets/kubernetes.io/serviceaccount"
	// tokenVolume is what the name of the volume there begins with.
	tokenVolume = "kube-api-access-"
	// tokenSeconds is the life of its tokens, an hour and Kubernetes' own
	// seven seconds, by which they can be told from those that users ask for.
	tokenSeconds = 60*60 + 7
)

var (
	pods        = schema.GroupResource{Resource: "pods"}
	accountKind = schema.GroupKind{Kind: "ServiceAccount"}
)

// accounts is Kubernetes' ServiceAccount admission: a new pod needs an account
// that exists (else Forbidden). The account's token is mounted into it, unless
// the pod or its account opts out, and it gets the account's pull secrets if it
// has none.
func accounts(view object.Reader, next, old object.Object) (object.Object, error) {
	given, ok := next.(*corev1.Pod)
	if !ok || old != nil {
		return next, nil
	}
	pod := *given
	name := cmp.Or(pod.Spec.ServiceAccountName, DefaultAccount)
	pod.Spec.ServiceAccountName, pod.Spec.DeprecatedServiceAccount = name, name
	account, _ := view.Get(object.Key{GroupKind: accountKind, Namespace: pod.Namespace, Name: name}).(*corev1.ServiceAccount)
	if account == nil {
		// A generated name would make another error of each attempt.
		return nil, apierrors.NewForbidden(pods, cmp.Or(pod.GenerateName, pod.Name), fmt.Errorf("error looking up service account %s/%s: %w",
			pod.Namespace, name, apierrors.NewNotFound(schema.GroupResource{Resource: "serviceaccount"}, name)))
	}
	if automounts(account, &pod) {
		mountToken(&pod.Spec)
	}
	if len(pod.Spec.ImagePullSecrets) == 0 {
		pod.Spec.ImagePullSecrets = slices.Clone(account.ImagePullSecrets)
	}
	return &pod, nil
}

// runtimeClasses is Kubernetes' RuntimeClass admission. There is no kind
// RuntimeClass yet, so that no pod can name one that exists.
func runtimeClasses(_ object.Reader, next, old object.Object) (object.Object, error) {
	pod, ok := next.(*corev1.Pod)
	if !ok || old != nil || pod.Spec.RuntimeClassName == nil {
		return next, nil
	}
	return nil, apierrors.NewForbidden(pods, cmp.Or(pod.GenerateName, pod.Name), fmt.Errorf("pod rejected: RuntimeClass %q not found", *pod.Spec.RuntimeClassName))
}

// automounts reports whether the token is mounted; the pod has the last word.
func automounts(account *corev1.ServiceAccount, pod *corev1.Pod) bool {
	wants := cmp.Or(pod.Spec.AutomountServiceAccountToken, account.AutomountServiceAccountToken)
	return wants == nil || *wants
}

// mountToken gives every container the token that mounts nothing in its place.
// It changes none of the slices that it is given.
func mountToken(spec *corev1.PodSpec) {
	volume := corev1.Volume{Name: tokenVolume + rand.String(5)}
	declared := slices.IndexFunc(spec.Volumes, func(v corev1.Volume) bool { return strings.HasPrefix(v.Name, tokenVolume) })
	if declared >= 0 {
		volume = spec.Volumes[declared]
	}
	mount := corev1.VolumeMount{Name: volume.Name, ReadOnly: true, MountPath: tokenPath}
	mounted := false
	for _, list := range []*[]corev1.Container{&spec.InitContainers, &spec.Containers} {
		*list = slices.Clone(*list)
		for i := range *list {
			c := &(*list)[i]
			if slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.MountPath == tokenPath }) {
				continue
			}
			c.VolumeMounts = append(slices.Clip(c.VolumeMounts), mount)
			mounted = true
		}
	}
	if declared >= 0 || !mounted {
		return
	}
	volume.Projected = &corev1.ProjectedVolumeSource{DefaultMode: new(corev1.ProjectedVolumeSourceDefaultMode), Sources: []corev1.VolumeProjection{
		{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token", ExpirationSeconds: new(int64(tokenSeconds))}},
		{ConfigMap: &corev1.ConfigMapProjection{
			LocalObjectReference: corev1.LocalObjectReference{Name: RootCAName},
			Items:                []corev1.KeyToPath{{Key: rootCAKey, Path: rootCAKey}},
		}},
		{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{{
			Path: "namespace", FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.namespace"},
		}}}},
	}}
	spec.Volumes = append(slices.Clip(spec.Volumes), volume)
}
