package flux_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/manifests/model/object"
	"headway.dev/syncer/flux"
)

func annotated(o object.Object, pairs ...string) object.Object {
	o.SetNamespace("team")
	o.SetName("app")
	all := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		all[pairs[i]] = pairs[i+1]
	}
	o.SetAnnotations(all)
	return o
}

// What is not set, or not understood, is the default.
func TestDefaults(t *testing.T) {
	for name, o := range map[string]object.Object{
		"none": annotated(&kustomizev1.Kustomization{}),
		"wrong": annotated(&kustomizev1.Kustomization{}, flux.MaxDeletes, "many", flux.OnFailure, "explode", flux.GitWrites, "sometimes",
			flux.Probation, "2h", flux.Freeze, "always", flux.AuthorDomain, "\n"),
		"empty":       annotated(&kustomizev1.Kustomization{}, flux.OnFailure, "", flux.GitWrites, "", flux.Freeze, "", flux.AuthorDomain, ""),
		"of a source": annotated(&kustomizev1.Kustomization{}, flux.Verify, "every-commit", flux.WebhookSecret, "hook", flux.CommitStatus, "github"),
	} {
		s := flux.Of(o)
		if s.MaxDeletes.Value != nil || s.OnFailure.Value != flux.OnFailureNone || s.GitWrites.Value != flux.WritesHeal || s.Probation.Value != flux.DefaultProbation ||
			s.Freeze.Value != nil || s.AuthorDomain.Value != "cluster.local" || s.Verify.Value || s.WebhookSecret.Value != "" || s.CommitStatus.Text != "" {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

func TestValues(t *testing.T) {
	s := flux.Of(annotated(&kustomizev1.Kustomization{}, flux.MaxDeletes, "3", flux.OnFailure, "hold", flux.GitWrites, "commit", flux.Settle, "90s",
		flux.GitAccounts, "ci/deployer, ci/other", flux.AuthorDomain, "example.com", flux.Retry, "1234567", flux.Request, "now", flux.Freeze, "0 9 * * * / 1h"))
	if *s.MaxDeletes.Value != 3 || s.OnFailure.Value != flux.OnFailureHold || s.GitWrites.Value != flux.WritesCommit || s.Settle.Value != 90*time.Second ||
		!slices.Equal(s.GitAccounts.Value, []string{"ci/deployer", "ci/other"}) || s.AuthorDomain.Value != "example.com" || s.Request.Value != "now" || len(s.Freeze.Value) != 1 {
		t.Errorf("%+v", s)
	}
	if !s.Retry.Value.Names("12345678") || s.Retry.Value.Names("2345678") || flux.Commit("123456").Names("1234567") {
		t.Errorf("%q names other commits", s.Retry.Value)
	}
	src := flux.Of(annotated(&sourcev1.GitRepository{}, flux.Verify, "every-commit", flux.CommitStatus, "forgejo", flux.MaxDeletes, "many"))
	if !src.Verify.Value || src.CommitStatus.Value != "gitea" || src.CommitStatus.Text != "forgejo" || src.MaxDeletes.Err() != nil {
		t.Errorf("%+v", src)
	}
}

// A value that is not understood is refused with the annotation's name and what
// it could be.
func TestFaults(t *testing.T) {
	ks := flux.Of(annotated(&kustomizev1.Kustomization{}, flux.MaxRestarts, "-1", flux.OnFailure, "explode", flux.Settle, "soon", flux.Freeze, "always"))
	source := annotated(&sourcev1.GitRepository{}, flux.Verify, "now and then", flux.CommitStatus, "sourceforge", flux.Freeze, "always")
	src := flux.Of(source)
	for want, err := range map[string]error{
		`annotation headway.dev/max-restarts: "-1" is not a number of objects`:                                         ks.MaxRestarts.Err(),
		`annotation headway.dev/on-failure: "explode" is not supported: use one of none, revert, hold`:                 ks.OnFailure.Err(),
		`annotation headway.dev/settle: "soon" is not a duration from 0s to 1h0m0s`:                                    ks.Settle.Err(),
		`annotation headway.dev/freeze: window "always": write it as`:                                                  ks.Freeze.Err(),
		`annotation headway.dev/freeze of GitRepository team/app: window "always": write it as`:                        src.Freeze.ErrOf(source),
		`annotation headway.dev/verify: "now and then" is not supported: use every-commit`:                             src.Verify.Err(),
		`annotation headway.dev/commit-status: forge "sourceforge" is not known: use github, gitlab, gitea or forgejo`: src.CommitStatus.Err(),
	} {
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("error %v, want %s", err, want)
		}
	}
	if err := ks.MaxDeletes.Err(); err != nil {
		t.Errorf("what is not there: %v", err)
	}
}

// What changes an attempt is compared; what is asked for once is dropped.
func TestMarks(t *testing.T) {
	before, after := annotated(&kustomizev1.Kustomization{}, "other", "x"), annotated(&kustomizev1.Kustomization{}, "other", "y", flux.GitAccounts, "a/b")
	if !slices.Equal(flux.Attempt(before), flux.Attempt(after)) {
		t.Error("what others mean changes an attempt")
	}
	for _, name := range []string{flux.MaxDeletes, flux.MaxRestarts, flux.OnFailure, flux.GitWrites, flux.Freeze, flux.Retry, flux.Settle, flux.Probation} {
		if slices.Equal(flux.Attempt(before), flux.Attempt(annotated(&kustomizev1.Kustomization{}, name, "x"))) {
			t.Errorf("%s changes no attempt", name)
		}
	}
	want := []string{meta.ReconcileRequestAnnotation, meta.ForceRequestAnnotation, "reconcile.fluxcd.io/resetAt", flux.Retry, flux.AcceptHistory}
	if got := flux.Requests(); !slices.Equal(got, want) {
		t.Errorf("requests are %v, want %v", got, want)
	}
	ks := annotated(&kustomizev1.Kustomization{ObjectMeta: metav1.ObjectMeta{}}, flux.Retry, "1234567", "other", "x")
	retry := flux.Of(ks).Retry
	if got, want := retry.Command(ks, "abcdefg"), "kubectl annotate --overwrite -n team kustomization/app headway.dev/retry=abcdefg"; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	if !retry.Drop(ks) || retry.Drop(ks) || len(ks.GetAnnotations()) != 1 {
		t.Errorf("left is %v", ks.GetAnnotations())
	}
}
