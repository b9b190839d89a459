package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"headway.dev/engine/api"
	"headway.dev/engine/api/apitest"
)

const definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"

// defined is a definition of the resource group PLURAL.hostile.example, with versions
// of which each is what is given.
func defined(plural string, versions ...string) string {
	kind := strings.ToUpper(plural[:1]) + plural[1:]
	for i, v := range versions {
		versions[i] = fmt.Sprintf(`{"name":"v%d","served":true,"storage":%t,%s}`, i+1, i == 0, v)
	}
	return fmt.Sprintf(`{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"%[1]s.hostile.example"},
		"spec":{"group":"hostile.example","scope":"Namespaced","names":{"plural":"%[1]s","singular":"%[1]s","kind":"%[2]s","listKind":"%[2]sList"},"versions":[%[3]s]}}`,
		plural, kind, strings.Join(versions, ","))
}

// schemaOf is a version's schema, of which spec is the part of that name.
func schemaOf(spec string) string {
	return `"schema":{"openAPIV3Schema":{"type":"object","properties":{"spec":` + spec + `}}}`
}

// repeated is a list of n parts.
func repeated(n int, format string) string {
	parts := make([]string, n)
	for i := range parts {
		parts[i] = fmt.Sprintf(format, i)
	}
	return strings.Join(parts, ",")
}

// patient gives requests time: under the race detector and beside other tests, work
// that is bounded can still take longer than a minute.
func patient(c *api.Config) { c.RequestTimeout = 5 * time.Minute }

// longList is an object with a list of long strings.
func longList(item, object string) string {
	return `{"type":"object","properties":{"list":{"type":"array","maxItems":20,"items":{"type":"string","maxLength":30000` + item + `}}}` + object + `}`
}

// sends sends all requests at once and compares their answers, while another user is
// served, and fails if much memory is kept for them.
func sends(t *testing.T, s *apitest.Server, requests map[string]hostileRequest) {
	t.Helper()
	client, err := rest.HTTPClientFor(s.Config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.CloseIdleConnections)
	other := kubernetes.NewForConfigOrDie(s.API.InProcess("ada", "system:masters")).CoreV1().ConfigMaps("default")
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var others, wg sync.WaitGroup
	answered := make(chan struct{})
	others.Go(func() {
		for done := false; !done; {
			made, err := other.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "ada-"}}, metav1.CreateOptions{})
			if err == nil {
				err = other.Delete(t.Context(), made.Name, metav1.DeleteOptions{})
			}
			if err != nil {
				t.Errorf("another user meanwhile: %v", err)
				return
			}
			select {
			case <-answered:
				done = true
			default:
			}
		}
	})
	for name, request := range requests {
		wg.Go(func() {
			status, body := request.send(t, client, s.URL)
			if status != request.status || !strings.Contains(body, request.says) {
				t.Errorf("%s: answered %d: %.600s; want %d and %q", name, status, body, request.status, request.says)
			}
		})
	}
	wg.Wait()
	close(answered)
	others.Wait()
	client.CloseIdleConnections()
	reaches(t, "the memory is given back", func() error {
		runtime.GC()
		runtime.ReadMemStats(&after)
		if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 256<<20 {
			return fmt.Errorf("%d MiB more are in use than before", grown>>20)
		}
		return nil
	})
}

