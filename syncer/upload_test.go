package syncer_test

import (
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"

	"headway.dev/syncer/wire"
)

// A plan of files is that of a commit of the same files: bytes that are no text
// stay what they are, and what the source leaves out is left out.
func TestPlanOfFilesIsThatOfTheCommit(t *testing.T) {
	const blob = "\xff\xfe\x00binary\x80"
	kustomization := "resources: [a.yaml]\nconfigMapGenerator: [{name: blob, namespace: default, files: [blob.bin]}]\n"
	w := newWorld(t, map[string]string{"kustomization.yaml": kustomization, "a.yaml": configMap("a", "one"), "blob.bin": blob}, func(src *sourcev1.GitRepository, ks *kustomizev1.Kustomization) {
		ignore := "left/\n*.bak.yaml\n"
		src.Spec.Ignore = &ignore
	})
	w.applied(git(t, w.work, "rev-parse", "HEAD"))
	req := wire.PlanRequest{
		Source: "headway-system/cluster", Binary: map[string][]byte{"blob.bin": []byte(blob)},
		Files: map[string]string{"kustomization.yaml": kustomization, "a.yaml": configMap("a", "one"), "left/kustomization.yaml": "broken: [", "x.bak.yaml": "broken: ["},
	}
	if p := w.plan(req); len(p.Errors) > 0 || len(p.Actions) > 0 {
		t.Errorf("the same files change something: %+v %+v", p.Actions, p.Errors)
	}
	req.Files["kustomization.yaml"] = "resources: [a.yaml, left]\n"
	if p := w.plan(req); len(p.Errors) != 1 {
		t.Errorf("what the source leaves out is there: %+v %+v", p.Actions, p.Errors)
	}
	req.Source = "headway-system/other"
	var p wire.Plans
	if code, body := w.call("plan", req, &p); code == 200 {
		t.Errorf("a plan for a source that does not exist: %s", body)
	}
}
