package api_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/yaml"

	"headway.dev/engine/api/apitest"
)

// custom is a server with widgets.
type custom struct {
	*apitest.Server
	*testing.T
}

// run runs kubectl, and returns what it prints.
func (c custom) run(stdin string, args ...string) string {
	c.Helper()
	out, errOut, err := c.Kubectl(c, stdin, args...)
	if err != nil {
		c.Fatalf("kubectl %s: %v\n%s%s", strings.Join(args, " "), err, out, errOut)
	}
	return out + errOut
}

// refused runs kubectl, and fails unless it fails with text.
func (c custom) refused(text, stdin string, args ...string) {
	c.Helper()
	out, errOut, err := c.Kubectl(c, stdin, args...)
	if err == nil || !strings.Contains(errOut, text) {
		c.Errorf("kubectl %s: %v\n%s%s, want it refused with %q", strings.Join(args, " "), err, out, errOut, text)
	}
}

// shows fails unless kubectl prints text.
func (c custom) shows(text string, args ...string) {
	c.Helper()
	if out := c.run("", args...); !strings.Contains(out, text) {
		c.Errorf("kubectl %s shows\n%s, want %q in it", strings.Join(args, " "), out, text)
	}
}

// resource is that of an object's kind.
func (c custom) resource(apiVersion, kind string) dynamic.ResourceInterface {
	c.Helper()
	client, err := dynamic.NewForConfig(c.Config)
	if err != nil {
		c.Fatal(err)
	}
	group, err := schema.ParseGroupVersion(apiVersion)
	if err != nil {
		c.Fatal(err)
	}
	resources := client.Resource(group.WithResource(strings.ToLower(kind) + "s"))
	if strings.HasPrefix(kind, "Cluster") || kind == "CustomResourceDefinition" {
		return resources
	}
	return resources.Namespace("default")
}

// create sends a manifest as kubectl create does, but in this process.
func (c custom) create(manifest string, options metav1.CreateOptions) (*unstructured.Unstructured, error) {
	c.Helper()
	u := c.decode(manifest)
	if options.FieldValidation == "" {
		options.FieldValidation = metav1.FieldValidationStrict
	}
	return c.resource(u.GetAPIVersion(), u.GetKind()).Create(c.Context(), u, options)
}

// apply is server-side apply.
func (c custom) apply(manager, manifest string) error {
	c.Helper()
	u := c.decode(manifest)
	_, err := c.resource(u.GetAPIVersion(), u.GetKind()).Apply(c.Context(), u.GetName(), u, metav1.ApplyOptions{FieldManager: manager})
	return err
}

func (c custom) decode(manifest string) *unstructured.Unstructured {
	c.Helper()
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(manifest), &u.Object); err != nil {
		c.Fatal(err)
	}
	return u
}

// merge sends a merge patch for a Widget or a Gadget.
func (c custom) merge(kind, name, patch string, subresources ...string) {
	c.Helper()
	if _, err := c.resource("example.com/v1", kind).Patch(c.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}, subresources...); err != nil {
		c.Errorf("patch %s %s with %s: %v", kind, name, patch, err)
	}
}

// is fails unless the fields of the Widget a have these values.
func (c custom) is(apiVersion string, want map[string]any) {
	c.Helper()
	u, err := c.resource(apiVersion, "Widget").Get(c.Context(), "a", metav1.GetOptions{})
	if err != nil {
		c.Fatal(err)
	}
	for path, value := range want {
		if got, _, err := unstructured.NestedFieldNoCopy(u.Object, strings.Split(path, ".")...); err != nil || got != value {
			c.Errorf("%s: %v %v, want %v", path, got, err, value)
		}
	}
}

// raw reads a path of the API.
func (c custom) raw(path string) (string, error) {
	c.Helper()
	client, err := kubernetes.NewForConfig(c.Config)
	if err != nil {
		c.Fatal(err)
	}
	body, err := client.Discovery().RESTClient().Get().AbsPath(path).DoRaw(c.Context())
	return string(body), err
}

// done fails if there is an error.
func (c custom) done(err error) {
	c.Helper()
	if err != nil {
		c.Fatal(err)
	}
}

// told fails unless the error has the text.
func (c custom) told(text string, err error) {
	c.Helper()
	if err == nil || !strings.Contains(err.Error(), text) {
		c.Errorf("%.1000v, want it refused with %q", err, text)
	}
}

// condition waits until a definition has it.
func (c custom) condition(name, condition string) {
	c.Helper()
	c.eventually("condition "+condition+" of "+name, func() bool {
		u, err := c.resource("apiextensions.k8s.io/v1", "CustomResourceDefinition").Get(c.Context(), name, metav1.GetOptions{})
		if err != nil {
			c.Fatal(err)
		}
		var definition apiextensionsv1.CustomResourceDefinition
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &definition); err != nil {
			c.Fatal(err)
		}
		return slices.ContainsFunc(definition.Status.Conditions, func(had apiextensionsv1.CustomResourceDefinitionCondition) bool {
			return string(had.Type) == condition && had.Status == apiextensionsv1.ConditionTrue
		})
	})
}

func (c custom) eventually(what string, check func() bool) {
	c.Helper()
	err := wait.PollUntilContextTimeout(c.Context(), 20*time.Millisecond, 30*time.Second, true, func(context.Context) (bool, error) { return check(), nil })
	if err != nil {
		c.Fatalf("not within 30 s: %s", what)
	}
}
