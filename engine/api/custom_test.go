package api_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"

	"headway.dev/engine/api"
	"headway.dev/engine/api/apitest"
	"headway.dev/engine/store"
	"headway.dev/engine/store/record"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

// widgets defines a resource with most of what definitions can have.
const widgets = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget, listKind: WidgetList, shortNames: [wd], categories: [all]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources:
      status: {}
      scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas, labelSelectorPath: .status.selector}
    selectableFields: [{jsonPath: .spec.color}]
    additionalPrinterColumns:
    - {name: Color, type: string, jsonPath: .spec.color}
    - {name: Replicas, type: integer, jsonPath: .spec.replicas}
    schema: &schema
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            required: [color]
            x-kubernetes-validations:
            - {rule: "self.min <= self.replicas", message: "there are fewer replicas than the minimum"}
            properties:
              color: {type: string, enum: [red, green]}
              replicas: {type: integer, default: 2, maximum: 10}
              min: {type: integer, default: 0}
              ports:
                type: array
                x-kubernetes-list-type: map
                x-kubernetes-list-map-keys: [name]
                items: {type: object, required: [name], properties: {name: {type: string}, port: {type: integer}}}
          status:
            type: object
            properties: {replicas: {type: integer}, selector: {type: string}, phase: {type: string}}
  - name: v2
    served: true
    storage: false
    subresources: {status: {}}
    selectableFields: [{jsonPath: .spec.color}]
    schema: *schema