// TestHostileDefinitions: definitions that are too deep, too many of something or
// nonsense are refused in Kubernetes' words or Headway's own, and those that are only
// large are served, all in bounded time and memory and while others are served; and so
// are custom resources with hundreds of thousands of mistakes.
func TestHostileDefinitions(t *testing.T) {
	s := apitest.Start(t, patient)
	post := func(body string, status int, says string) hostileRequest {
		return hostileRequest{http.MethodPost, definitions, jsonBody, nil, body, status, says}
	}
	deep := func(n int) string {
		return strings.Repeat(`{"type":"object","properties":{"a":`, n) + `{"type":"string"}` + strings.Repeat("}}", n)
	}
	versions := make([]string, 500)
	for i := range versions {
		versions[i] = schemaOf(`{"type":"object","properties":{"list":{"type":"array","items":{"type":"integer"}}}}`)
	}
	wrong := `{"type":"object","properties":{"list":{"type":"array","items":{"type":"integer"}}},"default":{"list":[` + repeated(10_000, `"x%d"`) + `]}}`
	sends(t, s, map[string]hostileRequest{
		"a deep schema":      post(defined("deeps", schemaOf(deep(1_000))), http.StatusUnprocessableEntity, "must have at most 100 levels of properties and items"),
		"too deep a schema":  post(defined("deepers", schemaOf(deep(6_000))), http.StatusBadRequest, "exceeded max depth"),
		"many properties":    post(defined("properties", schemaOf(`{"type":"object","properties":{`+repeated(5_000, `"p%d":{"type":"string"}`)+`}}`)), http.StatusCreated, ""),
		"many required":      post(defined("requireds", schemaOf(`{"type":"object","x-kubernetes-preserve-unknown-fields":true,"required":[`+repeated(10_000, `"r%d"`)+`]}`)), http.StatusCreated, ""),
		"a huge enumeration": post(defined("enums", schemaOf(`{"type":"object","properties":{"list":{"type":"array","items":{"type":"string","enum":[`+repeated(10_000, `"e%d"`)+`]}}}}`)), http.StatusCreated, ""),
		"a huge description": post(defined("descriptions", schemaOf(`{"type":"object","description":"`+strings.Repeat("x", 2<<20)+`"}`)), http.StatusCreated, ""),
		"too large":          post(defined("larges", schemaOf(`{"type":"object","description":"`+strings.Repeat("x", 4<<20)+`"}`)), http.StatusRequestEntityTooLarge, "limit is 3145728"),
		"many patterns":      post(defined("patterns", schemaOf(`{"type":"object","properties":{`+repeated(500, `"p%d":{"type":"string","pattern":"^(a|b|c|d|e|f|g|h){1,%[1]d}$"}`)+`}}`)), http.StatusUnprocessableEntity, "must have patterns of at most 262144 characters and repetitions in all versions together"),
		"references":         post(defined("references", schemaOf(`{"type":"object","properties":{"a":{"$ref":"#/definitions/a"}}}`)), http.StatusUnprocessableEntity, "$ref is not supported"),
		"many versions":      post(defined("versions", versions...), http.StatusCreated, ""),
		"costly columns":     post(defined("columns", schemaOf(`{"type":"object"}`)+`,"additionalPrinterColumns":[`+repeated(50, `{"name":"c%d","type":"string","jsonPath":".spec..a[?(@.b=='c')]..d"}`)+`]`), http.StatusUnprocessableEntity, "must have at most 1 recursive descent"),
		"too many columns":   post(defined("toomanys", schemaOf(`{"type":"object"}`)+`,"additionalPrinterColumns":[`+repeated(500, `{"name":"c%d","type":"string","jsonPath":".spec.a"}`)+`]`), http.StatusUnprocessableEntity, "additionalPrinterColumns: Too many: 500: must have at most 100 items"),
		"many columns":       post(defined("manycolumns", schemaOf(`{"type":"object","x-kubernetes-preserve-unknown-fields":true}`)+`,"additionalPrinterColumns":[`+repeated(100, `{"name":"c%d","type":"string","jsonPath":".spec..a"}`)+`]`), http.StatusCreated, ""),
		"many rules":         post(defined("rules", schemaOf(`{"type":"object","properties":{"a":{"type":"integer"}},"x-kubernetes-validations":[`+repeated(10_000, `{"rule":"self.a > %d"}`)+`]}`)), http.StatusUnprocessableEntity, "must have at most 2000 rules in all versions together"),
		"a costly rule":      post(defined("costs", schemaOf(`{"type":"object","properties":{"a":{"type":"array","items":{"type":"string"}}},"x-kubernetes-validations":[{"rule":"self.a.all(x, self.a.all(y, x != y))"}]}`)), http.StatusUnprocessableEntity, "estimated rule cost exceeds budget by factor of"),
		"costly rules":       post(defined("sums", schemaOf(`{"type":"object","properties":{"a":{"type":"array","maxItems":1000,"items":{"type":"integer"}}},"x-kubernetes-validations":[`+repeated(50, `{"rule":"self.a.all(x, self.a.all(y, x != y + %d))"}`)+`]}`)), http.StatusUnprocessableEntity, "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema exceeds budget by factor of"),
		"a default's faults": post(defined("defaults", schemaOf(wrong)), http.StatusUnprocessableEntity, "further errors are not listed"),
		// Their estimates are within what a definition may cost, what they can come to is not
		// within what one resource may.
		"costly calls":        post(defined("calls", schemaOf(longList(``, `,"x-kubernetes-validations":[{"rule":"self.list.all(a, self.list.all(b, a + b != 'x'))"}]`))), http.StatusCreated, ""),
		"many costly calls":   post(defined("manycalls", schemaOf(longList(`,"x-kubernetes-validations":[`+repeated(6, `{"rule":"[`+repeated(20, "%d")+`].all(i, self + self != 'x%d')"}`)+`]`, ``))), http.StatusCreated, ""),
		"a rule on each item": post(defined("items", schemaOf(`{"type":"object","properties":{"list":{"type":"array","items":{"type":"integer","x-kubernetes-validations":[{"rule":"self > 0"}]}}}}`)), http.StatusCreated, ""),
	})
	client := kubernetes.NewForConfigOrDie(s.Config)
	for _, plural := range []string{"properties", "requireds", "enums", "descriptions", "versions", "manycolumns", "items", "calls", "manycalls"} {
		eventually(t, plural+" are served", func() bool {
			raw, err := client.RESTClient().Get().AbsPath(definitions + "/" + plural + ".hostile.example").DoRaw(t.Context())
			return err == nil && strings.Contains(string(raw), `"type":"Established"`) && client.RESTClient().Get().AbsPath("/apis/hostile.example/v1/"+plural).Do(t.Context()).Error() == nil
		})
	}

	resource := func(method, plural, name, query, spec string, status int, says string) hostileRequest {
		path := "/apis/hostile.example/v1/namespaces/default/" + plural
		contentType := jsonBody
		if method == http.MethodPatch {
			path, contentType = path+"/"+name, "application/apply-patch+yaml"
		}
		kind := strings.ToUpper(plural[:1]) + plural[1:]
		body := `{"apiVersion":"hostile.example/v1","kind":"` + kind + `","metadata":{"name":"` + name + `"` + spec + `}`
		return hostileRequest{method, path + query, contentType, nil, body, status, says}
	}
	long := `"%d` + strings.Repeat("x", 29_000) + `"`
	const many, invalid = 20_000, http.StatusUnprocessableEntity
	sends(t, s, map[string]hostileRequest{
		"wrong items":        resource(http.MethodPost, "versions", "a", "", `},"spec":{"list":[`+repeated(many, `"%d"`)+`]}`, invalid, "further errors are not listed"),
		"wrong and applied":  resource(http.MethodPatch, "versions", "b", "?fieldManager=m&force=true", `},"spec":{"list":[`+repeated(many, `"%d"`)+`]}`, http.StatusBadRequest, "further errors are not listed"),
		"nothing of it":      resource(http.MethodPost, "requireds", "a", "", `},"spec":{}`, invalid, "further errors are not listed"),
		"not in a long list": resource(http.MethodPost, "enums", "a", "", `},"spec":{"list":[`+repeated(many, `"%d"`)+`]}`, invalid, "spec.list[0]: Unsupported value"),
		"broken rules":       resource(http.MethodPost, "items", "a", "", `},"spec":{"list":[`+strings.TrimSuffix(strings.Repeat(`-1,`, many), ",")+`]}`, invalid, "further errors are not listed"),
		"a costly call":      resource(http.MethodPost, "calls", "a", "", `},"spec":{"list":[`+repeated(20, long)+`]}`, invalid, "call cost exceeds limit"),
		"costly calls":       resource(http.MethodPost, "manycalls", "a", "", `},"spec":{"list":[`+repeated(20, long)+`]}`, invalid, "running out of cost budget"),
		"a cheap call":       resource(http.MethodPost, "calls", "b", "", `},"spec":{"list":[`+repeated(2, long)+`]}`, http.StatusCreated, ""),
		"wrong labels":       resource(http.MethodPost, "versions", "c", "", `,"labels":{`+repeated(5_000, `"-%d":"x"`)+`}},"spec":{}`, invalid, "further errors are not listed"),
		"unknown fields":     resource(http.MethodPost, "versions", "d", "?fieldValidation=Strict", `},"spec":{`+repeated(10_000, `"f%d":1`)+`}`, http.StatusBadRequest, "strict decoding error: unknown field"),
		"dropped fields":     resource(http.MethodPost, "versions", "e", "?fieldValidation=Ignore", `},"spec":{`+repeated(10_000, `"f%d":1`)+`}`, http.StatusCreated, ""),
		"as a table":         {http.MethodGet, "/apis/hostile.example/v1/manycolumns", "", map[string]string{"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}, "", http.StatusOK, `"name":"c99"`},
		"the document":       {http.MethodGet, "/openapi/v3/apis/hostile.example/v1", "", nil, "", http.StatusOK, ""},
		"all documents":      {http.MethodGet, "/openapi/v2", "", nil, "", http.StatusOK, ""},
		"a late version":     {http.MethodGet, "/apis/hostile.example/v500/versions", "", nil, "", http.StatusOK, `"items":[]`},
	})
	raw, err := client.RESTClient().Get().AbsPath("/apis/hostile.example/v1/namespaces/default/versions").DoRaw(t.Context())
	var list metav1.List
	if err == nil {
		err = json.Unmarshal(raw, &list)
	}
	if err != nil || len(list.Items) != 1 {
		t.Errorf("%d objects are there, want the one without mistakes: %v", len(list.Items), err)
	}
}

// TestHostileExpressions: expressions of policies and of webhooks' conditions end when
// their cost is spent; the request is refused for that, in Kubernetes' words, and
// others are served.
func TestHostileExpressions(t *testing.T) {
	s := apitest.Start(t, patient)
	const policy = `
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: costly}
spec:
  matchConstraints:
    resourceRules: [{apiGroups: [""], apiVersions: [v1], resources: [configmaps], operations: [CREATE]}]
  matchConditions: [{name: some, expression: "object.metadata.name == 'by-policy' || object.metadata.name == 'by-condition' && object.data.all(a, object.data[a].contains(object.data[a]))"}]
  validations: [{expression: "object.data.all(a, object.data[a].contains(object.data[a]))"}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: costly}
spec: {policyName: costly, validationActions: [Deny]}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: costly}
webhooks:
- name: costly.example.com
  clientConfig: {url: "https://127.0.0.1:1/"}
  rules: [{apiGroups: [""], apiVersions: [v1], resources: [configmaps], operations: [CREATE]}]
  sideEffects: None
  admissionReviewVersions: [v1]
  matchConditions: [{name: some, expression: "object.metadata.name == 'by-webhook' && object.data.all(a, object.data[a].contains(object.data[a]))"}]
`
	if out, errOut, err := s.Kubectl(t, policy, "apply", "-f", "-"); err != nil {
		t.Fatalf("kubectl apply: %v: %s%s", err, out, errOut)
	}
	// What a search costs is counted as the product of both lengths, four times what an
	// expression may cost; it is done at once.
	data := `"a":"` + strings.Repeat("x", 20_000) + `"`
	create := func(name string) hostileRequest {
		return hostileRequest{
			http.MethodPost, "/api/v1/namespaces/default/configmaps", jsonBody, nil,
			`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"` + name + `"},"data":{` + data + `}}`, http.StatusUnprocessableEntity, "",
		}
	}
	refused := func(name string, status int, says string) hostileRequest {
		r := create(name)
		r.status, r.says = status, says
		return r
	}
	client, err := rest.HTTPClientFor(s.Config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.CloseIdleConnections)
	eventually(t, "the policy is in force", func() bool {
		status, body := create("by-policy").send(t, client, s.URL)
		if status == http.StatusCreated {
			_, _ = hostileRequest{http.MethodDelete, "/api/v1/namespaces/default/configmaps/by-policy", "", nil, "", 0, ""}.send(t, client, s.URL)
		}
		return strings.Contains(body, "cost limit exceeded")
	})
	sends(t, s, map[string]hostileRequest{
		"a policy":             refused("by-policy", http.StatusUnprocessableEntity, "actual cost limit exceeded"),
		"a policy's condition": refused("by-condition", http.StatusUnprocessableEntity, "running out of cost budget"),
		"a webhook's":          refused("by-webhook", http.StatusForbidden, "running out of cost budget"),
		"others":               refused("by-nobody", http.StatusCreated, ""),
		"one that is no CEL": {
			http.MethodPost, "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies", jsonBody, nil,
			`{"apiVersion":"admissionregistration.k8s.io/v1","kind":"ValidatingAdmissionPolicy","metadata":{"name":"none"},"spec":{"matchConstraints":{"resourceRules":[{"apiGroups":[""],"apiVersions":["v1"],"resources":["pods"],"operations":["*"]}]},"validations":[{"expression":"` +
				strings.Repeat("(", 500) + "true" + strings.Repeat(")", 500) + `"}]}}`, http.StatusUnprocessableEntity, "compilation failed",
		},
	})
}
