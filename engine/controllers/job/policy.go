package job

import (
	"fmt"
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// verdict is what becomes of a failed pod by the job's podFailurePolicy.
type verdict struct {
	action batchv1.PodFailurePolicyAction // empty if no rule matches
	// why is the message with which the job fails, if it does.
	why string
}

// counts reports whether the failure counts towards the limits.
func (v verdict) counts() bool { return v.action != batchv1.PodFailurePolicyActionIgnore }

// judge finds the first rule that matches a failed pod. Actions that are not known
// are skipped.
func judge(policy *batchv1.PodFailurePolicy, pod *corev1.Pod) verdict {
	if policy == nil {
		return verdict{}
	}
	for i, rule := range policy.Rules {
		why, matches := "", false
		if rule.OnExitCodes != nil {
			if status := exited(pod, rule.OnExitCodes); status != nil {
				matches = true
				why = fmt.Sprintf("Container %s for pod %s/%s failed with exit code %v matching %v rule at index %d",
					status.Name, pod.Namespace, pod.Name, status.State.Terminated.ExitCode, rule.Action, i)
			}
		} else if condition := conditioned(pod, rule.OnPodConditions); condition != nil {
			matches = true
			why = fmt.Sprintf("Pod %s/%s has condition %v matching %v rule at index %d", pod.Namespace, pod.Name, condition.Type, rule.Action, i)
		}
		if !matches {
			continue
		}
		switch rule.Action {
		case batchv1.PodFailurePolicyActionFailJob:
			return verdict{action: rule.Action, why: why}
		case batchv1.PodFailurePolicyActionIgnore, batchv1.PodFailurePolicyActionFailIndex, batchv1.PodFailurePolicyActionCount:
			return verdict{action: rule.Action}
		}
	}
	return verdict{}
}

// exited finds a container that ended with an exit code that the requirement is about.
func exited(pod *corev1.Pod, r *batchv1.PodFailurePolicyOnExitCodesRequirement) *corev1.ContainerStatus {
	for _, list := range [][]corev1.ContainerStatus{pod.Status.ContainerStatuses, pod.Status.InitContainerStatuses} {
		for i := range list {
			ended := list[i].State.Terminated
			if ended == nil || ended.ExitCode == 0 || r.ContainerName != nil && *r.ContainerName != list[i].Name {
				continue
			}
			among := slices.Contains(r.Values, ended.ExitCode)
			if r.Operator == batchv1.PodFailurePolicyOnExitCodesOpIn && among || r.Operator == batchv1.PodFailurePolicyOnExitCodesOpNotIn && !among {
				return &list[i]
			}
		}
	}
	return nil
}

func conditioned(pod *corev1.Pod, patterns []batchv1.PodFailurePolicyOnPodConditionsPattern) *corev1.PodCondition {
	for i, c := range pod.Status.Conditions {
		for _, p := range patterns {
			if c.Type == p.Type && c.Status == p.Status {
				return &pod.Status.Conditions[i]
			}
		}
	}
	return nil
}

// succeeds finds the first rule of a successPolicy that is met.
func succeeds(policy *batchv1.SuccessPolicy, succeeded indexes, completions int) (why string, met bool) {
	if policy == nil || len(succeeded) == 0 {
		return "", false
	}
	for i, rule := range policy.Rules {
		reached := succeeded.total()
		need := 0
		if rule.SucceededIndexes != nil {
			wanted := parseIndexes(*rule.SucceededIndexes, completions)
			if len(wanted) == 0 {
				continue
			}
			reached, need = wanted.common(succeeded), wanted.total()
		}
		if rule.SucceededCount != nil {
			need = int(*rule.SucceededCount)
		}
		if (rule.SucceededIndexes != nil || rule.SucceededCount != nil) && reached >= need {
			return fmt.Sprintf("Matched rules at index %d", i), true
		}
	}
	return "", false
}
