package diff_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"headway.dev/manifests/model/object"
	"headway.dev/manifests/yaml/diff"
	"headway.dev/manifests/yaml/load"
)

func parse(t *testing.T, manifest string) object.Object {
	t.Helper()
	if manifest == "" {
		return nil
	}
	items, err := load.Bytes("test.yaml", []byte(manifest))
	if err != nil {
		t.Fatal(err)
	}
	return items[0].Object
}

const deployment = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, resourceVersion: "1", generation: 1, labels: {app: web, tier: x}}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      volumes:
      - {name: tmp, emptyDir: {}}
      containers:
      - name: web
        image: web:1
        args: [a, b]
        env: [{name: A, value: "1"}, {name: B, value: "2"}]
        ports: [{containerPort: 53, protocol: TCP}, {containerPort: 53, protocol: UDP}]
        resources: {limits: {cpu: 1000m, memory: 1Gi}}
      - {name: side, image: side:1}
      tolerations: [{key: a, operator: Exists}]
status: {replicas: 1}
`

func TestObjects(t *testing.T) {
	edit := func(pairs ...string) string { return strings.NewReplacer(pairs...).Replace(deployment) }
	type F = diff.Field
	const pod = "spec.template.spec."
	for name, test := range map[string]struct {
		old, new string
		want     []F
	}{
		"same":             {deployment, deployment, nil},
		"server-owned":     {deployment, edit(`"1", generation: 1`, `"9", generation: 4`, "{replicas: 1}", "{replicas: 3}"), nil},
		"equal quantities": {deployment, edit("1000m", "1"), nil},
		"scalars, by merge key": {deployment, edit("replicas: 3\n", "replicas: 5\n", "web:1", "web:2", `"2"`, `"3"`), []F{
			{"spec.replicas", 3.0, 5.0},
			{pod + "containers[name=web].env[name=B].value", "2", "3"},
			{pod + "containers[name=web].image", "web:1", "web:2"},
		}},
		"zero is a value where it is pointed to": {deployment, edit("replicas: 3\n", "replicas: 0\n"), []F{{"spec.replicas", 3.0, 0.0}}},
		"plain lists are one field":              {deployment, edit("[a, b]", "[a, c, d]"), []F{{pod + "containers[name=web].args", []any{"a", "b"}, []any{"a", "c", "d"}}}},
		"ambiguous merge key":                    {deployment, edit("protocol: UDP", "protocol: UDP, hostPort: 5"), []F{{pod + "containers[name=web].ports[containerPort=53,protocol=UDP].hostPort", nil, 5.0}}},
		"removed and added items": {deployment, edit("{name: side, image: side:1}", "{name: other, image: other:1}"), []F{
			{pod + "containers[name=other].image", nil, "other:1"},
			{pod + "containers[name=other].name", nil, "other"},
			{pod + "containers[name=side].image", "side:1", nil},
			{pod + "containers[name=side].name", "side", nil},
		}},
		"order":              {deployment, edit(`{name: A, value: "1"}, {name: B, value: "2"}`, `{name: B, value: "2"}, {name: A, value: "1"}`), []F{{pod + "containers[name=web].env", []string{"name=A", "name=B"}, []string{"name=B", "name=A"}}}},
		"map keys":           {deployment, edit("tier: x", "example.com/tier: z"), []F{{"metadata.labels.tier", "x", nil}, {"metadata.labels[example.com/tier]", nil, "z"}}},
		"empty struct":       {deployment, edit("emptyDir: {}", "hostPath: {path: /x}"), []F{{pod + "volumes[name=tmp].emptyDir", map[string]any{}, nil}, {pod + "volumes[name=tmp].hostPath.path", nil, "/x"}}},
		"list without a key": {deployment, edit("operator: Exists", "operator: Equal, value: b"), []F{{pod + "tolerations[0].operator", "Exists", "Equal"}, {pod + "tolerations[0].value", nil, "b"}}},
		"created": {"", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: b}\ndata: {x: \"\"}", []F{
			{"data.x", nil, ""}, {"metadata.name", nil, "a"}, {"metadata.namespace", nil, "b"},
		}},
		"the server's annotation": {
			"apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: a, annotations: {deprecated.daemonset.template.generation: \"1\"}}",
			"apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: a, annotations: {deprecated.daemonset.template.generation: \"2\", b: c}}",
			[]F{{"metadata.annotations.b", nil, "c"}},
		},
		"deleted": {"apiVersion: v1\nkind: Namespace\nmetadata: {name: a}", "", []F{{"metadata.name", "a", nil}}},
	} {
		if d := cmp.Diff(test.want, diff.Objects(parse(t, test.old), parse(t, test.new))); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}

// Nothing of a Secret's values may come out, whatever happens to them.
func TestSecrets(t *testing.T) {
	secret := func(data map[string]string) *corev1.Secret {
		s := &corev1.Secret{StringData: data}
		s.Name = "s"
		s.Data = map[string][]byte{}
		for k, v := range data {
			s.Data[k] = []byte(v)
		}
		s.Annotations = map[string]string{corev1.LastAppliedConfigAnnotation: strings.Join([]string{"last", data["a"]}, "-")}
		return s
	}
	a, b := secret(map[string]string{"a": "hunter2", "gone": "hunter2x"}), secret(map[string]string{"a": "hunter3", "new": "hunter4"})
	for _, pair := range [][2]object.Object{{a, b}, {nil, b}, {a, nil}, {a, a}} {
		got, err := json.Marshal(diff.Objects(pair[0], pair[1]))
		if err != nil {
			t.Fatal(err)
		}
		for _, leak := range []string{"hunter", "aHVudGVy"} {
			if strings.Contains(string(got), leak) {
				t.Errorf("a secret value came out: %s", got)
			}
		}
	}
	want := []diff.Field{
		{Path: "data.a", Old: "(hidden)", New: "(changed)"},
		{Path: "data.gone", Old: "(hidden)"},
		{Path: "data.new", New: "(changed)"},
	}
	if d := cmp.Diff(want, diff.Objects(a, b)[:3]); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
