package scheme_test

import (
	"testing"

	"headway.dev/manifests/model/scheme"
)

// Every kind is registered under its own group, version and kind.
func TestKinds(t *testing.T) {
	for _, k := range scheme.Kinds() {
		key, err := scheme.KeyOf(k.New())
		if err != nil {
			t.Errorf("KeyOf(%s): %v", k.GroupVersionKind, err)
			continue
		}
		if key.GroupKind != k.GroupKind() {
			t.Errorf("KeyOf(%s) = %s", k.GroupVersionKind, key.GroupKind)
		}
		if _, _, err := scheme.Scheme.ObjectKinds(k.NewList()); err != nil {
			t.Errorf("list of %s: %v", k.GroupVersionKind, err)
		}
	}
}
