package plan_test

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/yaml/check"
	"headway.dev/manifests/yaml/load"
	"headway.dev/syncer/internal/memstore"
	"headway.dev/syncer/plan"
)

// What a list has twice is refused by plan, and so by sync, and by validate with
// the same words and line: server-side apply takes none of it.
func TestDuplicatesAreRefusedAlike(t *testing.T) {
	const head = "apiVersion: v1\nkind: Pod\nmetadata: {name: web, namespace: default}\nspec:\n"
	const container = head + "  containers:\n  - name: web\n    image: web:1\n"
	for name, c := range map[string]struct{ text, want string }{
		"env": {container + "    env:\n    - {name: A, value: x}\n    - {name: B}\n    - {name: A, value: z}\n", `a.yaml:11: spec.containers[0].env[2].name: Duplicate value: "A"`},
		"env of a Deployment": {
			"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: default}\nspec:\n  selector: {matchLabels: {a: b}}\n  template:\n    metadata: {labels: {a: b}}\n    spec:\n      initContainers:\n      - name: first\n        image: x\n        env:\n        - {name: A}\n        - {name: A}\n      containers: [{name: web, image: x}]\n",
			`a.yaml:14: spec.template.spec.initContainers[0].env[1].name: Duplicate value: "A"`,
		},
		"ports":             {container + "    ports:\n    - {containerPort: 80}\n    - {containerPort: 80, protocol: UDP}\n    - {containerPort: 80, protocol: TCP}\n", `a.yaml:11: spec.containers[0].ports[2]: Duplicate value: {"containerPort":80,"protocol":"TCP"}`},
		"containers":        {container + "  - name: web\n    image: web:2\n", `a.yaml:8: spec.containers[1].name: Duplicate value: "web"`},
		"volumes":           {container + "  volumes:\n  - {name: v, emptyDir: {}}\n  - {name: v, emptyDir: {}}\n", `a.yaml:10: spec.volumes[1].name: Duplicate value: "v"`},
		"mounts":            {container + "    volumeMounts:\n    - {name: v, mountPath: /a}\n    - {name: v, mountPath: /a}\n  volumes: [{name: v, emptyDir: {}}]\n", `a.yaml:10: spec.containers[0].volumeMounts[1].mountPath: Duplicate value: "/a"`},
		"pull secrets":      {container + "  imagePullSecrets:\n  - {name: s}\n  - {name: s}\n", `a.yaml:10: spec.imagePullSecrets[1].name: Duplicate value: "s"`},
		"host aliases":      {container + "  hostAliases:\n  - {ip: 10.0.0.1, hostnames: [a]}\n  - {ip: 10.0.0.1, hostnames: [b]}\n", `a.yaml:10: spec.hostAliases[1].ip: Duplicate value: "10.0.0.1"`},
		"ports of Services": {"apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: default}\nspec:\n  ports:\n  - {name: a, port: 80}\n  - {name: b, port: 80}\n", `a.yaml:7: spec.ports[1]: Duplicate value: {"port":80,"protocol":"TCP"}`},
		"finalizers":        {"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: web\n  namespace: default\n  finalizers:\n  - example.com/a\n  - example.com/a\n", `a.yaml:8: metadata.finalizers[1]: Duplicate value: "example.com/a"`},
	} {
		t.Run(name, func(t *testing.T) {
			items, err := load.Bytes("a.yaml", []byte(c.text))
			if err != nil {
				t.Fatal(err)
			}
			store := memstore.New()
			ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
			if _, err := store.Commit(t.Context(), change.Tx{Changes: []change.Change{change.Create(ns, time.Now())}}); err != nil {
				t.Fatal(err)
			}
			res := plan.New(nil).Plan(t.Context(), plan.Input{Items: items, Owner: plan.Owner{Namespace: "ns", Name: "ks"}}, store)
			var planned []string
			for _, e := range res.Errors {
				one := *e
				one.Key = object.Key{}
				planned = append(planned, one.Error())
			}
			var validated []string
			for _, e := range load.Errors(check.Items(items)) {
				one := *e
				one.Object = ""
				validated = append(validated, one.Error())
			}
			for who, got := range map[string][]string{"plan": planned, "validate": validated} {
				if len(got) != 1 || strings.TrimSpace(got[0]) != c.want {
					t.Errorf("%s says %q, want %q", who, got, c.want)
				}
			}
		})
	}
}
