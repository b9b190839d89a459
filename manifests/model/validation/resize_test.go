package validation_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubectl/pkg/util/qos"

	"headway.dev/manifests/model/defaults"
	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/lifecycle"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
	"headway.dev/manifests/model/validation"
)

const sizedPod = `
apiVersion: v1
kind: Pod
metadata: {name: p, namespace: shop}
spec:
  initContainers:
  - name: setup
    image: setup:1
    resources: {requests: {cpu: 100m}}
  - name: once
    image: once:1
    resources: {requests: {cpu: 100m}}
    resizePolicy: [{resourceName: cpu, restartPolicy: RestartContainer}]
  - name: side
    image: side:1
    restartPolicy: Always
    resources: {requests: {cpu: 100m}}
  containers:
  - name: web
    image: web:1
    resources: {requests: {cpu: 500m, memory: 128Mi}, limits: {cpu: "1", memory: 256Mi, ephemeral-storage: 1Gi}}
    resizePolicy: [{resourceName: memory, restartPolicy: RestartContainer}]
  - name: plain
    image: web:1
`

func resizePart(t *testing.T) kind.Part[object.Object] {
	t.Helper()
	k, _ := scheme.ForObject(&corev1.Pod{})
	for _, part := range k.Parts {
		if part.Name == "resize" {
			return part
		}
	}
	t.Fatal("pods cannot be resized")
	return kind.Part[object.Object]{}
}

func requests(c *corev1.Container, name corev1.ResourceName, amount string) {
	set(&c.Resources.Requests, name, amount)
}

func limits(c *corev1.Container, name corev1.ResourceName, amount string) {
	set(&c.Resources.Limits, name, amount)
}

func set(list *corev1.ResourceList, name corev1.ResourceName, amount string) {
	if *list == nil {
		*list = corev1.ResourceList{}
	}
	(*list)[name] = resource.MustParse(amount)
}

// What may be resized, in Kubernetes' words.
func TestResize(t *testing.T) {
	part := resizePart(t)
	validate := func(obj, old object.Object) field.ErrorList {
		old.(*corev1.Pod).Status.QOSClass = qos.ComputePodQOS(old.(*corev1.Pod))
		defaults.Apply(obj)
		lifecycle.PreparePart(obj, old, part)
		return validation.UpdatePart(obj, old, part)
	}
	web := func(edit func(c *corev1.Container)) func(*corev1.Pod) {
		return func(p *corev1.Pod) { edit(&p.Spec.Containers[0]) }
	}
	init := func(i int, edit func(c *corev1.Container)) func(*corev1.Pod) {
		return func(p *corev1.Pod) { edit(&p.Spec.InitContainers[i]) }
	}
	changedPart(t, sizedPod, cases[*corev1.Pod]{
		"nothing":     {func(*corev1.Pod) {}, nil},
		"more CPU":    {web(func(c *corev1.Container) { requests(c, "cpu", "1"); limits(c, "cpu", "2") }), nil},
		"less memory": {web(func(c *corev1.Container) { requests(c, "memory", "1Mi"); limits(c, "memory", "1Mi") }), nil},
		"a first time": {func(p *corev1.Pod) {
			requests(&p.Spec.Containers[1], "cpu", "1")
			limits(&p.Spec.Containers[1], "memory", "1Gi")
		}, nil},
		"a sidecar":         {init(2, func(c *corev1.Container) { requests(c, "cpu", "1") }), nil},
		"an init container": {init(0, func(c *corev1.Container) { requests(c, "cpu", "1") }), nil},
		"an init container that restarts": {init(1, func(c *corev1.Container) { requests(c, "cpu", "1") }), []string{
			"spec.initContainers[1]: Forbidden: non-sidecar init containers with a resize policy of RestartContainer cannot be resized",
		}},
		// Whatever else is in the request is not taken.
		"an image and a label": {func(p *corev1.Pod) {
			p.Labels, p.Spec.Containers[0].Image, p.Spec.NodeName = map[string]string{"a": "b"}, "other:1", "n1"
		}, nil},
		"a limit less": {web(func(c *corev1.Container) { delete(c.Resources.Limits, "memory") }), []string{
			"spec.containers[0].resources.limits: Forbidden: resource limits cannot be removed",
		}},
		"a request less": {init(2, func(c *corev1.Container) { c.Resources.Requests = nil }), []string{
			"spec.initContainers[2].resources.requests: Forbidden: resource requests cannot be removed",
		}},
		"a request above the limit": {web(func(c *corev1.Container) { requests(c, "cpu", "3") }), []string{
			`spec.containers[0].resources.requests: Invalid value: "3": must be less than or equal to cpu limit of 1`,
		}},
		"a negative amount": {web(func(c *corev1.Container) { requests(c, "cpu", "-1") }), []string{
			`spec.containers[0].resources.requests[cpu]: Invalid value: "-1": must be greater than or equal to 0`,
		}},
		"storage": {web(func(c *corev1.Container) { limits(c, "ephemeral-storage", "2Gi") }), []string{
			"spec: Forbidden: only cpu and memory resources are mutable",
		}},
		"storage of another": {func(p *corev1.Pod) { requests(&p.Spec.Containers[1], "ephemeral-storage", "2Gi") }, []string{
			"spec: Forbidden: only cpu and memory resources are mutable",
		}},
		"storage of a sidecar": {init(2, func(c *corev1.Container) { requests(c, "ephemeral-storage", "2Gi") }), []string{
			"spec.initContainers[2]: Forbidden: only cpu and memory resources for init or sidecar containers are mutable",
		}},
		"the policy": {web(func(c *corev1.Container) { c.ResizePolicy = nil }), []string{
			"spec: Forbidden: only cpu and memory resources are mutable",
		}},
		"a container more": {func(p *corev1.Pod) {
			p.Spec.Containers = append(p.Spec.Containers, *p.Spec.Containers[1].DeepCopy())
			p.Spec.Containers[2].Name = "more"
		}, []string{"spec.containers: Forbidden: containers may not be added or removed on resize"}},
		"an init container less": {func(p *corev1.Pod) { p.Spec.InitContainers = p.Spec.InitContainers[1:] }, []string{
			"spec.initContainers: Forbidden: initContainers may not be added or removed on resize",
		}},
		"another order": {func(p *corev1.Pod) {
			p.Spec.Containers[0], p.Spec.Containers[1] = p.Spec.Containers[1], p.Spec.Containers[0]
		}, []string{
			"spec.containers[0].name: Forbidden: containers may not be renamed or reordered on resize",
			"spec.containers[1].name: Forbidden: containers may not be renamed or reordered on resize",
		}},
		"the pod's own": {func(p *corev1.Pod) {
			p.Spec.Resources = &corev1.ResourceRequirements{Limits: corev1.ResourceList{"cpu": resource.MustParse("1")}}
		}, []string{
			"spec.resources: Forbidden: not supported yet: a pod is resized by what its containers have; the pod's own amounts stay",
		}},
	}, validate)

	const class = `
apiVersion: v1
kind: Pod
metadata: {name: p, namespace: shop}
spec:
  containers:
  - {name: web, image: "web:1", resources: {requests: {cpu: 100m, memory: 64Mi}, limits: {cpu: 200m, memory: 64Mi}}}
`
	changedPart(t, class, cases[*corev1.Pod]{
		"to Guaranteed": {web(func(c *corev1.Container) { requests(c, "cpu", "200m") }), []string{
			`spec: Invalid value: "Burstable": Pod QOS Class may not change as a result of resizing`,
		}},
	}, validate)
	with := func(edit func(old *corev1.Pod)) func(obj, old object.Object) field.ErrorList {
		return func(obj, old object.Object) field.ErrorList {
			edit(old.(*corev1.Pod))
			return validate(obj, old)
		}
	}
	more := web(func(c *corev1.Container) { limits(c, "cpu", "300m") })
	changedPart(t, class, cases[*corev1.Pod]{"a static pod": {more, []string{`[]: Forbidden: static pods cannot be resized`}}},
		with(func(old *corev1.Pod) { old.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"} }))
	changedPart(t, class, cases[*corev1.Pod]{"of Windows": {more, []string{`[]: Forbidden: windows pods cannot be resized`}}},
		with(func(old *corev1.Pod) { old.Spec.OS = &corev1.PodOS{Name: corev1.Windows} }))
	running := corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	changedPart(t, class, cases[*corev1.Pod]{"on an old node": {more, []string{`spec: Forbidden: Pod running on node without support for resize`}}},
		with(func(old *corev1.Pod) {
			old.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "web", State: running}}
		}))
	changedPart(t, class, cases[*corev1.Pod]{"on a new node": {more, nil}}, with(func(old *corev1.Pod) {
		old.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "web", State: running, Resources: &corev1.ResourceRequirements{}}}
	}))
}

