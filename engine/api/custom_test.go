package api_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"

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

func widget(name, spec string) string {
	return fmt.Sprintf("apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: %s}\nspec: %s\n", name, spec)
}

// TestCustomResources takes kubectl and client-go through what a definition can
// have, on one server.
func TestCustomResources(t *testing.T) {
	server := apitest.Start(t)
	c := custom{server, t}
	c.run(widgets, "apply", "-f", "-")
	c.run("", "wait", "--for=condition=Established", "crd/widgets.example.com", "--timeout=10s")
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
	c.refused(`Unsupported value: "blue"`, widget("b", "{color: blue}"), "create", "-f", "-")
	c.refused("there are fewer replicas than the minimum", widget("b", "{color: red, min: 5}"), "create", "-f", "-")
	c.refused("spec.color: Required value", widget("b", "{}"), "create", "-f", "-")
	c.refused("strict decoding error: unknown field", widget("b", "{color: red, other: 1}"), "create", "-f", "-")
	if out := c.run(widget("b", "{color: green, other: 1}"), "create", "--validate=ignore", "-o", "json", "-f", "-"); strings.Contains(out, "other") {
		c.Errorf("a field that is not in the schema is kept: %s", out)
	}
	c.run(widget("c", "{color: green}"), "create", "--dry-run=server", "-f", "-")
	c.refused(`widgets.example.com "c" not found`, "", "get", "widget", "c")
}

func (c custom) reading() {
	c.shows("red 2", "get", "widget", "a", "-o", "jsonpath={.spec.color} {.spec.replicas}")
	c.shows("red     2", "get", "widgets.v1.example.com")
	c.shows("example.com/v2 red", "get", "widgets.v2.example.com", "a", "-o", "jsonpath={.apiVersion} {.spec.color}")
	if got := c.run("", "get", "widget", "--field-selector", "spec.color=green", "-o", "name"); got != "widget.example.com/b\n" {
		c.Errorf("selected by a field: %q, want b only", got)
	}
	c.shows("widget.example.com/a", "get", "all", "-o", "name")
}

func (c custom) serverSideApply() {
	apply := func(manager string) []string {
		return []string{"apply", "--server-side", "--field-manager=" + manager, "-f", "-"}
	}
	c.run(widget("ssa", "{color: red, ports: [{name: x, port: 1}]}"), apply("one")...)
	c.run(widget("ssa", "{color: red, ports: [{name: z, port: 2}]}"), apply("two")...)
	c.shows("x z", "get", "widget", "ssa", "-o", "jsonpath={.spec.ports[*].name}")
	c.refused(`conflict with "one": .spec.color`, widget("ssa", "{color: green}"), apply("two")...)
	c.run(widget("a", "{color: green}"), "apply", "-f", "-")
	c.shows("green", "get", "widget", "a", "-o", "jsonpath={.spec.color}")
}

func (c custom) subresources() {
	c.run("", "scale", "widgets.v1.example.com", "a", "--replicas=4")
	c.shows("4 3", "get", "widget", "a", "-o", "jsonpath={.spec.replicas} {.metadata.generation}")
	c.run("", "patch", "widget", "a", "--subresource=status", "--type=merge", "-p", `{"status":{"phase":"Ready"},"spec":{"color":"red"}}`)
	c.shows("Ready green", "get", "widget", "a", "-o", "jsonpath={.status.phase} {.spec.color}")
	c.run("", "patch", "widget", "a", "--type=merge", "-p", `{"spec":{"replicas":5},"status":{"phase":"Gone"}}`)
	c.shows("Ready 5", "get", "widget", "a", "-o", "jsonpath={.status.phase} {.spec.replicas}")
}

