// Package admissiontest makes admission plugins for tests.
package admissiontest

import (
	"context"

	"k8s.io/apimachinery/pkg/runtime/schema"
	kadmission "k8s.io/apiserver/pkg/admission"

	"headway.dev/engine/admission"
	"headway.dev/manifests/model/object"
)

// Write is what a plugin sees of a write.
type Write struct {
	// Op is CREATE, UPDATE or DELETE.
	Op, User string
	// Name is the object's.
	Name   string
	DryRun bool
	// Object is what is to be stored, nil for a deletion.
	Object object.Object
}

// Refuse returns a plugin that refuses the writes of a resource of which refuses
// returns an error, as Forbidden for that reason.
func Refuse(resource string, refuses func(Write) error) admission.Plugin {
	return admission.Plugin{Name: "Refuse", Interface: plugin{resource: resource, refuses: refuses}}
}

// Change returns a plugin that changes objects of a resource before they are
// stored.
func Change(resource string, change func(Write)) admission.Plugin {
	return admission.Plugin{Name: "Change", Interface: plugin{resource: resource, change: change}}
}

type plugin struct {
	resource string
	refuses  func(Write) error
	change   func(Write)
}

// Handles implements admission.Interface.
func (plugin) Handles(op kadmission.Operation) bool { return op != kadmission.Connect }

// Wants implements admission.Selective.
func (p plugin) Wants(resource schema.GroupResource, subresource string) bool {
	return resource.Resource == p.resource && subresource == ""
}

// Admit implements admission.MutationInterface.
func (p plugin) Admit(_ context.Context, attrs kadmission.Attributes, _ kadmission.ObjectInterfaces) error {
	if w := writeOf(attrs); p.change != nil && w.Object != nil {
		p.change(w)
	}
	return nil
}

// Validate implements admission.ValidationInterface.
func (p plugin) Validate(_ context.Context, attrs kadmission.Attributes, _ kadmission.ObjectInterfaces) error {
	if p.refuses == nil {
		return nil
	}
	if err := p.refuses(writeOf(attrs)); err != nil {
		return kadmission.NewForbidden(attrs, err)
	}
	return nil
}

func writeOf(attrs kadmission.Attributes) Write {
	w := Write{Op: string(attrs.GetOperation()), User: attrs.GetUserInfo().GetName(), Name: attrs.GetName(), DryRun: attrs.IsDryRun()}
	w.Object, _ = attrs.GetObject().(object.Object)
	return w
}
