package plugins

import (
	"cmp"
	"context"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apiserver/pkg/admission"

	chain "headway.dev/engine/admission"
	"headway.dev/engine/admit"
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

var accountKind = schema.GroupKind{Kind: "ServiceAccount"}

// serviceAccount is ServiceAccount: a new pod needs an account that exists. The
// account's token is mounted into it, unless the pod or its account opts out,
// and it gets the account's pull secrets if it has none. An account may say that
// its pods use no Secrets but those that it lists. Pods that mirror those of a
// node have neither an account nor Secrets.
type serviceAccount struct{ stored object.Reader }

// Handles implements admission.Interface.
func (serviceAccount) Handles(op admission.Operation) bool {
	return op == admission.Create || op == admission.Update
}

// Wants implements admission.Selective.
func (serviceAccount) Wants(resource schema.GroupResource, subresource string) bool {
	return resource == pods && (subresource == "" || subresource == ephemeral)
}

// Admit implements admission.MutationInterface.
func (p serviceAccount) Admit(ctx context.Context, attrs admission.Attributes, objects admission.ObjectInterfaces) error {
	pod := newPod(attrs)
	switch {
	case pod == nil:
		return nil
	case mirrors(pod):
		return p.Validate(ctx, attrs, objects)
	}
	name := cmp.Or(pod.Spec.ServiceAccountName, admit.DefaultAccount)
	pod.Spec.ServiceAccountName, pod.Spec.DeprecatedServiceAccount = name, name
	account, err := p.account(ctx, attrs, name)
	if err != nil {
		return err
	}
	if automounts(account, pod) {
		mountToken(pod)
	}
	if len(pod.Spec.ImagePullSecrets) == 0 {
		pod.Spec.ImagePullSecrets = slices.Clone(account.ImagePullSecrets)
	}
	return nil
}

// account is the one of a pod.
func (p serviceAccount) account(ctx context.Context, attrs admission.Attributes, name string) (*corev1.ServiceAccount, error) {
	namespace := attrs.GetNamespace()
	account, ok := chain.View(ctx, p.stored).Get(object.Key{GroupKind: accountKind, Namespace: namespace, Name: name}).(*corev1.ServiceAccount)
	if !ok {
		return nil, admission.NewForbidden(attrs, fmt.Errorf("error looking up service account %s/%s: %w",
			namespace, name, apierrors.NewNotFound(schema.GroupResource{Resource: "serviceaccount"}, name)))
	}
	return account, nil
}

// automounts reports whether the token is mounted; the pod has the last word.
func automounts(account *corev1.ServiceAccount, pod *corev1.Pod) bool {
	wants := cmp.Or(pod.Spec.AutomountServiceAccountToken, account.AutomountServiceAccountToken)
	return wants == nil || *wants
}

// mountToken gives every container the token that mounts nothing in its place.
func mountToken(pod *corev1.Pod) {
	spec := &pod.Spec
	volume := corev1.Volume{Name: tokenVolume + suffix(pod)}
	declared := slices.IndexFunc(spec.Volumes, func(v corev1.Volume) bool { return strings.HasPrefix(v.Name, tokenVolume) })
	if declared >= 0 {
		volume = spec.Volumes[declared]
	}
	mount := corev1.VolumeMount{Name: volume.Name, ReadOnly: true, MountPath: tokenPath}
	mounted := false
	for _, list := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
		for i := range list {
			c := &list[i]
			if slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.MountPath == tokenPath }) {
				continue
			}
			c.VolumeMounts = append(c.VolumeMounts, mount)
			mounted = true
		}
	}
	if declared >= 0 || !mounted {
		return
	}
	volume.Projected = &corev1.ProjectedVolumeSource{DefaultMode: new(corev1.ProjectedVolumeSourceDefaultMode), Sources: []corev1.VolumeProjection{
		{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token", ExpirationSeconds: new(int64(tokenSeconds))}},
		{ConfigMap: &corev1.ConfigMapProjection{
			LocalObjectReference: corev1.LocalObjectReference{Name: admit.RootCAName},
			Items:                []corev1.KeyToPath{{Key: admit.RootCAKey, Path: admit.RootCAKey}},
		}},
		{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{{
			Path: "namespace", FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.namespace"},
		}}}},
	}}
	spec.Volumes = append(spec.Volumes, volume)
}

// suffixes are the characters of generated names, which make up no words.
const suffixes = "bcdfghjklmnpqrstvwxz2456789"

// suffix ends the name of a pod's volume. It looks as if it were random, but is
// always the same for a pod that has a name: what a plan shows is what is
// stored.
func suffix(pod *corev1.Pod) string {
	if pod.Name == "" {
		return rand.String(5)
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(pod.Namespace + "/" + pod.Name))
	sum := h.Sum64()
	var out [5]byte
	for i := range out {
		out[i] = suffixes[sum%uint64(len(suffixes))]
		sum /= uint64(len(suffixes))
	}
	return string(out[:])
}
