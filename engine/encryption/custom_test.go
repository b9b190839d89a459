package encryption_test

import (
	"bytes"
	"fmt"
	"os"
	"testing"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/engine/encryption"
	"headway.dev/engine/store"
	"headway.dev/engine/store/record"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

// withKinds opens the store for a moment as the engine does, with the kinds that its
// definitions define.
func (h *home) withKinds(f func(*store.Store, *encryption.Cipher)) {
	h.t.Helper()
	var kinds scheme.Registry
	c, err := encryption.Open(encryption.Config{KeyFile: h.keyFile(), ProviderConfig: h.config, Kinds: &kinds})
	if err != nil {
		h.t.Fatal(err)
	}
	defer c.Close()
	s, err := store.Open(store.Options{Path: h.db(), Cipher: c, Codec: record.Any, Define: kinds.Observe, Observe: kinds.Observe})
	if err == nil {
		err = c.Save()
	}
	if err != nil {
		h.t.Fatal(err)
	}
	f(s, c)
	h.close(s)
}

// definitionOf defines a kind whose names are accepted.
func definitionOf(plural, kind string) *apiextensionsv1.CustomResourceDefinition {
	names := apiextensionsv1.CustomResourceDefinitionNames{Plural: plural, Singular: plural, Kind: kind, ListKind: kind + "List"}
	return &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: plural + ".example.com"},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: "example.com", Names: names, Scope: apiextensionsv1.NamespaceScoped,
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{Name: "v1", Served: true, Storage: true}},
		},
		Status: apiextensionsv1.CustomResourceDefinitionStatus{AcceptedNames: names},
	}
}

func resourceOf(kind, name, text string) change.Change {
	u := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "example.com/v1", "kind": kind, "metadata": map[string]any{"namespace": "default", "name": name}, "spec": map[string]any{"text": text},
	}}
	key := object.KeyOf(schema.GroupKind{Group: "example.com", Kind: kind}, u)
	return change.Change{Key: key, Mutate: func(object.Object) (object.Object, error) { return u, nil }}
}

func textOf(s *store.Store, kind, name string) string {
	u, ok := s.Get(object.Key{GroupKind: schema.GroupKind{Group: "example.com", Kind: kind}, Namespace: "default", Name: name}).(*unstructured.Unstructured)
	if !ok {
		return ""
	}
	text, _, _ := unstructured.NestedString(u.Object, "spec", "text")
	return text
}

// An EncryptionConfiguration decides for custom resources as for others, also for those
// that come in one transaction with their definition, and those whose definition is
// gone. Wisdom is the kind, and oracles the resource: the one is not told by the other.
func TestCustomResourcesAreEncrypted(t *testing.T) {
	const key1, key2 = "c2VjcmV0IGlzIHNlY3VyZSwgb3IgaXMgaXQ/IHllcyE=", "dGhpcyBpcyBwYXNzd29yZCB0b28sIGFuZCBsb25nIDE="
	keys := func(name, secret string) string { return fmt.Sprintf("{keys: [{name: %s, secret: %s}]}", name, secret) }
	h := newHome(t)
	h.providers("- resources: [widgets.example.com]\n  providers: [{aescbc: " + keys("k", key1) + "}, {identity: {}}]\n")
	h.withKinds(func(s *store.Store, _ *encryption.Cipher) {
		commit(t, s, change.Create(definitionOf("widgets", "Widget"), time.Now()), resourceOf("Widget", "together", secretText))
		commit(t, s, change.Create(definitionOf("oracles", "Wisdom"), time.Now()))
		for _, name := range []string{"widgets", "oracles"} {
			definition := object.Key{GroupKind: scheme.Definition, Name: name + ".example.com"}
			commit(t, s, change.PatchStatus(definition, func(obj object.Object) bool {
				crd, ok := obj.(*apiextensionsv1.CustomResourceDefinition)
				if ok {
					crd.Status.AcceptedNames = crd.Spec.Names
				}
				return ok
			}))
		}
		commit(t, s, resourceOf("Widget", "later", secretText), resourceOf("Wisdom", "plain", openText))
	})
	for _, c := range []struct {
		name, resources string
		has, hasNot     []string
	}{
		{"named", "", []string{"k8s:enc:aescbc:v1:k:", openText}, []string{secretText}},
		{
			"two of one group, by one name of their keys",
			"- resources: [oracles.example.com]\n  providers: [{aescbc: " + keys("k", key2) + "}, {identity: {}}]\n- resources: [widgets.example.com]\n  providers: [{aescbc: " + keys("k", key1) + "}]\n",
			[]string{"k8s:enc:aescbc:v1:k:"},
			[]string{secretText, openText},
		},
		{
			"the group", "- resources: ['*.example.com']\n  providers: [{secretbox: " + keys("box", key2) + "}, {aescbc: " + keys("k", key1) + "}, {aescbc: " + keys("k", key2) + "}]\n",
			[]string{"k8s:enc:secretbox:v1:box:"},
			[]string{"k8s:enc:aescbc", secretText, openText},
		},
		{
			"everything", "- resources: ['*.*']\n  providers: [{aesgcm: " + keys("all", key1) + "}, {secretbox: " + keys("box", key2) + "}, {identity: {}}]\n",
			[]string{"k8s:enc:aesgcm:v1:all:"},
			[]string{"k8s:enc:secretbox", secretText, openText},
		},
		{
			"no longer", "- resources: ['*.*']\n  providers: [{identity: {}}, {aesgcm: " + keys("all", key1) + "}]\n",
			[]string{secretText, openText},
			[]string{"k8s:enc:"},
		},
	} {
		if c.resources != "" {
			h.providers(c.resources)
		}
		h.withKinds(func(s *store.Store, _ *encryption.Cipher) {
			if got := []string{textOf(s, "Widget", "together"), textOf(s, "Widget", "later"), textOf(s, "Wisdom", "plain")}; got[0] != secretText || got[1] != secretText || got[2] != openText {
				t.Errorf("%s: read is %q", c.name, got)
			}
			if stale := s.Stale(); stale != (c.resources != "") {
				t.Errorf("%s: stale is %v", c.name, stale)
			}
			if err := s.Reencrypt(t.Context(), nil); err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
			commit(t, s, resourceOf("Widget", "later", secretText))
		})
		data, err := os.ReadFile(h.db())
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range c.has {
			if !bytes.Contains(data, []byte(text)) {
				t.Errorf("%s: the file does not have %q", c.name, text)
			}
		}
		for _, text := range c.hasNot {
			if bytes.Contains(data, []byte(text)) {
				t.Errorf("%s: the file has %q", c.name, text)
			}
		}
	}

	// Without their definition they are read all the same.
	h.providers("- resources: [oracles.example.com]\n  providers: [{aescbc: " + keys("k", key2) + "}, {identity: {}}]\n")
	h.withKinds(func(s *store.Store, _ *encryption.Cipher) {
		if err := s.Reencrypt(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		definition := object.Key{GroupKind: scheme.Definition, Name: "oracles.example.com"}
		commit(t, s, change.Change{Key: definition, Mutate: func(object.Object) (object.Object, error) { return nil, nil }})
	})
	if h.contains(openText) {
		t.Error("what the configuration names is in clear")
	}
	h.withKinds(func(s *store.Store, _ *encryption.Cipher) {
		if got := []string{textOf(s, "Widget", "together"), textOf(s, "Wisdom", "plain")}; got[0] != secretText || got[1] != openText {
			t.Errorf("without a definition: read is %q", got)
		}
	})
}
