package job

import (
	"slices"
	"strconv"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"

	"headway.dev/engine/controllers/control"
)

// indexVariable is set in the containers of indexed jobs.
const indexVariable = "JOB_COMPLETION_INDEX"

// newPod makes a pod from the job's template.
func newPod(j *batchv1.Job, c Creation) *corev1.Pod {
	template := j.Spec.Template.DeepCopy()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: j.Namespace, GenerateName: control.Ending(j.Name, "-", control.MaxBase),
			Labels: template.Labels, Annotations: template.Annotations, Finalizers: template.Finalizers,
			OwnerReferences: []metav1.OwnerReference{reference(j)},
		},
		Spec: template.Spec,
	}
	if !tracked(pod) {
		pod.Finalizers = append(pod.Finalizers, batchv1.JobTrackingFinalizer)
	}
	if c.Index != unknown {
		indexed(j, pod, c)
	}
	pod.Name = pod.GenerateName + rand.String(5)
	return pod
}

func indexed(j *batchv1.Job, pod *corev1.Pod, c Creation) {
	index := strconv.Itoa(c.Index)
	pod.GenerateName = control.Ending(j.Name, "-"+index+"-", control.MaxBase)
	pod.Spec.Hostname = j.Name + "-" + index
	if pod.Annotations == nil {
		pod.Annotations = map[string]string{}
	}
	if pod.Labels == nil {
		pod.Labels = map[string]string{}
	}
	pod.Annotations[batchv1.JobCompletionIndexAnnotation], pod.Labels[batchv1.JobCompletionIndexAnnotation] = index, index
	if j.Spec.BackoffLimitPerIndex != nil {
		pod.Annotations[batchv1.JobIndexFailureCountAnnotation] = strconv.Itoa(c.Failed)
		if c.Ignored > 0 {
			pod.Annotations[batchv1.JobIndexIgnoredFailureCountAnnotation] = strconv.Itoa(c.Ignored)
		}
	}
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			if slices.ContainsFunc(list[i].Env, func(v corev1.EnvVar) bool { return v.Name == indexVariable }) {
				continue
			}
			list[i].Env = append(list[i].Env, corev1.EnvVar{Name: indexVariable, ValueFrom: &corev1.EnvVarSource{
				FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels['" + batchv1.JobCompletionIndexAnnotation + "']"},
			}})
		}
	}
}

func reference(j *batchv1.Job) metav1.OwnerReference {
	return *metav1.NewControllerRef(j, batchv1.SchemeGroupVersion.WithKind("Job"))
}

// tracked reports whether a pod has not been counted yet.
func tracked(pod *corev1.Pod) bool {
	return slices.Contains(pod.Finalizers, batchv1.JobTrackingFinalizer)
}
