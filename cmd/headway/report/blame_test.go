package report

import (
	"bytes"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"headway.dev/syncer/wire"
)

// Blame's columns are aligned, what repeats is said once, and there is no
// colour where there is no terminal.
func TestPrintBlame(t *testing.T) {
	when := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	commit := func(sha, author string) wire.Commit {
		return wire.Commit{SHA: sha, Author: wire.Signature{Name: author, Date: when}}
	}
	const ada, zoe = "3f9c2d1aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "9c41f7ebbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
	blame := wire.Blame{
		Kind: "Deployment", Namespace: "hello", Name: "hello", Kustomization: "headway-system/cluster", Revision: "sha1:" + zoe,
		Commits: map[string]wire.Commit{ada: commit(ada, "Ada"), zoe: commit(zoe, "Zoë")},
		Fields: []wire.BlameField{
			{Path: "metadata.name", Value: "hello", Owner: wire.OwnerGit, Commit: ada, File: "apps/a.yaml", Line: 4, How: "manifest"},
			{Path: "spec.paused", Value: false, Owner: wire.OwnerGit, Commit: ada, File: "apps/a.yaml", Line: 7, How: "manifest"},
			{Path: "spec.replicas", Value: 3, Owner: wire.OwnerGit, Commit: zoe, File: "k.yaml", Line: 12, How: "replicas"},
			{Path: "spec.strategy.type", Value: "RollingUpdate", Owner: wire.OwnerDefault},
			{Path: "status.text", Value: "two\nlines " + strings.Repeat("x", 80), Owner: wire.OwnerManager, Name: "kubelet"},
		},
	}
	var out bytes.Buffer
	if err := PrintBlame(&out, blame, true, 0); err != nil {
		t.Fatal(err)
	}
	want := `Deployment/hello in hello  Kustomization headway-system/cluster at 9c41f7e
3f9c2d1  Ada      2026-11-24  apps/a.yaml:4       metadata.name       hello
                              apps/a.yaml:7       spec.paused         false
9c41f7e  Zoë      2026-11-24  k.yaml:12 replicas  spec.replicas       3
-        default                                  spec.strategy.type  RollingUpdate
-        kubelet                                  status.text         "two\nlines ` + strings.Repeat("x", 47) + "…\n"
	if got := out.String(); got != want {
		t.Errorf("blame:\n%s\nwant:\n%s", got, want)
	}

	// What nobody set is not in the way, and long paths do not widen the rest.
	blame.Fields = append(blame.Fields[:4:4],
		wire.BlameField{Path: "spec.template.spec.containers[name=web].env[name=" + strings.Repeat("A", 60) + "].value", Value: "x", Owner: wire.OwnerManager, Name: "kubectl"},
		wire.BlameField{Path: "spec.uid", Value: "1", Owner: wire.OwnerServer},
		wire.BlameField{Path: "status.replicas", Value: 3, Owner: wire.OwnerManager, Name: "headway"},
	)
	out.Reset()
	if err := PrintBlame(&out, blame, false, 0); err != nil {
		t.Fatal(err)
	}
	want = `Deployment/hello in hello  Kustomization headway-system/cluster at 9c41f7e
3f9c2d1  Ada      2026-11-24  apps/a.yaml:4       metadata.name  hello
                              apps/a.yaml:7       spec.paused    false
9c41f7e  Zoë      2026-11-24  k.yaml:12 replicas  spec.replicas  3
-        kubectl                                  spec.template.spec.containers[name=web].env[name=` + strings.Repeat("A", 60) + `].value  x
3 more fields of defaults, controllers and the status: --all shows all
`
	if got := out.String(); got != want {
		t.Errorf("blame:\n%s\nwant:\n%s", got, want)
	}
	out.Reset()
	if err := PrintBlame(&out, blame, true, 100); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(out.String()) {
		if n := utf8.RuneCountInString(line); n > 101 {
			t.Errorf("%d characters do not fit into 100: %s", n, line)
		}
	}
}
