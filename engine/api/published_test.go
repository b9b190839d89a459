package api_test

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"k8s.io/client-go/kubernetes"

	"headway.dev/engine/api/apitest"
	"headway.dev/manifests/model/scheme"
)

// published is what Kubernetes publishes of its API, of all stable versions. To
// make it anew: go run ./engine/api/openapi/gen v1.37.2 engine/api/openapi/testdata/published.json.gz
type published struct {
	V2 map[string]any
	V3 map[string]map[string]any
}

func readPublished(t *testing.T) published {
	t.Helper()
	file, err := os.Open("openapi/testdata/published.json.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	z, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	var p published
	if err := json.NewDecoder(z).Decode(&p); err != nil {
		t.Fatal(err)
	}
	withoutCBOR(p.V2)
	for _, doc := range p.V3 {
		withoutCBOR(doc)
	}
	return p
}

// withoutCBOR leaves out an encoding that Kubernetes publishes, and serves only
// behind a gate that is closed.
func withoutCBOR(value any) any {
	isCBOR := func(s any) bool {
		text, ok := s.(string)
		return ok && strings.Contains(text, "cbor")
	}
	switch v := value.(type) {
	case map[string]any:
		for key, inner := range v {
			if v[key] = withoutCBOR(inner); isCBOR(key) {
				delete(v, key)
			}
		}
	case []any:
		v = slices.DeleteFunc(v, isCBOR)
		for i := range v {
			v[i] = withoutCBOR(v[i])
		}
		return v
	}
	return value
}

// differences are where the documents differ from the published ones, by a
// pattern of "DOCUMENT POINTER", each with the reason. One that is not needed is
// an error.
var differences = []struct {
	where, why string
	// later: another version of the server may have it.
	later bool
}{
	{where: `(v2|apis/apiregistration\.k8s\.io(/v1)?) .*apiregistration.*`, why: "nothing is aggregated", later: true},
	{where: `v2 /io\.k8s\.apimachinery\.pkg\.apis\.meta\.v1\.Duration`, why: "Flux' kinds have durations"},
	{where: `v2 /io\.k8s\.apimachinery\.pkg\.apis\.meta\.v1\.(DeleteOptions|WatchEvent)/x-kubernetes-group-version-kind`, why: "the groups are those that are served"},
	{where: `v2 /io\.k8s\.api\.scheduling\.v1alpha3\..*`, why: "Kubernetes publishes no alpha versions in v2, and refers to them: JobSpec.scheduling"},
	{where: `v2 /parameters/.*`, why: "it is of paths that are not served (/logs)"},
}

// TestPublishedOpenAPI compares what a running server says of its API with what
// Kubernetes publishes: all paths of the served resources, their verbs and
// parameters, and all definitions they refer to, with types, defaults and merge
// rules.
func TestPublishedOpenAPI(t *testing.T) {
	want := readPublished(t)
	client, err := kubernetes.NewForConfig(apitest.Start(t).Config)
	if err != nil {
		t.Fatal(err)
	}
	get := func(path string) map[string]any {
		data, err := client.Discovery().RESTClient().Get().AbsPath(path).Do(t.Context()).Raw()
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		doc := map[string]any{}
		if err := json.Unmarshal(data, &doc); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		return doc
	}
	var found []string
	add := func(document string, list []string) {
		for _, d := range list {
			found = append(found, document+" "+d)
		}
	}
	v2 := get("/openapi/v2")
	add("v2", comparePaths(want.V2, v2))
	add("v2", compareSchemas(at(want.V2, "definitions"), at(v2, "definitions")))
	add("v2", compareValues("/parameters", want.V2["parameters"], v2["parameters"]))
	add("v2", compareValues("/security", want.V2["security"], v2["security"]))
	add("v2", compareValues("/securityDefinitions", want.V2["securityDefinitions"], v2["securityDefinitions"]))
	for version := range at(get("/openapi/v3"), "paths") {
		if elsewhere(version) {
			continue
		}
		doc := get("/openapi/v3/" + version)
		if want.V3[version] == nil {
			found = append(found, version+" is not published")
			continue
		}
		add(version, comparePaths(want.V3[version], doc))
		add(version, compareValues("/components/securitySchemes", at(want.V3[version], "components")["securitySchemes"], at(doc, "components")["securitySchemes"]))
		add(version, compareValues("/security", want.V3[version]["security"], doc["security"]))
		add(version, compareSchemas(at(want.V3[version], "components", "schemas"), at(doc, "components", "schemas")))
	}
	explain(t, found)
}

// explain reports differences without a reason, and reasons without a
// difference.
func explain(t *testing.T, found []string) {
	t.Helper()
	used := map[int]bool{}
	slices.Sort(found)
	left := 0
	for _, f := range found {
		explained := false
		for i, d := range differences {
			if regexp.MustCompile("^" + d.where + "$").MatchString(strings.SplitN(f, ": ", 2)[0]) {
				used[i], explained = true, true
			}
		}
		if explained {
			continue
		}
		if left++; left <= 100 {
			t.Error(f)
		}
	}
	if left > 100 {
		t.Errorf("%d differences in all", left)
	}
	for i, d := range differences {
		if !used[i] && !d.later {
			t.Errorf("there is no such difference: %s (%s)", d.where, d.why)
		}
	}
}

func at(value any, keys ...string) map[string]any {
	for _, key := range keys {
		m, _ := value.(map[string]any)
		value = m[key]
	}
	m, _ := value.(map[string]any)
	return m
}

// comparePaths compares the paths of one document. Of those that are published,
// only the ones of served resources count.
func comparePaths(want, got map[string]any) []string {
	wanted, given := at(want, "paths"), at(got, "paths")
	var found []string
	for _, path := range slices.Sorted(maps.Keys(wanted)) {
		if _, ok := given[path]; !ok && servedPath(path) {
			found = append(found, "/paths"+path+": is missing")
		}
	}
	for _, path := range slices.Sorted(maps.Keys(given)) {
		if _, ok := wanted[path]; ok {
			found = append(found, compareValues("/paths"+path, wanted[path], given[path])...)
		} else if !elsewhere(path) {
			found = append(found, "/paths"+path+": is not published")
		}
	}
	return found
}

// servedPath reports whether a path belongs to a resource that is served.
func servedPath(path string) bool {
	for _, n := range servedNames() {
		root := "/apis/" + n.Group + "/" + n.Version
		if n.Group == "" {
			root = "/api/" + n.Version
		}
		rest, ok := strings.CutPrefix(path, root)
		if !ok {
			continue
		}
		rest = strings.TrimPrefix(rest, "/watch")
		if rest == "" || rest == "/" {
			return true
		}
		if inside, ok := strings.CutPrefix(rest, "/namespaces/{namespace}/"); ok {
			rest = "/" + inside
		}
		if rest == "/"+n.Plural || strings.HasPrefix(rest, "/"+n.Plural+"/") {
			return true
		}
	}
	return false
}

type servedName struct{ Group, Version, Plural string }

func servedNames() []servedName {
	var names []servedName
	for _, k := range scheme.Kinds() {
		names = append(names, servedName{k.Group, k.Version, k.Plural})
	}
	for _, v := range scheme.Views() {
		names = append(names, servedName{v.Group, v.Version, v.Plural})
	}
	return names
}

func compareSchemas(want, got map[string]any) []string {
	var found []string
	for _, name := range slices.Sorted(maps.Keys(got)) {
		if want[name] == nil {
			if !strings.Contains(name, "fluxcd") && !strings.HasPrefix(name, "io.k8s.metrics.") {
				found = append(found, "/"+name+": is not published")
			}
			continue
		}
		found = append(found, compareValues("/"+name, want[name], got[name])...)
	}
	return found
}

// compareValues returns the places where two JSON values differ. The text for
// people is left out.
func compareValues(path string, want, got any) []string {
	w, isMap := want.(map[string]any)
	g, both := got.(map[string]any)
	if isMap && both {
		var found []string
		keys := map[string]bool{}
		for key := range w {
			keys[key] = true
		}
		for key, value := range g {
			if _, text := value.(string); key != "description" || !text {
				keys[key] = true
			}
		}
		for _, key := range slices.Sorted(maps.Keys(keys)) {
			found = append(found, compareValues(path+"/"+key, w[key], g[key])...)
		}
		return found
	}
	wl, isList := want.([]any)
	gl, both := got.([]any)
	if isList && both {
		wl, gl = ordered(path, wl), ordered(path, gl)
		if len(wl) == len(gl) {
			var found []string
			for i := range wl {
				found = append(found, compareValues(fmt.Sprintf("%s/%d", path, i), wl[i], gl[i])...)
			}
			return found
		}
	}
	if reflect.DeepEqual(want, got) {
		return nil
	}
	return []string{fmt.Sprintf("%s: want %s, got %s", path, short(want), short(got))}
}

// ordered sorts lists whose order says nothing.
func ordered(path string, list []any) []any {
	for _, suffix := range []string{"/required", "/parameters", "/consumes", "/produces", "/schemes", "/tags", "/x-kubernetes-group-version-kind"} {
		if strings.HasSuffix(path, suffix) {
			return slices.SortedFunc(slices.Values(list), func(a, b any) int { return strings.Compare(full(a), full(b)) })
		}
	}
	return list
}

func full(value any) string {
	if m, ok := value.(map[string]any); ok {
		m = maps.Clone(m)
		delete(m, "description")
		value = m
	}
	data, _ := json.Marshal(value) // it was JSON
	return string(data)
}

func short(value any) string {
	if value == nil {
		return "nothing"
	}
	if text := full(value); len(text) > 300 {
		return text[:300] + "…"
	} else {
		return text
	}
}

// elsewhere reports whether a path is in a group that Kubernetes itself does not serve.
func elsewhere(path string) bool {
	return strings.Contains(path, ".fluxcd.io") || strings.Contains(path, "/metrics.k8s.io/") || strings.HasSuffix(path, "/metrics.k8s.io")
}
