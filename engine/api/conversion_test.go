package api_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"

	"headway.dev/engine/api/apitest"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

// links defines a resource whose versions have the same in other fields: spec.hostPort
// in v1, spec.host and spec.port in v2.
const links = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: links.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: links, singular: link, kind: Link, listKind: LinkList}
  conversion: {strategy: Webhook, webhook: {conversionReviewVersions: [v9, v1], clientConfig: CLIENT}}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: &subresources {status: {}, scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas}}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec: {type: object, required: [hostPort], properties: {hostPort: {type: string}, replicas: {type: integer, default: 1}}}
          status: &status {type: object, properties: {replicas: {type: integer}, phase: {type: string}}}
  - name: v2
    served: true
    storage: false
    subresources: *subresources
    selectableFields: [{jsonPath: .spec.port}]
    additionalPrinterColumns: [{name: Port, type: string, jsonPath: .spec.port}]
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec: {type: object, properties: {host: {type: string}, port: {type: string}, replicas: {type: integer}}}
          status: *status
`

// convertLink makes obj one of a version, as a good webhook does.
func convertLink(obj map[string]any, version string) {
	obj["apiVersion"] = version
	spec, ok := obj["spec"].(map[string]any)
	if !ok {
		return
	}
	if both, ok := spec["hostPort"].(string); ok && version == "example.com/v2" {
		delete(spec, "hostPort")
		spec["host"], spec["port"], _ = strings.Cut(both, ":")
	} else if version == "example.com/v1" {
		spec["hostPort"] = fmt.Sprintf("%v:%v", spec["host"], spec["port"])
		delete(spec, "host")
		delete(spec, "port")
	}
}

// converting is a webhook that converts Links.
type converting struct {
	*hook
	mu    sync.Mutex
	asked []*apiextensionsv1.ConversionRequest
	// query is that of the last request.
	query string
	// lie changes an answer, and handle answers instead; nil: neither does.
	lie    func(*apiextensionsv1.ConversionReview)
	handle http.HandlerFunc
}

func newConverting(t *testing.T) *converting {
	t.Helper()
	c := &converting{hook: &hook{}}
	c.start(t, c)
	return c
}

// ServeHTTP implements http.Handler.
func (c *converting) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	c.query = r.URL.RawQuery
	lie, handle := c.lie, c.handle
	c.mu.Unlock()
	if handle != nil {
		handle(w, r)
		return
	}
	c.convert(w, r, lie)
}

func (c *converting) convert(w http.ResponseWriter, r *http.Request, lie func(*apiextensionsv1.ConversionReview)) {
	var review apiextensionsv1.ConversionReview
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil || review.Request == nil {
		http.Error(w, "no review", http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	c.asked = append(c.asked, review.Request)
	c.mu.Unlock()
	review.Response = &apiextensionsv1.ConversionResponse{UID: review.Request.UID, Result: metav1.Status{Status: metav1.StatusSuccess}}
	for _, raw := range review.Request.Objects {
		var obj map[string]any
		if err := json.Unmarshal(raw.Raw, &obj); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		convertLink(obj, review.Request.DesiredAPIVersion)
		review.Response.ConvertedObjects = append(review.Response.ConvertedObjects, runtime.RawExtension{Object: &unstructured.Unstructured{Object: obj}})
	}
	review.Request = nil
	if lie != nil {
		lie(&review)
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(review)
}

// does makes the webhook lie, or answer otherwise, until the test ends.
func (c *converting) does(t *testing.T, lie func(*apiextensionsv1.ConversionReview), handle http.HandlerFunc) {
	t.Helper()
	set := func(lie func(*apiextensionsv1.ConversionReview), handle http.HandlerFunc) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.lie, c.handle = lie, handle
	}
	set(lie, handle)
	t.Cleanup(func() { set(nil, nil) })
}

// count is how often the webhook was asked about an object of this name.
func (c *converting) count(name string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, r := range c.asked {
		for _, raw := range r.Objects {
			if strings.Contains(string(raw.Raw), `"name":"`+name+`"`) {
				n++
			}
		}
	}
	return n
}

// client is the webhook as a definition names it.
func (c *converting) client() string {
	return fmt.Sprintf("{url: '%s/convert', caBundle: %s}", c.URL, base64.StdEncoding.EncodeToString(c.ca))
}

func link(name, version, spec string) string {
	return fmt.Sprintf("apiVersion: example.com/%s\nkind: Link\nmetadata: {name: %s}\nspec: %s\n", version, name, spec)
}

// converted is a server with links, and their webhook.
type converted struct {
	custom
	hook *converting
}

// TestConversionWebhooks takes clients through all that a webhook converts for, and
// through what webhooks may do wrong.
func TestConversionWebhooks(t *testing.T) {
	server := apitest.Start(t)
	hook := newConverting(t)
	c := converted{custom{server, t}, hook}
	c.done(c.apply("git", strings.Replace(links, "CLIENT", hook.client(), 1)))
	c.condition("links.example.com", "Established")
	c.done(c.apply("git", widgets))
	c.condition("widgets.example.com", "Established")
	for _, test := range []struct {
		name string
		run  func(converted)
	}{
		{"verbs", converted.verbs},
		{"lists", converted.lists},
		{"watches", converted.watches},
		{"lies", converted.lies},
		{"hangs", converted.hangs},
		{"a Service", converted.service},
		{"admission", converted.admitted},
		{"storage version", converted.storageVersion},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(converted{custom{server, t}, hook}) })
	}
}

// get reads a link in a version.
func (c converted) get(version, name string) *unstructured.Unstructured {
	c.Helper()
	u, err := c.resource("example.com/"+version, "Link").Get(c.Context(), name, metav1.GetOptions{})
	c.done(err)
	return u
}

// has fails unless fields of the spec have these values.
func (c converted) has(u *unstructured.Unstructured, version string, want map[string]any) {
	c.Helper()
	if u.GetAPIVersion() != "example.com/"+version {
		c.Errorf("%s is shown in %s, want %s", u.GetName(), u.GetAPIVersion(), version)
	}
	for path, value := range want {
		got, _, err := unstructured.NestedFieldNoCopy(u.Object, strings.Split(path, ".")...)
		if err != nil || got != value {
			c.Errorf("%s of %s in %s: %v %v, want %v", path, u.GetName(), version, got, err, value)
		}
	}
}

// stored is what the store has.
func (c converted) stored(name string) *unstructured.Unstructured {
	c.Helper()
	u, ok := c.Store.Get(object.Key{GroupKind: schema.GroupKind{Group: "example.com", Kind: "Link"}, Namespace: "default", Name: name}).(*unstructured.Unstructured)
	if !ok {
		c.Fatalf("no Link %s is stored", name)
	}
	return u
}

func (c converted) verbs() {
	made, err := c.create(link("a", "v2", "{host: h, port: '1'}"), metav1.CreateOptions{})
	c.done(err)
	c.has(made, "v2", map[string]any{"spec.host": "h", "spec.port": "1"})
	c.has(c.stored("a"), "v1", map[string]any{"spec.hostPort": "h:1", "spec.host": nil})
	c.has(c.get("v1", "a"), "v1", map[string]any{"spec.hostPort": "h:1", "spec.replicas": int64(1)})
	if c.hook.query != "timeout=30s" {
		c.Errorf("the webhook is asked with %q, want its time to be 30 s", c.hook.query)
	}
	v2 := c.resource("example.com/v2", "Link")
	_, err = c.create(link("b", "v1", "{hostPort: 'h:2'}"), metav1.CreateOptions{})
	c.done(err)
	for selector, want := range map[string]string{"": "a b", "spec.port=2": "b", "metadata.name=a": "a"} {
		list, err := v2.List(c.Context(), metav1.ListOptions{FieldSelector: selector})
		c.done(err)
		var names []string
		for i := range list.Items {
			c.has(&list.Items[i], "v2", map[string]any{"spec.host": "h"})
			names = append(names, list.Items[i].GetName())
		}
		if got := strings.Join(names, " "); got != want {
			c.Errorf("selected by %q: %s, want %s", selector, got, want)
		}
	}
	c.shows("b      2", "get", "links.v2.example.com")

	made.Object["spec"] = map[string]any{"host": "g", "port": "3"}
	made, err = v2.Update(c.Context(), made, metav1.UpdateOptions{})
	c.done(err)
	c.has(made, "v2", map[string]any{"spec.host": "g", "metadata.generation": int64(2)})
	_, err = v2.Patch(c.Context(), "a", types.MergePatchType, []byte(`{"spec":{"port":"4"}}`), metav1.PatchOptions{})
	c.done(err)
	c.has(c.get("v1", "a"), "v1", map[string]any{"spec.hostPort": "g:4"})
	_, err = v2.Patch(c.Context(), "a", types.MergePatchType, []byte(`{"status":{"phase":"Up"},"spec":{"port":"9"}}`), metav1.PatchOptions{}, "status")
	c.done(err)
	_, err = v2.Patch(c.Context(), "a", types.MergePatchType, []byte(`{"spec":{"replicas":3}}`), metav1.PatchOptions{}, "scale")
	c.done(err)
	c.has(c.get("v1", "a"), "v1", map[string]any{"spec.hostPort": "g:4", "status.phase": "Up", "spec.replicas": int64(3)})

	c.done(c.apply("one", link("ssa", "v1", "{hostPort: 'h:1'}")))
	c.told(`conflict with "one": .spec.hostPort`, c.apply("two", link("ssa", "v2", "{host: x, port: '1'}")))
	c.done(c.apply("two", link("ssa", "v2", "{host: h}")))
	c.has(c.get("v2", "ssa"), "v2", map[string]any{"spec.host": "h", "spec.port": "1"})

	c.done(v2.Delete(c.Context(), "b", metav1.DeleteOptions{}))
	_, err = c.create(link("dry", "v2", "{host: h, port: '1'}"), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	c.done(err)
	for _, text := range []string{
		`apiserver_crd_conversion_webhook_duration_seconds_count{crd_name="links.example.com",from_version="v1",succeeded="true",to_version="v2"}`,
		`apiserver_conversion_webhook_request_total{failure_type="",result="success"}`,
	} {
		if body, err := c.raw("/metrics"); err != nil || !strings.Contains(body, text) {
			c.Errorf("no %s among the metrics (%v)", text, err)
		}
	}
}

// watches see each version in its own form, and the webhook is asked once for all of
// one version.
func (c converted) watches() {
	const watchers = 20
	list, err := c.resource("example.com/v2", "Link").List(c.Context(), metav1.ListOptions{})
	c.done(err)
	var all []watch.Interface
	for range watchers {
		w, err := c.resource("example.com/v2", "Link").Watch(c.Context(), metav1.ListOptions{ResourceVersion: list.GetResourceVersion(), FieldSelector: "spec.port=7"})
		c.done(err)
		defer w.Stop()
		all = append(all, w)
	}
	_, err = c.create(link("seen", "v1", "{hostPort: 'h:7'}"), metav1.CreateOptions{})
	c.done(err)
	for _, w := range all {
		select {
		case e := <-w.ResultChan():
			u, ok := e.Object.(*unstructured.Unstructured)
			if !ok || e.Type != watch.Added {
				c.Fatalf("seen: %v %v", e.Type, e.Object)
			}
			c.has(u, "v2", map[string]any{"spec.port": "7", "metadata.name": "seen"})
		case <-time.After(10 * time.Second):
			c.Fatal("nothing seen")
		}
	}
	if n := c.hook.count("seen"); n != 1 {
		c.Errorf("the webhook was asked %d times for %d watchers, want once", n, watchers)
	}
	c.merge("Link", "seen", `{"spec":{"hostPort":"h:8"}}`)
	if e := <-all[0].ResultChan(); e.Type != watch.Deleted {
		c.Errorf("what is no longer selected is %v", e.Type)
	}
}

// lies are answers that are refused, in Kubernetes' words, and nothing else with them.
func (c converted) lies() {
	first := func(edit func(obj map[string]any)) func(*apiextensionsv1.ConversionReview) {
		return func(r *apiextensionsv1.ConversionReview) {
			if u, ok := r.Response.ConvertedObjects[0].Object.(*unstructured.Unstructured); ok {
				edit(u.Object)
			}
		}
	}
	metadata := func(field string, value any) func(*apiextensionsv1.ConversionReview) {
		return first(func(obj map[string]any) {
			if m, ok := obj["metadata"].(map[string]any); ok {
				m[field] = value
			}
		})
	}
	answer := func(status int, header, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			if header != "" {
				w.Header().Set("Location", header)
			}
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}
	}
	const failed = "conversion webhook for example.com/v1, Kind=Link "
	for i, tc := range []struct {
		want   string
		lie    func(*apiextensionsv1.ConversionReview)
		handle http.HandlerFunc
	}{
		{want: failed + "returned invalid object: must have the same UID: ", lie: metadata("uid", "another")},
		{want: failed + "returned invalid object: must have the same name: ", lie: metadata("name", "another")},
		{want: failed + "returned invalid object: must have the same namespace: default != ", lie: metadata("namespace", "kube-system")},
		{want: failed + "returned invalid metadata: metadata.labels[a] must be a string, but is bool in converted object", lie: metadata("labels", map[string]any{"a": true})},
		{want: failed + "returned invalid metadata: metadata.labels: Invalid value: ", lie: metadata("labels", map[string]any{"no label": "x"})},
		{want: failed + "returned invalid object at index 0: invalid groupVersion (expected example.com/v2, received example.com/v1)", lie: first(func(obj map[string]any) { obj["apiVersion"] = "example.com/v1" })},
		{want: failed + "returned invalid object at index 0: invalid kind (expected Link, received Chain)", lie: first(func(obj map[string]any) { obj["kind"] = "Chain" })},
		{want: failed + "returned 0 objects, expected 1", lie: func(r *apiextensionsv1.ConversionReview) { r.Response.ConvertedObjects = nil }},
		{want: failed + "returned 2 objects, expected 1", lie: func(r *apiextensionsv1.ConversionReview) {
			r.Response.ConvertedObjects = append(r.Response.ConvertedObjects, r.Response.ConvertedObjects...)
		}},
		{want: `got "another"`, lie: func(r *apiextensionsv1.ConversionReview) { r.Response.UID = "another" }},
		{want: failed + "failed: too bad", lie: func(r *apiextensionsv1.ConversionReview) {
			r.Response.Result = metav1.Status{Status: metav1.StatusFailure, Message: "too bad"}
		}},
		{want: failed + "failed: response.result.status was '', not 'Success'", lie: func(r *apiextensionsv1.ConversionReview) { r.Response.Result = metav1.Status{} }},
		{want: failed + "failed: no response provided", lie: func(r *apiextensionsv1.ConversionReview) { r.Response = nil }},
		{want: "with a redirect (307 Temporary Redirect), which is not followed", handle: answer(http.StatusTemporaryRedirect, "https://169.254.169.254/", "")},
		{want: failed + "failed: ", handle: answer(http.StatusOK, "", "<html>")},
		{want: failed + "failed: the server is currently unable", handle: answer(http.StatusServiceUnavailable, "", "")},
		{want: "the webhook's answer is larger than 8388608 bytes", handle: answer(http.StatusOK, "", strings.Repeat("x", 9<<20))},
	} {
		name := fmt.Sprintf("lie-%d", i)
		_, err := c.create(link(name, "v1", "{hostPort: 'h:1'}"), metav1.CreateOptions{})
		c.done(err)
		c.Run(tc.want, func(t *testing.T) {
			c := converted{custom{c.Server, t}, c.hook}
			c.hook.does(t, tc.lie, tc.handle)
			_, err := c.resource("example.com/v2", "Link").Get(t.Context(), name, metav1.GetOptions{})
			c.told(tc.want, err)
			if _, err := c.resource("example.com/v2", "Link").List(t.Context(), metav1.ListOptions{}); err == nil {
				t.Error("a list is told nothing of it")
			}
			c.has(c.get("v1", name), "v1", map[string]any{"spec.hostPort": "h:1"})
		})
		c.has(c.get("v2", name), "v2", map[string]any{"spec.port": "1"})
	}
	c.hook.does(c.T, metadata("labels", map[string]any{"by": "hook"}), nil)
	made, err := c.create(link("labelled", "v2", "{host: h, port: '1'}"), metav1.CreateOptions{})
	c.done(err)
	if got := c.stored("labelled").GetLabels()["by"]; got != "hook" || made.GetUID() == "" {
		c.Errorf("a webhook may set labels, but it stored %q", got)
	}
}

// service converts by a Service, whose endpoints are reached without a proxy.
func (c converted) service() {
	c.done(c.apply("git", strings.Replace(links, "CLIENT", fmt.Sprintf("{service: {namespace: default, name: hook, path: /convert}, caBundle: %s}", base64.StdEncoding.EncodeToString(c.hook.ca)), 1)))
	told := func(text string) {
		c.Helper()
		c.eventually(text, func() bool {
			_, err := c.resource("example.com/v2", "Link").Get(c.Context(), "held", metav1.GetOptions{})
			return err == nil && text == "" || err != nil && text != "" && strings.Contains(err.Error(), text)
		})
	}
	c.merge("Link", "held", `{"metadata":{"labels":{"a":"c"}}}`)
	told(`Post "https://hook.default.svc:443/convert?timeout=30s": services "hook" not found`)
	_, text, err := net.SplitHostPort(c.hook.Listener.Addr().String())
	c.done(err)
	port, err := strconv.Atoi(text)
	c.done(err)
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "hook"},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "https", Port: 443, TargetPort: intstr.FromInt(port)}}},
	}
	// A process of this machine stands for a pod.
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "hook", Labels: map[string]string{discoveryv1.LabelServiceName: "hook"}}, AddressType: "IPv4",
		Ports:     []discoveryv1.EndpointPort{{Name: new("https"), Port: new(int32(port))}},
		Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"127.0.0.1"}}},
	}
	store := func(obj object.Object) {
		c.Helper()
		_, err := c.Store.Commit(c.Context(), change.Tx{Changes: []change.Change{change.Create(obj, time.Now())}})
		c.done(err)
	}
	store(service)
	told(`no endpoints available for service "hook"`)
	store(slice)
	told("")
}

// admitted: policies see resources, and have them as parameters, in the version that
// they ask for, also of what the process writes itself.
func (c converted) admitted() {
	in(c.T, c.Server, &admissionregistrationv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "ports"},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
			MatchConstraints: &admissionregistrationv1.MatchResources{ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{
				RuleWithOperations: admissionregistrationv1.RuleWithOperations{
					Operations: []admissionregistrationv1.OperationType{"*"},
					Rule:       admissionregistrationv1.Rule{APIGroups: []string{"example.com"}, APIVersions: []string{"v2"}, Resources: []string{"links"}},
				},
			}}},
			Validations: []admissionregistrationv1.Validation{{Expression: "object.spec.port != '13'", Message: "unlucky"}},
		},
	})
	in(c.T, c.Server, &admissionregistrationv1.ValidatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "ports"},
		Spec:       admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{PolicyName: "ports", ValidationActions: []admissionregistrationv1.ValidationAction{admissionregistrationv1.Deny}},
	})
	in(c.T, c.Server, &admissionregistrationv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "taken"},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
			ParamKind:        &admissionregistrationv1.ParamKind{APIVersion: "example.com/v2", Kind: "Link"},
			MatchConstraints: &admissionregistrationv1.MatchResources{ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{RuleWithOperations: ofConfigMaps[0]}}},
			Validations:      []admissionregistrationv1.Validation{{Expression: "object.metadata.name != params.spec.host", MessageExpression: "'the name belongs to port ' + params.spec.port"}},
		},
	})
	in(c.T, c.Server, &admissionregistrationv1.ValidatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "taken"},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{
			PolicyName: "taken", ValidationActions: []admissionregistrationv1.ValidationAction{admissionregistrationv1.Deny},
			ParamRef: &admissionregistrationv1.ParamRef{Name: "owner", Namespace: "default", ParameterNotFoundAction: new(admissionregistrationv1.DenyAction)},
		},
	})
	configMaps := kubernetes.NewForConfigOrDie(c.Config).CoreV1().ConfigMaps("default")
	_, err := configMaps.Create(c.Context(), configMap("host"), metav1.CreateOptions{})
	c.told("no params found for policy binding with `Deny` parameterNotFoundAction", err)
	_, err = c.create(link("owner", "v1", "{hostPort: 'host:5'}"), metav1.CreateOptions{})
	c.done(err)
	_, err = configMaps.Create(c.Context(), configMap("host"), metav1.CreateOptions{})
	c.told("ValidatingAdmissionPolicy 'taken' with binding 'taken' denied request: the name belongs to port 5", err)
	_, err = configMaps.Create(c.Context(), configMap("other"), metav1.CreateOptions{})
	c.done(err)

	inside := func(manifest string) error {
		u := c.decode(manifest)
		u.SetNamespace("default")
		k, ok := c.Kinds.ForKind(u.GroupVersionKind().GroupKind())
		if !ok {
			c.Fatal("the kind is not known")
		}
		_, err := c.Writer.Commit(c.Context(), change.Tx{Changes: []change.Change{change.CreateOf(k, u, time.Now())}})
		return err
	}
	_, err = c.create(link("unlucky", "v1", "{hostPort: 'h:13'}"), metav1.CreateOptions{})
	c.told("unlucky", err)
	c.told("unlucky", inside(link("unlucky", "v1", "{hostPort: 'h:13'}")))
	c.done(inside(link("lucky", "v1", "{hostPort: 'h:14'}")))
}

// storageVersion: what was stored in another version stays readable, is stored anew by
// an update that changes nothing, and only then may its version go.
func (c converted) storageVersion() {
	redefine := func(edit ...string) {
		c.Helper()
		c.done(c.apply("git", strings.NewReplacer(edit...).Replace(strings.Replace(links, "CLIENT", c.hook.client(), 1))))
	}
	redefine("storage: true", "storage: false", "storage: false", "storage: true")
	c.shows(`["v1","v2"]`, "get", "crd", "links.example.com", "-o", "jsonpath={.status.storedVersions}")
	c.eventually("an update that changes nothing stores in v2", func() bool {
		list, err := c.resource("example.com/v1", "Link").List(c.Context(), metav1.ListOptions{})
		c.done(err)
		for i := range list.Items {
			_, err := c.resource("example.com/v1", "Link").Update(c.Context(), &list.Items[i], metav1.UpdateOptions{})
			c.done(err)
		}
		return c.stored("a").GetAPIVersion() == "example.com/v2"
	})
	c.has(c.stored("a"), "v2", map[string]any{"spec.host": "g", "spec.port": "4"})
	c.has(c.get("v1", "a"), "v1", map[string]any{"spec.hostPort": "g:4"})
	before := c.stored("a")
	if c.merge("Link", "a", `{"metadata":{"labels":{}}}`); c.stored("a") != before {
		c.Error("an update of what is stored in v2 already is written")
	}

	definitions := c.resource("apiextensions.k8s.io/v1", "CustomResourceDefinition")
	drop := func() error {
		crd, err := definitions.Get(c.Context(), "links.example.com", metav1.GetOptions{})
		c.done(err)
		versions, _, _ := unstructured.NestedSlice(crd.Object, "spec", "versions")
		c.done(unstructured.SetNestedSlice(crd.Object, versions[1:], "spec", "versions"))
		_, err = definitions.Update(c.Context(), crd, metav1.UpdateOptions{})
		return err
	}
	c.told(`status.storedVersions[0]: Invalid value: "v1": missing from spec.versions; v1 was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in v1 and removes v1 from status.storedVersions`, drop())
	_, err := definitions.Patch(c.Context(), "links.example.com", types.MergePatchType, []byte(`{"status":{"storedVersions":["v2"]}}`), metav1.PatchOptions{}, "status")
	c.done(err)
	c.done(drop())
	c.eventually("v1 is not served", func() bool {
		_, err := c.resource("example.com/v1", "Link").List(c.Context(), metav1.ListOptions{})
		return err != nil
	})
	c.has(c.get("v2", "a"), "v2", map[string]any{"spec.port": "4"})
}