`

func widget(name, spec string) string {
	return fmt.Sprintf("apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: %s}\nspec: %s\n", name, spec)
}

// TestCustomResources takes kubectl and client-go through what a definition can
// have, on one server. Each start of kubectl takes a moment: it is for what only
// kubectl does. What a definition needs is made anew for nearly each request.
func TestCustomResources(t *testing.T) {
	server := apitest.Start(t, func(c *api.Config) { c.Idle = time.Nanosecond })
	server.Config.QPS = -1
	c := custom{server, t}
	c.done(c.apply("git", widgets))
	c.condition("widgets.example.com", "Established")
	c.run(widget("a", "{color: red}"), "create", "--save-config", "-f", "-")
	for _, test := range []struct {
		name string
		run  func(custom)
	}{
		{"validation", custom.validation},
		{"reading", custom.reading},
		{"server-side apply", custom.serverSideApply},
		{"subresources", custom.subresources},
		{"discovery", custom.discovery},
		{"namespaces", custom.namespaces},
		{"rights", custom.rights},
		{"hostile definitions", custom.hostile},
		{"informer", custom.informer},
		{"schema changes", custom.schemaChanges},
		{"deletion", custom.deletion},
		{"restart", custom.restart},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(custom{server, t}) })
	}
}

func (c custom) validation() {
	for text, spec := range map[string]string{
		`Unsupported value: "blue"`:                      "{color: blue}",
		"there are fewer replicas than the minimum":      "{color: red, min: 5}",
		"spec.color: Required value":                     "{}",
		"strict decoding error: unknown field \"spec.ot": "{color: red, other: 1}",
	} {
		_, err := c.create(widget("b", spec), metav1.CreateOptions{})
		c.told(text, err)
	}
	made, err := c.create(widget("b", "{color: green, other: 1}"), metav1.CreateOptions{FieldValidation: metav1.FieldValidationIgnore})
	c.done(err)
	if _, ok, _ := unstructured.NestedFieldNoCopy(made.Object, "spec", "other"); ok {
		c.Errorf("a field that is not in the schema is kept: %v", made)
	}
	_, err = c.create(widget("c", "{color: green}"), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	c.done(err)
	_, err = c.resource("example.com/v1", "Widget").Get(c.Context(), "c", metav1.GetOptions{})
	c.told(`widgets.example.com "c" not found`, err)
	c.refused("strict decoding error: unknown field", widget("b", "{color: red, other: 1}"), "create", "-f", "-")
}

func (c custom) reading() {
	c.is("example.com/v1", map[string]any{"spec.color": "red", "spec.replicas": int64(2)})
	c.is("example.com/v2", map[string]any{"apiVersion": "example.com/v2", "spec.color": "red"})
	c.shows("red     2", "get", "widgets.v1.example.com")
	selected, err := c.resource("example.com/v1", "Widget").List(c.Context(), metav1.ListOptions{FieldSelector: "spec.color=green"})
	c.done(err)
	if len(selected.Items) != 1 || selected.Items[0].GetName() != "b" {
		c.Errorf("selected by a field: %v, want b only", selected.Items)
	}
	c.shows("widget.example.com/a", "get", "all", "-o", "name")
}

func (c custom) serverSideApply() {
	c.done(c.apply("one", widget("ssa", "{color: red, ports: [{name: x, port: 1}]}")))
	c.done(c.apply("two", widget("ssa", "{color: red, ports: [{name: z, port: 2}]}")))
	u, err := c.resource("example.com/v1", "Widget").Get(c.Context(), "ssa", metav1.GetOptions{})
	c.done(err)
	if ports, _, err := unstructured.NestedSlice(u.Object, "spec", "ports"); err != nil || len(ports) != 2 {
		c.Errorf("ports of both: %v %v, want x and z", ports, err)
	}
	c.told(`conflict with "one": .spec.color`, c.apply("two", widget("ssa", "{color: green}")))
	c.run(widget("a", "{color: green}"), "apply", "-f", "-")
	c.is("example.com/v1", map[string]any{"spec.color": "green"})
}

func (c custom) subresources() {
	c.run("", "scale", "widgets.v1.example.com", "a", "--replicas=4")
	c.is("example.com/v1", map[string]any{"spec.replicas": int64(4), "metadata.generation": int64(3)})
	c.merge("Widget", "a", `{"status":{"phase":"Ready"},"spec":{"color":"red"}}`, "status")
	c.is("example.com/v1", map[string]any{"status.phase": "Ready", "spec.color": "green"})
	c.merge("Widget", "a", `{"spec":{"replicas":5},"status":{"phase":"Gone"}}`)
	c.is("example.com/v1", map[string]any{"status.phase": "Ready", "spec.replicas": int64(5)})
}

func (c custom) discovery() {
	c.shows("widgets", "api-resources", "--api-group=example.com")
	c.shows("-required-", "explain", "widget.spec", "--api-version=example.com/v1")
	for path, text := range map[string]string{
		"/apis":                           `"name":"example.com"`, // not aggregated
		"/apis/example.com":               `"preferredVersion":{"groupVersion":"example.com/v2"`,
		"/apis/example.com/v1":            `"name":"widgets/scale"`,
		"/apis/example.com/v2":            `"name":"widgets/status"`,
		"/openapi/v2":                     "com.example.v1.Widget",
		"/openapi/v3":                     "/openapi/v3/apis/example.com/v1?hash=",
		"/openapi/v3/apis/example.com/v1": "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta",
	} {
		if body, err := c.raw(path); err != nil || !strings.Contains(body, text) {
			c.Errorf("%s: %v, want %q in\n%.2000s", path, err, text, body)
		}
	}
	_, err := c.raw("/openapi/v3/apis/example.com/v3")
	c.told("the server could not find the requested resource", err)
}

// namespaces: nothing new comes into one that goes, and is told by its resource's name.
func (c custom) namespaces() {
	client, err := dynamic.NewForConfig(c.Config)
	c.done(err)
	all := client.Resource(schema.GroupVersionResource{Version: "v1", Resource: "namespaces"})
	_, err = all.Create(c.Context(), c.decode("apiVersion: v1\nkind: Namespace\nmetadata: {name: going}\n"), metav1.CreateOptions{})
	c.done(err)
	c.done(all.Delete(c.Context(), "going", metav1.DeleteOptions{}))
	widgets := client.Resource(schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "widgets"})
	_, err = widgets.Namespace("going").Create(c.Context(), c.decode(widget("late", "{color: red}")), metav1.CreateOptions{})
	c.told(`widgets.example.com "late" is forbidden: unable to create new content in namespace going because it is being terminated`, err)
	if !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		c.Errorf("the cause is not told: %v", err)
	}
}

func (c custom) rights() {
	for _, manifest := range []string{
		"apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: reader}\nrules: [{apiGroups: [example.com], resources: [widgets], verbs: [get, list]}]\n",
		"apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {name: reader}\nroleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: reader}\nsubjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: jane}]\n",
	} {
		_, err := c.create(manifest, metav1.CreateOptions{})
		c.done(err)
	}
	jane := c.KubeconfigFor(c, "jane")
	if out, errOut, err := c.KubectlAs(c, jane, "", "get", "widgets", "-o", "name"); err != nil || !strings.Contains(out, "widget.example.com/a") {
		c.Errorf("jane lists %q: %v %s", out, err, errOut)
	}
	if _, errOut, err := c.KubectlAs(c, jane, "", "delete", "widget", "a"); err == nil || !strings.Contains(errOut, `User "jane" cannot delete resource "widgets" in API group "example.com"`) {
		c.Errorf("jane deletes: %v %s", err, errOut)
	}
}

// hostile are definitions that are refused, or would harm the server.
func (c custom) hostile() {
	definition := func(names, schema string) string {
		return "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\n" + names + "\n  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: " + schema + "}}]\n"
	}
	const bad = "metadata: {name: bads.example.org}\nspec:\n  group: example.org\n  scope: Cluster\n  names: {plural: bads, kind: Bad}"
	for text, manifest := range map[string]string{
		"protected groups must have approval annotation":    definition(strings.ReplaceAll(bad, "example.org", "example.k8s.io"), "{type: object}"),
		"must not be empty at the root":                     definition(bad, "{properties: {a: {type: string}}}"),
		"estimated rule cost exceeds budget":                definition(bad, `{type: object, properties: {a: {type: array, items: {type: array, items: {type: string}}}}, x-kubernetes-validations: [{rule: "self.a.all(x, x.all(y, self.a.all(z, z.exists(w, w.contains(y)))))"}]}`),
		"compilation failed":                                definition(bad, `{type: object, x-kubernetes-validations: [{rule: "self.nothing == "}]}`),
		"Headway serves Pod itself":                         definition(strings.ReplaceAll(strings.ReplaceAll(bad, "example.org", ""), "Bad", "Pod"), "{type: object}"),
		"Headway serves apps/v1 itself, and no other kinds": definition(strings.ReplaceAll(bad, "example.org", "apps"), "{type: object}"),
		`must be spec.names.plural+"."+spec.group`:          definition(strings.ReplaceAll(bad, "bads.example.org", "other.example.org"), "{type: object}"),
	} {
		_, err := c.create(manifest, metav1.CreateOptions{FieldValidation: metav1.FieldValidationIgnore})
		c.told(text, err)
	}
	c.is("example.com/v1", map[string]any{"kind": "Widget"})
}

func (c custom) informer() {
	client, err := dynamic.NewForConfig(c.Config)
	if err != nil {
		c.Fatal(err)
	}
	gvr := schema.GroupVersionResource{Group: "example.com", Version: "v2", Resource: "widgets"}
	seen := make(chan string, 100)
	factory := dynamicinformer.NewDynamicSharedInformerFactory(client, 0)
	tell := func(what string) func(any) {
		return func(obj any) {
			if u, ok := obj.(*unstructured.Unstructured); ok && u.GetName() == "watched" {
				seen <- what + " " + u.GetAPIVersion()
			}
		}
	}
	if _, err := factory.ForResource(gvr).Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: tell("added"), UpdateFunc: func(_, obj any) { tell("changed")(obj) }, DeleteFunc: tell("deleted"),
	}); err != nil {
		c.Fatal(err)
	}
	ctx, cancel := context.WithCancel(c.Context())
	defer factory.Shutdown()
	defer cancel()
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	_, err = c.create(widget("watched", "{color: red}"), metav1.CreateOptions{})
	c.done(err)
	c.merge("Widget", "watched", `{"metadata":{"labels":{"a":"b"}}}`)
	c.done(c.resource("example.com/v1", "Widget").Delete(c.Context(), "watched", metav1.DeleteOptions{}))
	for _, want := range []string{"added example.com/v2", "changed example.com/v2", "deleted example.com/v2"} {
		select {
		case got := <-seen:
			if got != want {
				c.Errorf("seen %q, want %q", got, want)
			}
		case <-time.After(10 * time.Second):
			c.Fatalf("nothing seen, want %q", want)
		}
	}
}

// schemaChanges: what is stored gets the defaults of the schema of today, and is
// written in the version that is stored from now on.
func (c custom) schemaChanges() {
	c.done(c.apply("git", strings.NewReplacer("storage: true", "storage: false", "storage: false", "storage: true",
		"min: {type: integer, default: 0}", "min: {type: integer, default: 0}\n              size: {type: string, default: large}").Replace(widgets)))
	c.eventually("the new default", func() bool {
		u, err := c.resource("example.com/v1", "Widget").Get(c.Context(), "a", metav1.GetOptions{})
		c.done(err)
		size, _, _ := unstructured.NestedString(u.Object, "spec", "size")
		return size == "large"
	})
	stored := func() string {
		obj := c.Store.Get(object.Key{GroupKind: schema.GroupKind{Group: "example.com", Kind: "Widget"}, Namespace: "default", Name: "a"})
		return obj.GetObjectKind().GroupVersionKind().Version
	}
	if got := stored(); got != "v1" {
		c.Errorf("stored in version %s before it is written, want v1", got)
	}
	c.merge("Widget", "a", `{"metadata":{"labels":{"touched":"yes"}}}`)
	if got := stored(); got != "v2" {
		c.Errorf("stored in version %s, want v2", got)
	}
	c.shows(`["v1","v2"]`, "get", "crd", "widgets.example.com", "-o", "jsonpath={.status.storedVersions}")
}

func (c custom) deletion() {
	gadgets := strings.NewReplacer("widget", "gadget", "Widget", "Gadget", "[wd]", "[gd]").Replace(widgets)
	gadget := strings.NewReplacer("Widget", "Gadget").Replace(widget("a", "{color: red}"))
	c.done(c.apply("git", gadgets))
	c.condition("gadgets.example.com", "Established")
	_, err := c.create(gadget, metav1.CreateOptions{})
	c.done(err)
	c.merge("Gadget", "a", `{"metadata":{"finalizers":["example.com/held"]}}`)
	definitions := c.resource("apiextensions.k8s.io/v1", "CustomResourceDefinition")
	c.done(definitions.Delete(c.Context(), "gadgets.example.com", metav1.DeleteOptions{}))
	c.condition("gadgets.example.com", "Terminating")
	_, err = c.create(strings.Replace(gadget, "name: a", "name: b", 1), metav1.CreateOptions{})
	c.told("create not allowed while custom resource definition is terminating", err)
	c.merge("Gadget", "a", `{"metadata":{"finalizers":null}}`)
	c.eventually("the definition is gone", func() bool {
		_, err := definitions.Get(c.Context(), "gadgets.example.com", metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	})
	c.refused("the server", "", "get", "gadgets")
	if list, _ := c.Store.List(schema.GroupKind{Group: "example.com", Kind: "Gadget"}, ""); len(list) > 0 {
		c.Errorf("%d gadgets are left", len(list))
	}
}

// restart reads the store's file again: the objects are there, whatever comes
// first in it, and their kinds are known.
func (c custom) restart() {
	c.Stop()
	if err := c.Store.Close(); err != nil {
		c.Fatal(err)
	}
	var kinds scheme.Registry
	again, err := store.Open(store.Options{Path: c.StoreFile, Codec: record.Any, Observe: kinds.Observe})
	if err != nil {
		c.Fatal(err)
	}
	defer func() {
		if err := again.Close(); err != nil {
			c.Error(err)
		}
	}()
	k, ok := kinds.ForResource(schema.GroupResource{Group: "example.com", Resource: "widgets"})
	if !ok || !k.Namespaced || k.Version != "v2" {
		c.Fatalf("the kind is %+v, %t", k, ok)
	}
	obj, ok := again.Get(object.Key{GroupKind: k.GroupKind(), Namespace: "default", Name: "a"}).(*unstructured.Unstructured)
	if !ok {
		c.Fatal("the widget is gone")
	}
	if replicas, _, err := unstructured.NestedInt64(obj.Object, "spec", "replicas"); err != nil || replicas != 5 {
		c.Errorf("replicas %v %v, want the integer 5", replicas, err)
	}
}
