package syncer_test

import (
	"os"
	"reflect"
	"strings"
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
)

// The page of what is honoured of Flux has each field of both kinds, so that a
// field which a new version of the API brings is not passed over.
func TestFluxPageHasAllFields(t *testing.T) {
	page, err := os.ReadFile("../docs/gitops/flux.md")
	if err != nil {
		t.Fatal(err)
	}
	for kind, types := range map[string][]reflect.Type{
		sourcev1.GitRepositoryKind:    {reflect.TypeFor[sourcev1.GitRepositorySpec](), reflect.TypeFor[sourcev1.GitRepositoryRef](), reflect.TypeFor[sourcev1.GitRepositoryStatus]()},
		kustomizev1.KustomizationKind: {reflect.TypeFor[kustomizev1.KustomizationSpec](), reflect.TypeFor[kustomizev1.PostBuild](), reflect.TypeFor[kustomizev1.KustomizationStatus]()},
	} {
		_, section, found := strings.Cut(string(page), "\n## "+kind+"\n")
		section, _, _ = strings.Cut(section, "\n## ")
		if !found {
			t.Errorf("no section about %s", kind)
		}
		for _, typ := range types {
			for _, name := range jsonNames(typ) {
				if !strings.Contains(section, "`"+name+"`") {
					t.Errorf("%s: nothing about %s of %s", kind, name, typ.Name())
				}
			}
		}
	}
}

// jsonNames are the fields of a type, those of embedded types among them.
func jsonNames(typ reflect.Type) []string {
	var names []string
	for field := range typ.Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if field.Anonymous {
			names = append(names, jsonNames(field.Type)...)
		} else {
			names = append(names, name)
		}
	}
	return names
}
