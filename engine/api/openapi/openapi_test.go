package openapi_test

import (
	"math/rand"
	"slices"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/api/apitesting/fuzzer"
	metafuzzer "k8s.io/apimachinery/pkg/apis/meta/fuzzer"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/client-go/applyconfigurations"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/typed"

	"headway.dev/engine/api/openapi"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

// The merge rules that are read from the Go sources (which lists are maps, by
// which keys, what is atomic) are those that Kubernetes publishes: random
// objects have the same fields by both.
func TestMergeRulesAreKubernetes(t *testing.T) {
	ours, published := openapi.TypeConverter(), applyconfigurations.NewTypeConverter(scheme.Scheme)
	fill := fuzzer.FuzzerFor(metafuzzer.Funcs, rand.NewSource(1), scheme.Codecs)
	for _, kind := range scheme.Kinds() {
		if strings.HasSuffix(kind.Group, ".fluxcd.io") || slices.Contains([]string{"apiextensions.k8s.io", "apiregistration.k8s.io"}, kind.Group) {
			continue // client-go has no rules for them
		}
		// Some random objects have list items without their keys, never most of them.
		compared, tries := 0, 0
		for ; compared < 20 && tries < 1000; tries++ {
			obj := kind.New()
			fill.Fill(obj)
			obj.GetObjectKind().SetGroupVersionKind(kind.GroupVersionKind)
			obj.SetManagedFields(nil)
			// Random lists may repeat a key, which typed values refuse.
			got, gotErr := fields(ours, obj)
			want, wantErr := fields(published, obj)
			if (gotErr == nil) != (wantErr == nil) {
				t.Errorf("%s: ours says %v, the published rules %v", kind.GroupKind(), gotErr, wantErr)
				break
			}
			if gotErr != nil {
				continue
			}
			compared++
			if !got.Equals(want) {
				t.Errorf("%s: only ours:\n%s\nonly published:\n%s", kind.GroupKind(), got.Difference(want), want.Difference(got))
				break
			}
		}
		if tries == 1000 {
			t.Errorf("%s: of 1000 random objects %d could be compared", kind.GroupKind(), compared)
		}
	}
}

func fields(c managedfields.TypeConverter, obj object.Object) (*fieldpath.Set, error) {
	value, err := c.ObjectToTyped(obj, typed.AllowDuplicates)
	if err != nil {
		return nil, err
	}
	return value.ToFieldSet()
}

// Every kind is known, Flux' by the semantics of their comments.
func TestEveryKindIsKnown(t *testing.T) {
	for _, kind := range scheme.Kinds() {
		obj := kind.New()
		obj.GetObjectKind().SetGroupVersionKind(kind.GroupVersionKind)
		obj.SetLabels(map[string]string{"a": "b"})
		obj.SetOwnerReferences([]metav1.OwnerReference{{UID: "u", Name: "n"}})
		value, err := openapi.TypeConverter().ObjectToTyped(obj)
		if err != nil {
			t.Errorf("%s: %v", kind.Kind, err)
			continue
		}
		set, err := value.ToFieldSet()
		if err != nil {
			t.Errorf("%s: %v", kind.Kind, err)
			continue
		}
		if !set.Has(fieldpath.MakePathOrDie("metadata", "labels", "a")) || !set.Has(fieldpath.MakePathOrDie("metadata", "ownerReferences", fieldpath.KeyByFields("uid", "u"))) {
			t.Errorf("%s: fields %s", kind.Kind, set)
		}
	}
}

// What is created and not stored passes the field manager, too.
func TestReviewsHaveTypes(t *testing.T) {
	for _, obj := range []runtime.Object{
		&authenticationv1.TokenRequest{}, &authenticationv1.TokenReview{}, &authenticationv1.SelfSubjectReview{},
		&authorizationv1.SubjectAccessReview{}, &authorizationv1.LocalSubjectAccessReview{},
		&authorizationv1.SelfSubjectAccessReview{}, &authorizationv1.SelfSubjectRulesReview{},
	} {
		gvks, _, err := scheme.Scheme.ObjectKinds(obj)
		if err != nil {
			t.Fatal(err)
		}
		obj.GetObjectKind().SetGroupVersionKind(gvks[0])
		if _, err := openapi.TypeConverter().ObjectToTyped(obj); err != nil {
			t.Errorf("%s: %v", gvks[0].Kind, err)
		}
	}
}
