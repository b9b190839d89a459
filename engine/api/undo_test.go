package api_test

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"
	"k8s.io/kubectl/pkg/polymorphichelpers"

	"headway.dev/engine/api/apitest"
)

// kubectl rollout undo to the revision of today's template does nothing: the revision is
// to the letter what kubectl makes of the template as the API serves it. This is the code
// of the kubectl of the API's version. One from before 1.34 writes a creationTimestamp
// into the template, and finds no revision of Kubernetes the same either.
func TestUndoToTheSameRevision(t *testing.T) {
	s := apitest.Start(t)
	runControllers(t, s, "daemonset-controller", "statefulset-controller")
	config := rest.CopyConfig(s.Config)
	config.QPS = -1
	client := kubernetes.NewForConfigOrDie(config)
	const template = `
  selector: {matchLabels: {app: odd}}
  template:
    metadata: {labels: {app: odd}, annotations: {note: "<&>"}}
    spec:
      serviceAccountName: default
      securityContext: {}
      volumes: [{name: tmp, emptyDir: {}}]
      tolerations: [{operator: Exists}]
      containers:
      - name: main
        image: example.com/odd:1
        env: [{name: A, value: "é <b>&amp;"}, {name: B, value: ""}]
        resources: {requests: {cpu: 1000m, memory: 1024Mi}, limits: {memory: 1.5Gi}}
        readinessProbe: {httpGet: {path: "/?a=1&b=2", port: web}}
        ports: [{name: web, containerPort: 80}]
`
	for _, kind := range []string{"DaemonSet", "StatefulSet"} {
		head := "apiVersion: apps/v1\nkind: " + kind + "\nmetadata: {name: odd}\nspec:"
		if kind == "StatefulSet" {
			head += "\n  replicas: 0"
		}
		revisions := func() (n int) {
			list, err := client.AppsV1().ControllerRevisions("default").List(t.Context(), metav1.ListOptions{})
			if err != nil {
				t.Fatal(err)
			}
			for i := range list.Items {
				if ref := metav1.GetControllerOf(&list.Items[i]); ref != nil && ref.Kind == kind {
					n++
				}
			}
			return n
		}
		expect(t, s, head+template, args("apply -f -"), "created")
		await(t, s, "the first revision of the "+kind, func() bool { return revisions() == 1 })
		expect(t, s, head+strings.Replace(template, "odd:1", "odd:2", 1), args("apply -f -"), "configured")
		await(t, s, "the second revision of the "+kind, func() bool { return revisions() == 2 })
		undo := func(revision int64) string {
			var set runtime.Object
			set, err := client.AppsV1().DaemonSets("default").Get(t.Context(), "odd", metav1.GetOptions{})
			if kind == "StatefulSet" {
				set, err = client.AppsV1().StatefulSets("default").Get(t.Context(), "odd", metav1.GetOptions{})
			}
			if err != nil {
				t.Fatal(err)
			}
			r, err := polymorphichelpers.RollbackerFor(schema.GroupKind{Group: "apps", Kind: kind}, client)
			if err != nil {
				t.Fatal(err)
			}
			told, err := r.Rollback(set, nil, revision, cmdutil.DryRunNone)
			if err != nil {
				t.Fatal(err)
			}
			return told
		}
		if got, want := undo(2), "skipped rollback (current template already matches revision 2)"; got != want {
			t.Errorf("%s to today's revision: %s, want %s", kind, got, want)
		}
		if got, want := undo(1), "rolled back"; got != want {
			t.Errorf("%s to another revision: %s, want %s", kind, got, want)
		}
	}
}
