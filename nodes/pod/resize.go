package pod

import (
	"encoding/json"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	resourcehelper "k8s.io/component-helpers/resource"
	"k8s.io/kubectl/pkg/util/qos"

	"headway.dev/nodes/runtime"
)

// Resizing is how far it is with a resize of a pod. The API's spec is what is wanted;
// the node gives it if it has it, and then the containers get it.
type Resizing struct {
	// Pending is why the node does not give what is wanted; nil if it does.
	Pending *Pending
	// Generation is that of the resize which is carried out, or was last; zero if
	// there is none.
	Generation int64
	// Failure is why the containers did not get it.
	Failure Failure
}

// Pending is why a node does not give a pod what a generation of it wants: never
// (Infeasible), or not yet (Deferred). The words are the kubelet's.
type Pending struct {
	Reason, Message string
	Generation      int64
}

// Resize gives the pod and running containers of it what they do not have yet.
type Resize struct {
	Pod        runtime.Resources
	Containers []runtime.Resize
}

// Allocation is what a node has given to the containers of a pod, by name.
type Allocation map[string]corev1.ResourceRequirements

// Allocate is an allocation of all that a pod wants.
func Allocate(p *corev1.Pod) Allocation {
	given := Allocation{}
	for _, list := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range list {
			given[list[i].Name] = list[i].Resources
		}
	}
	return given
}

// Allocated is a pod whose containers want what the node has given to them.
func Allocated(p *corev1.Pod, given Allocation) *corev1.Pod {
	if given == nil || !Wants(p, given) {
		return p
	}
	p = p.DeepCopy()
	for _, list := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range list {
			if r, ok := given[list[i].Name]; ok {
				list[i].Resources = *r.DeepCopy()
			}
		}
	}
	return p
}

// Wants reports whether a pod wants something else than it is given.
func Wants(p *corev1.Pod, given Allocation) bool {
	for name, wanted := range Allocate(p) {
		if r, ok := given[name]; ok && !equality.Semantic.DeepEqual(wanted, r) {
			return true
		}
	}
	return false
}

// Recall is what the node had given to a pod before this agent began: what the pod
// wants, if the API was told that it is given, or else what its containers have.
func Recall(p *corev1.Pod, observed runtime.Pod) Allocation {
	given := Allocate(p)
	d := &decision{Input: Input{Pod: p, Observed: observed}}
	d.views()
	for _, v := range slices.Concat(d.init, d.main) {
		if v.api != nil && v.api.Resources != nil && equality.Semantic.DeepEqual(v.api.AllocatedResources, v.spec.Resources.Requests) {
			continue
		}
		if has, known := v.has(); known {
			given[v.spec.Name] = withCompute(v.spec.Resources, has)
		}
	}
	return given
}

// Recalled is how far it was with a resize before this agent began, as the API was
// told.
func Recalled(p *corev1.Pod) Resizing {
	var r Resizing
	if c := condition(&p.Status, corev1.PodResizeInProgress); c != nil {
		r.Generation = c.ObservedGeneration
	}
	if c := condition(&p.Status, corev1.PodResizePending); c != nil {
		r.Pending = &Pending{c.Reason, c.Message, c.ObservedGeneration}
	}
	return r
}

// Fits says why a node cannot give a pod that it runs what it wants now; nil if it
// can. others are the other pods that use resources.
func Fits(p *corev1.Pod, node *corev1.Node, others []*corev1.Pod) *Pending {
	requests := resourcehelper.PodRequests(p, resourcehelper.PodResourcesOptions{})
	for _, name := range []corev1.ResourceName{corev1.ResourceMemory, corev1.ResourceCPU} {
		if wanted, has := amount(requests, name), amount(node.Status.Allocatable, name); wanted > has {
			return &Pending{corev1.PodReasonInfeasible, fmt.Sprintf("Node didn't have enough capacity: %s, requested: %d, capacity: %d", name, wanted, has), p.Generation}
		}
	}
	if r := resourcesFit(p, node, others); r != nil {
		return &Pending{corev1.PodReasonDeferred, r.Message, p.Generation}
	}
	return nil
}

