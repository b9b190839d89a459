package gateway

import (
	"bytes"
	"compress/gzip"
	"context"
	_ "embed" // the definitions
	"errors"
	"fmt"
	"io"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"headway.dev/engine/controllers/bootstrap"
	"headway.dev/engine/controllers/control"
	"headway.dev/manifests/gateway"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

//go:generate go run ./gen definitions.yaml.gz

//go:embed definitions.yaml.gz
var packed []byte

// Definitions are the CustomResourceDefinitions of the Gateway API that Headway serves, in its
// standard channel.
func Definitions() ([]*apiextensionsv1.CustomResourceDefinition, error) {
	unzipped, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("definitions of the Gateway API: %w", err)
	}
	text, err := io.ReadAll(unzipped)
	if err != nil {
		return nil, fmt.Errorf("definitions of the Gateway API: %w", err)
	}
	var list []*apiextensionsv1.CustomResourceDefinition
	for documents := utilyaml.NewDocumentDecoder(io.NopCloser(bytes.NewReader(text))); ; {
		one := make([]byte, len(text))
		n, err := documents.Read(one)
		if errors.Is(err, io.EOF) {
			return list, nil
		}
		if err != nil {
			return nil, fmt.Errorf("definitions of the Gateway API: %w", err)
		}
		crd := &apiextensionsv1.CustomResourceDefinition{}
		if err := yaml.Unmarshal(one[:n], crd); err != nil {
			return nil, fmt.Errorf("definitions of the Gateway API: %w", err)
		}
		if crd.Name == "" {
			continue
		}
		crd.Status = apiextensionsv1.CustomResourceDefinitionStatus{}
		list = append(list, crd)
	}
}

const (
	// madeDefinitions is the annotation of bootstrap.SystemNamespace with the version of the
	// definitions that the cluster was given, and madeClass the one that it has its class.
	madeDefinitions = "headway.dev/made-gateway-definitions"
	madeClass       = "headway.dev/made-gateway-class"
	// bundleVersion is the annotation of a definition with the version that it is from.
	bundleVersion = "gateway.networking.k8s.io/bundle-version"
)

var definitionKind = apiextensionsv1.SchemeGroupVersion.WithKind("CustomResourceDefinition").GroupKind()

// define makes the definitions, once for each of their versions: whoever changes or deletes
// one is obeyed. Those that are there already are somebody else's.
func (c *controller) define(ctx context.Context) error {
	made := c.made(madeDefinitions)
	if made == nil || *made != "" {
		return nil
	}
	list, err := Definitions()
	if err != nil {
		return err
	}
	changes := []change.Change{c.remember(madeDefinitions, gateway.Version)}
	for _, crd := range list {
		changes = append(changes, change.Absent(change.Create(crd, c.Now())))
	}
	if _, err := c.Commit(ctx, change.Tx{Changes: changes}); err != nil {
		return fmt.Errorf("make the definitions of the Gateway API: %w", err)
	}
	return nil
}

// makeClass makes the class of Headway's own proxy, once.
func (c *controller) makeClass(ctx context.Context) error {
	k, ok := c.Kinds.ForKind(gateway.ClassKind)
	made := c.made(madeClass)
	if !ok || made == nil || *made != "" {
		return nil
	}
	class := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{
		"controllerName": gateway.Controller, "description": "Served by the nodes, in Headway itself",
	}}}
	class.SetGroupVersionKind(gateway.GroupVersion.WithKind(gateway.ClassKind.Kind))
	class.SetName(gateway.Class)
	tx := change.Tx{Changes: []change.Change{c.remember(madeClass, gateway.Class), change.Absent(change.CreateOf(k, class, c.Now()))}}
	if _, err := c.Commit(ctx, tx); err != nil {
		return fmt.Errorf("make the GatewayClass %s: %w", gateway.Class, err)
	}
	return nil
}

var systemNamespace = object.Key{GroupKind: control.Namespace, Name: bootstrap.SystemNamespace}

// made is what the system namespace remembers; nil: there is none yet.
func (c *controller) made(what string) *string {
	ns := control.Get[corev1.Namespace](c.Store, systemNamespace)
	if ns == nil {
		return nil
	}
	return new(ns.Annotations[what])
}

func (c *controller) remember(what, value string) change.Change {
	return change.Patch(systemNamespace, func(obj object.Object) bool {
		metav1.SetMetaDataAnnotation(&obj.(*corev1.Namespace).ObjectMeta, what, value)
		return true
	})
}
