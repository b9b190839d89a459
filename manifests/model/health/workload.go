package health

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/object"
)

var podKind = schema.GroupKind{Kind: "Pod"}

// WhyPods returns what is wrong with the pods of owner: the trouble of the
// first pod with the most serious kind of trouble, and how many others have the
// same.
func WhyPods(owner object.Object, reader object.Reader) string {
	if reader == nil {
		return ""
	}
	var gravest trouble
	var name string
	others := 0
	for _, o := range Dependents(reader, podKind, owner) {
		p, ok := o.(*corev1.Pod)
		if !ok || p.DeletionTimestamp != nil {
			continue
		}
		t := troubleOf(p, reader)
		switch {
		case t.gravity == 0:
		case t.gravity > gravest.gravity:
			gravest, name, others = t, p.Name, 0
		case t.reason == gravest.reason:
			others++
		}
	}
	if gravest.gravity == 0 {
		return ""
	}
	message := "pod " + name + ": " + gravest.String()
	switch {
	case others == 1:
		message += " (and 1 more pod)"
	case others > 1:
		message += fmt.Sprintf(" (and %d more pods)", others)
	}
	return message
}

// Replicas are the counts by which a kind that keeps a number of pods running is
// judged.
type Replicas struct {
	Kind                                  string
	Observed                              int64
	Want, Are, Labelled, Available, Ready int32
	// Failure is why pods could not be made or deleted; empty if they could.
	Failure string
}

// Of judges owner by the counts of its status.
func (r Replicas) Of(owner object.Object, reader object.Reader) Result {
	if result, yes := Behind(r.Kind, owner.GetGeneration(), r.Observed); yes {
		return result
	}
	if r.Failure != "" {
		return Result{Status: InProgress, Message: "Replica Failure condition. " + r.Failure}
	}
	message := ""
	switch {
	case r.Want > r.Labelled:
		message = fmt.Sprintf("Labelled: %d/%d", r.Labelled, r.Want)
	case r.Want > r.Available:
		message = fmt.Sprintf("Available: %d/%d", r.Available, r.Want)
	case r.Want > r.Ready:
		message = fmt.Sprintf("Ready: %d/%d", r.Ready, r.Want)
	case r.Are > r.Want:
		message = fmt.Sprintf("Pending termination: %d", r.Are-r.Want)
	default:
		return Result{Status: Current, Message: fmt.Sprintf("%s is available. Replicas: %d", r.Kind, r.Are)}
	}
	if why := WhyPods(owner, reader); why != "" {
		message += "; " + why
	}
	return Result{Status: InProgress, Message: message}
}