// Before orders pods that want to be resized as the kubelet does: those that want no
// more than they have come first, then by priority, by class, and by how long they
// wait.
func Before(a, b *corev1.Pod, givenA, givenB Allocation) int {
	rank := func(p *corev1.Pod, given Allocation) [4]int64 {
		var r [4]int64
		has := resourcehelper.PodRequests(Allocated(p, given), resourcehelper.PodResourcesOptions{})
		wanted := resourcehelper.PodRequests(p, resourcehelper.PodResourcesOptions{})
		if wanted.Cpu().Cmp(*has.Cpu()) > 0 || wanted.Memory().Cmp(*has.Memory()) > 0 {
			r[0] = 1
		}
		r[1] = -int64(priority(p))
		if qos.GetPodQOS(p) != corev1.PodQOSGuaranteed {
			r[2] = 1
		}
		r[3] = 1 << 62
		if c := condition(&p.Status, corev1.PodResizePending); c != nil {
			r[3] = c.LastTransitionTime.Unix()
		}
		return r
	}
	x, y := rank(a, givenA), rank(b, givenB)
	return slices.Compare(x[:], y[:])
}

// ResizeMessage is the text of an event about a resize.
func ResizeMessage(what string, p *corev1.Pod, generation int64, trouble string) string {
	type container struct {
		Name      string                      `json:"name"`
		Resources corev1.ResourceRequirements `json:"resources"`
	}
	summary := struct {
		InitContainers []container `json:"initContainers,omitempty"`
		Containers     []container `json:"containers,omitempty"`
		Generation     int64       `json:"generation"`
		Error          string      `json:"error,omitempty"`
	}{Generation: generation, Error: trouble}
	for _, c := range p.Spec.InitContainers {
		summary.InitContainers = append(summary.InitContainers, container{c.Name, c.Resources})
	}
	for _, c := range p.Spec.Containers {
		summary.Containers = append(summary.Containers, container{c.Name, c.Resources})
	}
	text, err := json.Marshal(summary)
	if err != nil {
		return what
	}
	return what + ": " + string(text)
}

var compute = []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory}

// resourcesLabel is the value of LabelResources.
func resourcesLabel(r *corev1.ResourceRequirements) string {
	text, err := json.Marshal(withCompute(corev1.ResourceRequirements{}, *r))
	if err != nil {
		return "" // quantities can be encoded
	}
	return string(text)
}

// withCompute is r with the CPU and memory of another.
func withCompute(r, other corev1.ResourceRequirements) corev1.ResourceRequirements {
	r = *r.DeepCopy()
	put := func(list *corev1.ResourceList, other corev1.ResourceList) {
		for _, name := range compute {
			delete(*list, name)
			if q, ok := other[name]; ok {
				if *list == nil {
					*list = corev1.ResourceList{}
				}
				(*list)[name] = q.DeepCopy()
			}
		}
	}
	put(&r.Limits, other.Limits)
	put(&r.Requests, other.Requests)
	return r
}

// has is the CPU and memory that the newest attempt of a container has. Of one that an
// older agent made it is what the API was told.
func (v *view) has() (corev1.ResourceRequirements, bool) {
	if v.labelled != nil {
		return *v.labelled, true
	}
	if v.api != nil && v.api.Resources != nil && (v.current == nil || v.api.ContainerID == containerID(v.current.ID)) {
		return *v.api.Resources, true
	}
	return corev1.ResourceRequirements{}, false
}

// labelled is what LabelResources of a container says; nil if it has none.
func labelled(c *runtime.Container) *corev1.ResourceRequirements {
	var r corev1.ResourceRequirements
	if json.Unmarshal([]byte(c.Labels[LabelResources]), &r) != nil {
		return nil
	}
	return &r
}

// resources are what a container has, or will have when it is started.
func (v *view) resources() *corev1.ResourceRequirements {
	if has, known := v.has(); known && v.phase == running {
		has = withCompute(v.spec.Resources, has)
		return &has
	}
	return v.spec.Resources.DeepCopy()
}