func TestResizePolicy(t *testing.T) {
	policies := func(list ...corev1.ContainerResizePolicy) func(*corev1.Pod) {
		return web(func(c *corev1.Container) { c.ResizePolicy = list })
	}
	restart := corev1.ContainerResizePolicy{ResourceName: corev1.ResourceCPU, RestartPolicy: corev1.RestartContainer}
	create(t, basePod, cases[*corev1.Pod]{
		"both":  {policies(restart, corev1.ContainerResizePolicy{ResourceName: corev1.ResourceMemory, RestartPolicy: corev1.NotRequired}), nil},
		"twice": {policies(restart, restart), []string{`spec.containers[0].resizePolicy[1]: Duplicate value: "cpu"`}},
		"empty": {policies(corev1.ContainerResizePolicy{}), []string{
			"spec.containers[0].resizePolicy: Required value", "spec.containers[0].resizePolicy: Required value",
		}},
		"of storage": {policies(corev1.ContainerResizePolicy{ResourceName: corev1.ResourceEphemeralStorage, RestartPolicy: corev1.NotRequired}), []string{
			`spec.containers[0].resizePolicy: Unsupported value: "ephemeral-storage": supported values: "cpu", "memory"`,
		}},
		"sometimes": {policies(corev1.ContainerResizePolicy{ResourceName: corev1.ResourceCPU, RestartPolicy: "Sometimes"}), []string{
			`spec.containers[0].resizePolicy: Unsupported value: "Sometimes": supported values: "NotRequired", "RestartContainer"`,
		}},
		"never": {func(p *corev1.Pod) { p.Spec.RestartPolicy = corev1.RestartPolicyNever; policies(restart)(p) }, []string{
			"spec.containers[0].resizePolicy: Invalid value: \"RestartContainer\": must be 'NotRequired' when `restartPolicy` is 'Never'",
		}},
	})
}

// changedPart is changed for a part, whose refusals are not counted among the kind's.
func changedPart(t *testing.T, base string, table cases[*corev1.Pod], validate func(obj, old object.Object) field.ErrorList) {
	t.Helper()
	changed(t, base, table, validate, func(*refused) *int { return new(int) })
}
