package why

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/syncer/wire"
)

var claimKind = schema.GroupKind{Kind: "PersistentVolumeClaim"}

// claim is what there is to say of a claim: its own events while it has no volume,
// and then the reasons of the pods that use it, since a volume of the local
// provisioner comes with the node of the first of them.
func (a *asked) claim(out *wire.Why, c *corev1.PersistentVolumeClaim) []found {
	users := a.users(c)
	out.State, out.Message = stateOfClaim(c)
	reasons := ofClaim(c, a.told[c.UID], users)
	if !a.pods || c.Status.Phase == corev1.ClaimBound {
		return reasons
	}
	return append(reasons, together(users, func(p *corev1.Pod) []found { return ofPod(p, a.facts(p)) })...)
}

// users are the pods that use a claim and have not ended, as far as the caller may
// see them.
func (a *asked) users(c *corev1.PersistentVolumeClaim) (pods []*corev1.Pod) {
	if !a.pods {
		return nil
	}
	list, _ := a.Env.Store.List(podKind, c.Namespace)
	for _, o := range list {
		p, ok := o.(*corev1.Pod)
		if ok && p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed && uses(p, c.Name) {
			pods = append(pods, p)
		}
	}
	return pods
}

func uses(p *corev1.Pod, claim string) bool {
	return slices.ContainsFunc(p.Spec.Volumes, func(v corev1.Volume) bool {
		return v.PersistentVolumeClaim != nil && v.PersistentVolumeClaim.ClaimName == claim ||
			v.Ephemeral != nil && p.Name+"-"+v.Name == claim
	})
}

func stateOfClaim(c *corev1.PersistentVolumeClaim) (wire.WhyState, string) {
	switch {
	case c.DeletionTimestamp != nil:
		return wire.WhyTerminating, "it has been deleted and is not gone yet"
	case c.Status.Phase == corev1.ClaimBound:
		return wire.WhyBound, "it has the volume " + c.Spec.VolumeName
	case c.Status.Phase == corev1.ClaimLost:
		return wire.WhyFailed, "its volume " + c.Spec.VolumeName + " is gone"
	}
	return wire.WhyWaiting, "it has no volume yet"
}

// ofClaim are the reasons of a claim itself. users are the pods that use it.
func ofClaim(c *corev1.PersistentVolumeClaim, events []*corev1.Event, users []*corev1.Pod) (list []found) {
	var names []string
	for _, p := range users {
		if len(names) < mostPods {
			names = append(names, p.Name)
		}
	}
	if c.DeletionTimestamp != nil {
		r := wire.WhyReason{Reason: "Terminating", Time: c.DeletionTimestamp.Time, Message: "it has been deleted, and stays until nobody waits for it any more: " + strings.Join(c.Finalizers, ", ")}
		if len(names) > 0 {
			r.Message += "; pods use it"
			r.Pods, r.Count = names, len(users)
			r.Fixes = []string{"delete the pods that use it, or what runs them"}
		}
		list = append(list, found{WhyReason: r})
	}
	if c.Status.Phase == corev1.ClaimBound {
		r := wire.WhyReason{Reason: "Bound", Message: "it has been bound to the volume " + c.Spec.VolumeName, Object: "PersistentVolume/" + c.Spec.VolumeName, Pods: names, Count: len(users)}
		return append(list, found{WhyReason: r})
	}
	if c.Status.Phase == corev1.ClaimLost {
		return append(list, found{WhyReason: wire.WhyReason{Reason: "ClaimLost", Message: fmt.Sprintf("the volume %s does not exist any more, and its data neither", c.Spec.VolumeName), Fixes: []string{"delete the claim and make it anew"}}})
	}
	if len(events) == 0 {
		return append(list, found{WhyReason: wire.WhyReason{Reason: "Pending", Message: "it is about to be looked at"}})
	}
	e := events[len(events)-1]
	r := wire.WhyReason{Reason: e.Reason, Message: e.Message, Time: firstTime(e)}
	fields := []string{"spec.storageClassName"}
	switch {
	case e.Reason == "WaitForFirstConsumer" && len(users) == 0:
		r.Fixes = []string{"run a pod that uses it: the volume is made on that pod's node"}
	case strings.HasSuffix(e.Message, " not found"):
		r.Fixes = []string{"create the StorageClass that the message names, or change spec.storageClassName"}
	case e.Reason == "FailedBinding":
		r.Fixes = []string{"create a PersistentVolume that fits it, or set spec.storageClassName to a class that makes volumes"}
	}
	return append(list, found{r, fields})
}
