package core

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/podspec"
	"headway.dev/manifests/model/rule"
)

// ephemeralContainers is how a container is added to a pod that runs, as kubectl
// debug does. None can be changed or taken away again.
// https://kubernetes.io/docs/concepts/workloads/pods/ephemeral-containers/
var ephemeralContainers = kind.Part[*corev1.Pod]{
	Name: "ephemeralcontainers", Fields: []string{"spec.ephemeralContainers"},
	Update: func(pod, old *corev1.Pod) {
		added := pod.Spec.EphemeralContainers
		pod.Spec = *old.Spec.DeepCopy()
		pod.Spec.EphemeralContainers = added
	},
	Rules: func(pod, old *corev1.Pod) field.ErrorList {
		path := rule.Spec.Child("ephemeralContainers")
		errs := podspec.ValidateEphemeral(&pod.Spec, path)
		now := map[string]*corev1.EphemeralContainer{}
		for i := range pod.Spec.EphemeralContainers {
			now[pod.Spec.EphemeralContainers[i].Name] = &pod.Spec.EphemeralContainers[i]
		}
		for i := range old.Spec.EphemeralContainers {
			was := &old.Spec.EphemeralContainers[i]
			switch is := now[was.Name]; {
			case is == nil:
				errs = append(errs, field.Forbidden(path, fmt.Sprintf("existing ephemeral containers %q may not be removed\n", was.Name)))
			case !equality.Semantic.DeepEqual(is, was):
				errs = append(errs, field.Forbidden(path, fmt.Sprintf("existing ephemeral containers %q may not be changed\n", was.Name)))
			}
		}
		return errs
	},
}