// differing are those of CPU and memory of which a container has another amount than
// it is given.
func (v *view) differing() []corev1.ResourceName {
	has, known := v.has()
	if !known || v.ephemeral {
		return nil
	}
	var names []corev1.ResourceName
	for _, name := range compute {
		if !sameAmount(has.Requests, v.spec.Resources.Requests, name) || !sameAmount(has.Limits, v.spec.Resources.Limits, name) {
			names = append(names, name)
		}
	}
	return names
}

func sameAmount(a, b corev1.ResourceList, name corev1.ResourceName) bool {
	x, hasX := a[name]
	y, hasY := b[name]
	return hasX == hasY && x.Cmp(y) == 0
}

// wantsRestart reports whether the container says that it is restarted when one of what
// differs is resized.
func (v *view) wantsRestart() bool {
	return slices.ContainsFunc(v.spec.ResizePolicy, func(p corev1.ContainerResizePolicy) bool {
		return p.RestartPolicy == corev1.RestartContainer && slices.Contains(v.differing(), p.ResourceName)
	})
}

// restartsToResize reports whether a running container has to be stopped, to be
// started with what it is given.
func (v *view) restartsToResize() bool { return v.phase == running && v.wantsRestart() }

// resources are those of the whole pod.
func (d *decision) resources() runtime.Resources {
	if d.given == nil {
		r := Resources(d.Pod)
		d.given = &r
	}
	return *d.given
}

// resizing reports whether something of the pod does not have yet what it is given.
func (d report) resizing() bool {
	if d.plan.Stopping {
		return false
	}
	for _, v := range d.all() {
		if (v.phase == running || v.phase == exited && v.again() == againAtOnce) && len(v.differing()) > 0 {
			return true
		}
	}
	s := d.Observed.Sandbox
	return s != nil && s.Ready && !sameLimits(s.Resources, d.resources())
}

// resize plans what is resized without a restart.
func (d *decision) resize() {
	s := d.Observed.Sandbox
	if s == nil || !s.Ready {
		return
	}
	step := Resize{Pod: d.resources()}
	for _, v := range d.all() {
		if v.phase == running && len(v.differing()) > 0 {
			step.Containers = append(step.Containers, runtime.Resize{
				ID: v.current.ID, Resources: ContainerResources(d.Pod, &v.spec), Labels: map[string]string{LabelResources: resourcesLabel(&v.spec.Resources)},
			})
		}
	}
	if len(step.Containers) == 0 && sameLimits(s.Resources, step.Pod) {
		return
	}
	if d.Now.Before(d.Resize.Failure.RetryAt) {
		d.wake(d.Resize.Failure.RetryAt)
		return
	}
	d.add(step)
}

// sameLimits compares what a resize can change of what a sandbox has, if that is known.
func sameLimits(has, given runtime.Resources) bool {
	has.PidsLimit, given.PidsLimit = 0, 0
	return has == given || has.CPUShares == 0
}

// resizeConditions says how far it is with a resize.
func (d report) resizeConditions(s *corev1.PodStatus) {
	over := d.plan.Stopping || terminal(s.Phase)
	if p := d.Resize.Pending; p != nil && !over {
		d.setCondition(s, corev1.PodResizePending, corev1.PodCondition{Status: corev1.ConditionTrue, Reason: p.Reason, Message: p.Message})
		condition(s, corev1.PodResizePending).ObservedGeneration = p.Generation
	} else {
		dropCondition(s, corev1.PodResizePending)
	}
	if !d.plan.Resizing || over {
		dropCondition(s, corev1.PodResizeInProgress)
		return
	}
	c := corev1.PodCondition{Status: corev1.ConditionTrue}
	if f := d.Resize.Failure; f.Message != "" {
		c.Reason, c.Message = corev1.PodReasonError, f.Message
	}
	d.setCondition(s, corev1.PodResizeInProgress, c)
	if d.Resize.Generation != 0 {
		condition(s, corev1.PodResizeInProgress).ObservedGeneration = d.Resize.Generation
	}
}

func dropCondition(s *corev1.PodStatus, t corev1.PodConditionType) {
	s.Conditions = slices.DeleteFunc(s.Conditions, func(c corev1.PodCondition) bool { return c.Type == t })
}
