package plugins

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiserver/pkg/admission"

	"headway.dev/manifests/model/podspec"
)

const (
	// mountableSecrets is the annotation of accounts whose pods may use no Secrets
	// but those that the account lists.
	mountableSecrets = "kubernetes.io/enforce-mountable-secrets"
	ephemeral        = "ephemeralcontainers"
)

// Validate implements admission.ValidationInterface.
func (p serviceAccount) Validate(ctx context.Context, attrs admission.Attributes, _ admission.ObjectInterfaces) error {
	pod, ok := attrs.GetObject().(*corev1.Pod)
	late := attrs.GetOperation() == admission.Update && attrs.GetSubresource() == ephemeral
	if !ok || !late && newPod(attrs) == nil {
		return nil
	}
	if !late && mirrors(pod) {
		if err := mirrorsAlone(pod); err != nil {
			return admission.NewForbidden(attrs, err)
		}
		return nil
	}
	if late && pod.Spec.ServiceAccountName == "" {
		return nil // it mirrors another
	}
	if pod.Spec.ServiceAccountName == "" {
		return admission.NewForbidden(attrs, fmt.Errorf("no service account specified for pod %s/%s", attrs.GetNamespace(), pod.Name))
	}
	account, err := p.account(ctx, attrs, pod.Spec.ServiceAccountName)
	if err != nil {
		return err
	}
	if enforced, _ := strconv.ParseBool(account.Annotations[mountableSecrets]); !enforced {
		return nil
	}
	if late {
		err = limits{account}.ephemeral(pod)
	} else {
		err = limits{account}.pod(pod)
	}
	if err != nil {
		return admission.NewForbidden(attrs, err)
	}
	return nil
}

// mirrors reports whether a pod shows what a node runs without the API.
func mirrors(pod *corev1.Pod) bool {
	_, ok := pod.Annotations[corev1.MirrorPodAnnotationKey]
	return ok
}

// mirrorsAlone refuses what a pod that mirrors another may not refer to.
func mirrorsAlone(pod *corev1.Pod) error {
	if pod.Spec.ServiceAccountName != "" {
		return errors.New("a mirror pod may not reference service accounts")
	}
	refs := podspec.References(&pod.Spec)
	switch {
	case refs.Secrets:
		return errors.New("a mirror pod may not reference secrets")
	case refs.Tokens:
		return errors.New("a mirror pod may not use ServiceAccountToken volume projections")
	}
	return nil
}

// limits are those of an account that names the Secrets of its pods.
type limits struct{ account *corev1.ServiceAccount }

func (l limits) mounts(secret string) bool {
	return slices.ContainsFunc(l.account.Secrets, func(r corev1.ObjectReference) bool { return r.Name == secret })
}

func (l limits) pod(pod *corev1.Pod) error {
	for _, v := range pod.Spec.Volumes {
		if v.Secret != nil && !l.mounts(v.Secret.SecretName) {
			return fmt.Errorf("volume with secret.secretName=%q is not allowed because service account %s does not reference that secret", v.Secret.SecretName, l.account.Name)
		}
	}
	for _, c := range pod.Spec.InitContainers {
		if err := l.container("init container", c.Name, c.Env, c.EnvFrom); err != nil {
			return err
		}
	}
	for _, c := range pod.Spec.Containers {
		if err := l.container("container", c.Name, c.Env, c.EnvFrom); err != nil {
			return err
		}
	}
	for i, ref := range pod.Spec.ImagePullSecrets {
		if !slices.Contains(l.account.ImagePullSecrets, ref) {
			return fmt.Errorf("imagePullSecrets[%d].name=%q is not allowed because service account %s does not reference that imagePullSecret", i, ref.Name, l.account.Name)
		}
	}
	return nil
}

func (l limits) ephemeral(pod *corev1.Pod) error {
	for _, c := range pod.Spec.EphemeralContainers {
		if err := l.container("ephemeral container", c.Name, c.Env, c.EnvFrom); err != nil {
			return err
		}
	}
	return nil
}

func (l limits) container(what, name string, env []corev1.EnvVar, from []corev1.EnvFromSource) error {
	for _, e := range env {
		if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil && !l.mounts(e.ValueFrom.SecretKeyRef.Name) {
			return fmt.Errorf("%s %s with envVar %s referencing secret.secretName=%q is not allowed because service account %s does not reference that secret",
				what, name, e.Name, e.ValueFrom.SecretKeyRef.Name, l.account.Name)
		}
	}
	for _, e := range from {
		if e.SecretRef != nil && !l.mounts(e.SecretRef.Name) {
			return fmt.Errorf("%s %s with envFrom referencing secret.secretName=%q is not allowed because service account %s does not reference that secret",
				what, name, e.SecretRef.Name, l.account.Name)
		}
	}
	return nil
}
