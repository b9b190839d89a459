package api_test

import (
	"testing"

	"headway.dev/engine/api/apitest"
)

// Pod templates as kubectl shows and changes them. No pods come of them.
func TestPodTemplates(t *testing.T) {
	s := apitest.Start(t)
	expect(t, s, `
apiVersion: v1
kind: PodTemplate
metadata: {name: job}
template:
  metadata: {labels: {app: job}}
  spec:
    restartPolicy: Never
    containers: [{name: main, image: "example.com/job:1"}]
`, args("apply --server-side -f -"), "podtemplate/job serverside-applied")
	expect(t, s, "", args("get podtemplates"), "NAME   CONTAINERS   IMAGES              POD LABELS", "job    main         example.com/job:1   app=job")
	expect(t, s, "", args("get podtemplate job -o jsonpath={.metadata.generation},{.template.spec.dnsPolicy}"), "1,ClusterFirst")
	expect(t, s, "", []string{"patch", "podtemplate", "job", "-p", `{"template":{"spec":{"containers":[{"name":"main","image":"example.com/job:2"}]}}}`}, "patched")
	expect(t, s, "", args("get podtemplate job -o jsonpath={.metadata.generation},{.template.spec.containers[*].image}"), "2,example.com/job:2")
	expect(t, s, "", args("label podtemplate job a=b"), "labeled")
	expect(t, s, "", args("get podtemplate job -o jsonpath={.metadata.generation}"), "2")
	expect(t, s, "", args("explain podtemplate.template.spec"), "PodSpec")
	expect(t, s, "", args("get pods"), "No resources found")
	expect(t, s, "", args("delete podtemplate job"), "deleted")
}