func (c custom) discovery() {
	c.shows("widgets", "api-resources", "--api-group=example.com")
	c.shows("example.com/v2", "api-versions")
	c.shows("-required-", "explain", "widget.spec", "--api-version=example.com/v1")
	for path, text := range map[string]string{
		"/apis":                           `"name":"example.com"`, // not aggregated
		"/apis/example.com":               `"preferredVersion":{"groupVersion":"example.com/v2"`,
		"/apis/example.com/v1":            `"name":"widgets/scale"`,
		"/openapi/v2":                     "com.example.v1.Widget",
		"/openapi/v3":                     "/openapi/v3/apis/example.com/v1?hash=",
		"/openapi/v3/apis/example.com/v1": "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta",
	} {
		c.shows(text, "get", "--raw", path)
	}
	c.refused("the server could not find the requested resource", "", "get", "--raw", "/openapi/v3/apis/example.com/v3")
}

func (c custom) rights() {
	c.run("", "create", "clusterrole", "reader", "--verb=get,list", "--resource=widgets.example.com")
	c.run("", "create", "rolebinding", "reader", "--clusterrole=reader", "--user=jane")
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
		"conversion webhooks are not called":                definition(bad+"\n  conversion: {strategy: Webhook, webhook: {conversionReviewVersions: [v1], clientConfig: {url: 'https://127.0.0.1/x'}}}", "{type: object}"),
		`must be spec.names.plural+"."+spec.group`:          definition(strings.ReplaceAll(bad, "bads.example.org", "other.example.org"), "{type: object}"),
	} {
		out, errOut, err := c.Kubectl(c, manifest, "create", "--validate=false", "-f", "-")
		if err == nil || !strings.Contains(errOut, text) {
			if len(errOut) > 1000 {
				errOut = errOut[:1000]
			}
			c.Errorf("%v %s%s, want it refused with %q", err, out, errOut, text)
		}
	}
	c.shows("widget.example.com/a", "get", "widgets", "-o", "name")
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
	c.run(widget("watched", "{color: red}"), "create", "-f", "-")
	c.run("", "label", "widget", "watched", "a=b")
	c.run("", "delete", "widget", "watched")
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
	c.run(strings.NewReplacer("storage: true", "storage: false", "storage: false", "storage: true",
		"min: {type: integer, default: 0}", "min: {type: integer, default: 0}\n              size: {type: string, default: large}").Replace(widgets), "apply", "-f", "-")
	c.run("", "wait", "--for=jsonpath={.spec.size}=large", "widget/a", "--timeout=10s")
	stored := func() string {
		obj := c.Store.Get(object.Key{GroupKind: schema.GroupKind{Group: "example.com", Kind: "Widget"}, Namespace: "default", Name: "a"})
		return obj.GetObjectKind().GroupVersionKind().Version
	}
	if got := stored(); got != "v1" {
		c.Errorf("stored in version %s before it is written, want v1", got)
	}
	c.run("", "label", "widget", "a", "touched=yes")
	if got := stored(); got != "v2" {
		c.Errorf("stored in version %s, want v2", got)
	}
	c.shows(`["v1","v2"]`, "get", "crd", "widgets.example.com", "-o", "jsonpath={.status.storedVersions}")
}

func (c custom) deletion() {
	gadgets := strings.NewReplacer("widget", "gadget", "Widget", "Gadget", "[wd]", "[gd]").Replace(widgets)
	gadget := strings.NewReplacer("Widget", "Gadget").Replace(widget("a", "{color: red}"))
	c.run(gadgets, "apply", "-f", "-")
	c.run("", "wait", "--for=condition=Established", "crd/gadgets.example.com", "--timeout=10s")
	c.run(gadget, "create", "-f", "-")
	c.run("", "patch", "gadget", "a", "--type=merge", "-p", `{"metadata":{"finalizers":["example.com/held"]}}`)
	c.run("", "delete", "crd", "gadgets.example.com", "--wait=false")
	c.run("", "wait", "--for=condition=Terminating", "crd/gadgets.example.com", "--timeout=10s")
	c.refused("create not allowed while custom resource definition is terminating", strings.Replace(gadget, "name: a", "name: b", 1), "create", "-f", "-")
	c.run("", "patch", "gadgets.v1.example.com", "a", "--type=merge", "-p", `{"metadata":{"finalizers":null}}`)
	c.run("", "wait", "--for=delete", "crd/gadgets.example.com", "--timeout=30s")
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
