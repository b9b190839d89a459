package scheme

import (
	"fmt"
	"iter"

	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/object"
)

// A kind that is not served yet may be declared by a definition whose names are not
// accepted yet: its objects may be stored, as they may together with it.

// declaring are the definitions in a state of the cluster that declare a kind. Most have
// to be decoded to be looked at whole, which the caller asks for.
func declaring(stored object.Reader, of schema.GroupKind) iter.Seq2[*apiextensionsv1.CustomResourceDefinition, func() *apiextensionsv1.CustomResourceDefinition] {
	return func(yield func(*apiextensionsv1.CustomResourceDefinition, func() *apiextensionsv1.CustomResourceDefinition) bool) {
		list, _ := object.Heads(stored, Definition)
		for _, obj := range list {
			head, ok := obj.(*apiextensionsv1.CustomResourceDefinition)
			if !ok || head.Spec.Group != of.Group || head.Spec.Names.Kind != of.Kind {
				continue
			}
			whole := func() *apiextensionsv1.CustomResourceDefinition {
				crd, _ := stored.Get(object.Key{GroupKind: Definition, Name: head.Name}).(*apiextensionsv1.CustomResourceDefinition)
				return crd
			}
			if !yield(head, whole) {
				return
			}
		}
	}
}

// Coming is the stored definition by which objects of a kind that is not served yet may
// be stored. It is nil if there is none, or its names are refused, and why.
func Coming(stored object.Reader, of schema.GroupKind) (crd *apiextensionsv1.CustomResourceDefinition, refused string) {
	for head, whole := range declaring(stored, of) {
		if head.DeletionTimestamp != nil {
			continue
		}
		if c := apihelpers.FindCRDCondition(head, apiextensionsv1.NamesAccepted); c != nil && c.Status == apiextensionsv1.ConditionFalse {
			refused = fmt.Sprintf("the names of the CustomResourceDefinition %s are not accepted: %s", head.Name, c.Message)
			continue
		}
		if crd := whole(); crd != nil {
			return crd, ""
		}
	}
	return nil, refused
}

// Declared finds a kind that is not among those of s, for who judges objects of it that
// are stored, whatever becomes of their definition.
func (s *Set) Declared(stored object.Reader, of schema.GroupKind) (k *kind.Kind, by *apiextensionsv1.CustomResourceDefinition) {
	if _, own := ForKind(of); own || of.Group == "" {
		return nil, nil
	}
	for _, whole := range declaring(stored, of) {
		crd := whole()
		if crd == nil {
			continue
		}
		if k, ok := s.With(crd).ForKind(of); ok {
			return k, crd
		}
	}
	return nil, nil
}
