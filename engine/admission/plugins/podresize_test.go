package plugins_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
)

// What a pod says of the amounts that its containers share is completed by what these
// have, also by what a LimitRange has given them.
func TestAmountsOfPods(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	type amountsOf = corev1.ResourceRequirements
	defaults := limitRange("a", corev1.LimitRangeItem{Type: corev1.LimitTypeContainer, Default: amounts("memory", "1Gi"), DefaultRequest: amounts("memory", "256Mi")})
	for name, test := range map[string]struct {
		pod               amountsOf
		main, first       amountsOf
		sidecar, defaults bool
		want              map[string]string
	}{
		"nothing": {want: map[string]string{}},
		"what its containers ask for together": {
			pod:  amountsOf{Requests: amounts("cpu", "2")},
			main: amountsOf{Requests: amounts("cpu", "1", "memory", "1Gi")}, first: amountsOf{Requests: amounts("memory", "512Mi")}, sidecar: true,
			want: map[string]string{"requests.cpu": "2", "requests.memory": "1536Mi"},
		},
		"its limits, where they ask for nothing": {
			pod:  amountsOf{Limits: amounts("cpu", "2", "memory", "1Gi")},
			main: amountsOf{Requests: amounts("cpu", "500m")},
			want: map[string]string{"limits.cpu": "2", "limits.memory": "1Gi", "requests.cpu": "500m", "requests.memory": "1Gi"},
		},
		"their limits, if each has one": {
			pod:  amountsOf{Requests: amounts("cpu", "1")},
			main: amountsOf{Limits: amounts("cpu", "2", "memory", "1Gi")}, first: amountsOf{Limits: amounts("cpu", "1")}, sidecar: true,
			want: map[string]string{"limits.cpu": "3", "requests.cpu": "1", "requests.memory": "1Gi"},
		},
		"not less than it asks for": {
			pod:  amountsOf{Requests: amounts("cpu", "5")},
			main: amountsOf{Limits: amounts("cpu", "2")}, first: amountsOf{Limits: amounts("cpu", "1")},
			want: map[string]string{"limits.cpu": "5", "requests.cpu": "5"},
		},
		"huge pages": {
			pod:  amountsOf{Requests: amounts("cpu", "1")},
			main: amountsOf{Limits: amounts("cpu", "1", "hugepages-2Mi", "4Mi")},
			want: map[string]string{"requests.cpu": "1", "limits.hugepages-2Mi": "4Mi", "requests.hugepages-2Mi": "4Mi"},
		},
		"what they were given": {
			pod:  amountsOf{Limits: amounts("memory", "4Gi")},
			main: amountsOf{Requests: amounts("memory", "512Mi")}, sidecar: true, defaults: true,
			want: map[string]string{"limits.memory": "4Gi", "requests.memory": "768Mi"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := start(t)
			pod := newPod(func(p *corev1.Pod) {
				if len(test.pod.Requests)+len(test.pod.Limits) > 0 {
					p.Spec.Resources = &test.pod
				}
				p.Spec.Containers[0].Resources, p.Spec.InitContainers[0].Resources = test.main, test.first
				if test.sidecar {
					p.Spec.InitContainers[0].RestartPolicy = &always
				}
			})
			if test.defaults {
				pod = c.admitted(pod, defaults)
			} else {
				pod = c.admitted(pod)
			}
			got := map[string]string{}
			if r := pod.Spec.Resources; r != nil {
				for k, v := range r.Requests {
					got["requests."+string(k)] = v.String()
				}
				for k, v := range r.Limits {
					got["limits."+string(k)] = v.String()
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("the amounts of the pod (-want +got):\n%s", diff)
			}
		})
	}
}
