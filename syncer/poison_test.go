package syncer_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	fluxkustomize "github.com/fluxcd/pkg/apis/kustomize"
	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/manifests/model/object"
	"headway.dev/manifests/yaml/sops/sopstest"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/internal/memstore"
)

// poison is a Kustomization that cannot be applied, or that was made to take
// the syncer's time.
type poison struct {
	// files of its directory.
	files map[string]string
	// edit changes it; it follows the source that the others follow.
	edit func(*kustomizev1.Kustomization)
	// source, if set, is one of its own.
	source func(*sourcev1.GitRepository)
	// wants are the beginning of the Ready condition's "status reason message"
	// and what else is in it: of the source if it has one, else of the
	// Kustomization.
	wants []string
}

func annotated(name, value string) func(*kustomizev1.Kustomization) {
	return func(ks *kustomizev1.Kustomization) { ks.Annotations = map[string]string{name: value} }
}

// explodes is the name of a Secret that makes whoever reads it panic, as a
// library may that works on what users wrote.
const explodes = "explodes"

type explodingStore struct{ *memstore.Store }

func (s explodingStore) Get(key object.Key) object.Object {
	if key.Kind == "Secret" && key.Name == explodes {
		panic("a secret value")
	}
	return s.Store.Get(key)
}

// deep is a condition that takes all that an evaluation may cost.
func deep() string {
	source := "true"
	for v := range strings.FieldsSeq("a b c d e f g h i j k") {
		source = "[1,2,3,4,5,6,7,8,9,10].all(" + v + ", " + source + ")"
	}
	return source
}

// aliasBomb has a few lines and a billion values.
func aliasBomb() string {
	var b strings.Builder
	b.WriteString("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: bomb, namespace: default}\ndata:\n  a: &a [x,x,x,x,x,x,x,x,x]\n")
	for c := 'b'; c <= 'i'; c++ {
		fmt.Fprintf(&b, "  %c: &%c [*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c]\n", c, c, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1)
	}
	return b.String()
}

// poisons are by name. The HTTP server is the one that good sources use, too.
func poisons(tb testing.TB, http, dead, refused string) map[string]poison {
	tb.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		tb.Fatal(err)
	}
	plain := map[string]string{"cm.yaml": configMap("innocent", "x")}
	sealed := map[string]string{"s.yaml": string(sopstest.Secret(tb, "sealed", map[string]string{"password": "x"}, id.Recipient()))}
	url := func(url string) func(*sourcev1.GitRepository) {
		return func(s *sourcev1.GitRepository) { s.Spec.URL = url }
	}
	slow := func(url string, timeout time.Duration) func(*sourcev1.GitRepository) {
		return func(s *sourcev1.GitRepository) {
			s.Spec.URL, s.Spec.Timeout = url, &metav1.Duration{Duration: timeout}
		}
	}
	list := map[string]poison{
		// Objects.
		"unknown-field":   {files: map[string]string{"cm.yaml": configMap("p", "x") + "colour: red\n"}, wants: []string{"False BuildFailed", "cm.yaml:8", "colour"}},
		"refused-object":  {files: map[string]string{"d.yaml": strings.Replace(deployment("web:1"), "spec:\n  sel", "spec:\n  replicas: -1\n  sel", 1)}, wants: []string{"False ReconciliationFailed", "d.yaml:7", "must be greater than or equal to 0"}},
		"unknown-kind":    {files: map[string]string{"x.yaml": "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: x}\n"}, wants: []string{"False", "x.yaml:2", "Thing"}},
		"no-number":       {files: map[string]string{"d.yaml": strings.Replace(deployment("web:1"), "spec:\n  sel", "spec:\n  replicas: .nan\n  sel", 1)}, wants: []string{"False BuildFailed", "d.yaml", "unsupported value: NaN"}},
		"alias-bomb":      {files: map[string]string{"cm.yaml": aliasBomb()}, wants: []string{"False BuildFailed", "cm.yaml:1", "aliases expand the document"}},
		"deep":            {files: map[string]string{"cm.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: deep}\ndata: " + strings.Repeat("[", 20000) + "\n"}, wants: []string{"False BuildFailed", "cm.yaml"}},
		"binary":          {files: map[string]string{"cm.yaml": "\xff\xfe\x00\x01"}, wants: []string{"False BuildFailed", "cm.yaml"}},
		"no-namespace":    {files: map[string]string{"cm.yaml": strings.Replace(configMap("p", "x"), "namespace: default", "namespace: nowhere", 1)}, wants: []string{"False ReconciliationFailed", "nowhere", "not found"}},
		"sealed":          {files: sealed, edit: func(ks *kustomizev1.Kustomization) { ks.Spec.Decryption = &kustomizev1.Decryption{Provider: "sops"} }, wants: []string{"False BuildFailed", "s.yaml"}},
		"missing-base":    {files: map[string]string{"kustomization.yaml": "resources: [gone.yaml]\n"}, wants: []string{"False BuildFailed", "gone.yaml"}},
		"its-own-base":    {files: map[string]string{"kustomization.yaml": "resources: [../its-own-base]\n"}, wants: []string{"False BuildFailed", "its-own-base"}},
		"bad-patch":       {files: map[string]string{"kustomization.yaml": "resources: [cm.yaml]\npatches:\n- patch: '{'\n", "cm.yaml": configMap("p", "x")}, wants: []string{"False BuildFailed"}},
		"remote-base":     {files: map[string]string{"kustomization.yaml": "resources: ['" + http + "/repo.git']\n"}, wants: []string{"False BuildFailed"}},
		"other-transform": {files: map[string]string{"kustomization.yaml": "transformers: [t.yaml]\n", "t.yaml": "apiVersion: example.com/v1\nkind: Exec\nmetadata: {name: x, annotations: {config.kubernetes.io/function: 'exec: {path: /bin/sh}'}}\n"}, wants: []string{"False BuildFailed"}},

		// Annotations.
		"freeze":       {files: plain, edit: annotated(flux.Freeze, "for ever"), wants: []string{"False BuildFailed", "annotation headway.dev/freeze"}},
		"max-deletes":  {files: plain, edit: annotated(flux.MaxDeletes, "many"), wants: []string{"False BuildFailed", `annotation headway.dev/max-deletes: "many"`}},
		"max-restarts": {files: plain, edit: annotated(flux.MaxRestarts, "-1"), wants: []string{"False BuildFailed", `annotation headway.dev/max-restarts: "-1"`}},
		"git-writes":   {files: plain, edit: annotated(flux.GitWrites, "sometimes"), wants: []string{"False BuildFailed", `annotation headway.dev/git-writes: "sometimes"`}},
		"on-failure":   {files: plain, edit: annotated(flux.OnFailure, "explode"), wants: []string{"False BuildFailed", `annotation headway.dev/on-failure: "explode"`}},
		"settle":       {files: plain, edit: annotated(flux.Settle, "soon"), wants: []string{"False BuildFailed", `annotation headway.dev/settle: "soon" is not a duration`}},
		"probation":    {files: plain, edit: annotated(flux.Probation, "-1m"), wants: []string{"False BuildFailed", `annotation headway.dev/probation: "-1m" is not a duration`}},
		// These are only compared: any value will do, and the rest applies.
		"requested-at": {files: map[string]string{"cm.yaml": configMap("requested-at", "x")}, edit: annotated(meta.ReconcileRequestAnnotation, "never\x00 "+strings.Repeat("x", 100_000)), wants: []string{"True ReconciliationSucceeded"}},
		"accept":       {files: map[string]string{"cm.yaml": configMap("accept", "x")}, edit: annotated(flux.AcceptHistory, "../../x"), wants: []string{"True ReconciliationSucceeded"}},
		"retry":        {files: map[string]string{"cm.yaml": configMap("retry", "x")}, edit: annotated(flux.Retry, "nothing"), wants: []string{"True ReconciliationSucceeded"}},

		// The Kustomization.
		"no-path":     {files: plain, edit: func(ks *kustomizev1.Kustomization) { ks.Spec.Path = "../../etc" }, wants: []string{"False ArtifactFailed", "path not found"}},
		"no-source":   {files: plain, edit: func(ks *kustomizev1.Kustomization) { ks.Spec.SourceRef.Name = "none" }, wants: []string{"False ArtifactFailed", "not found"}},
		"bucket":      {files: plain, edit: func(ks *kustomizev1.Kustomization) { ks.Spec.SourceRef.Kind = "Bucket" }, wants: []string{"False ArtifactFailed", "Bucket is not supported"}},
		"no-account":  {files: plain, edit: func(ks *kustomizev1.Kustomization) { ks.Spec.ServiceAccountName = "nobody" }, wants: []string{"False", "serviceAccountName"}},
		"no-values":   {files: plain, edit: func(ks *kustomizev1.Kustomization) { ks.Spec.PostBuild = substituteSecret("none") }, wants: []string{"False BuildFailed", "substitute from 'Secret/none'"}},
		"no-key":      {files: plain, edit: decryptWith("none"), wants: []string{"False BuildFailed", "decryption Secret"}},
		"garbage-key": {files: plain, edit: decryptWith("garbage"), wants: []string{"False BuildFailed", "failed to import data from sops decryption Secret"}},
		"panic":       {files: plain, edit: decryptWith(explodes), wants: []string{"False ReconciliationFailed", "internal error, a bug", "panic with a string"}},
		"no-pace":     {files: map[string]string{"cm.yaml": configMap("p", "x") + "colour: red\n"}, edit: paced(0), wants: []string{"False BuildFailed"}},
		"busy":        {files: map[string]string{"cm.yaml": configMap("p", "x") + "colour: red\n"}, edit: paced(1), wants: []string{"False BuildFailed"}},
		"for-ever":    {files: map[string]string{"cm.yaml": configMap("p", "x") + "colour: red\n"}, edit: paced(1<<63 - 1), wants: []string{"False BuildFailed"}},
		"past":        {files: map[string]string{"cm.yaml": configMap("p", "x") + "colour: red\n"}, edit: paced(-1 << 63), wants: []string{"False BuildFailed"}},
		"chicken":     {files: plain, edit: dependsOn("egg", ""), wants: []string{"False DependencyNotReady", "dependency 'headway-system/egg' is not ready"}},
		"egg":         {files: plain, edit: dependsOn("chicken", ""), wants: []string{"False DependencyNotReady", "dependency 'headway-system/chicken' is not ready"}},
		"costly-dep":  {files: plain, edit: dependsOn("cluster", deep()), wants: []string{"False", "cost limit"}},
		"never-ready": {files: map[string]string{"d.yaml": strings.ReplaceAll(deployment("web:1"), "name: web", "name: never")}, edit: waiting(nil), wants: []string{"Unknown Progressing", "Running health checks"}},
		"costly-health": {
			files: map[string]string{"cm.yaml": configMap("costly", "x")},
			edit:  waiting([]fluxkustomize.CustomHealthCheck{{APIVersion: "v1", Kind: "ConfigMap", HealthCheckExpressions: fluxkustomize.HealthCheckExpressions{Current: deep()}}}),
			wants: []string{"Unknown Progressing", "Running health checks"},
		},

		// Sources.
		"frozen":    {source: func(s *sourcev1.GitRepository) { s.Annotations = map[string]string{flux.Freeze: "always"} }, wants: []string{"True Succeeded"}},
		"hangs":     {source: slow(http+"/hangs.git", 5*time.Second), wants: []string{"False GitOperationFailed", "no answer within spec.timeout"}},
		"trickles":  {source: slow(http+"/trickles.git", 5*time.Second), wants: []string{"False GitOperationFailed", "no answer within spec.timeout"}},
		"dead":      {source: slow("http://"+dead+"/x.git", 5*time.Second), wants: []string{"False GitOperationFailed", "no answer within spec.timeout"}},
		"late":      {source: slow(http+"/hangs.git", 300*time.Millisecond), wants: []string{"False GitOperationFailed", "no answer within spec.timeout"}},
		"huge":      {source: url(http + "/huge.git"), wants: []string{"False GitOperationFailed", "larger than allowed"}},
		"garbage":   {source: url(http + "/garbage.git"), wants: []string{"False GitOperationFailed", "list the references"}},
		"gone":      {source: url(http + "/gone.git"), wants: []string{"False GitOperationFailed", "not found"}},
		"refused":   {source: url("http://" + refused + "/x.git"), wants: []string{"False GitOperationFailed", "connection refused"}},
		"file":      {source: url("file:///etc"), wants: []string{"False URLInvalid"}},
		"no-secret": {source: func(s *sourcev1.GitRepository) { s.Spec.SecretRef = &meta.LocalObjectReference{Name: "none"} }, wants: []string{"False AuthenticationFailed", "headway-system/none"}},
		"explosive": {source: func(s *sourcev1.GitRepository) { s.Spec.SecretRef = &meta.LocalObjectReference{Name: explodes} }, wants: []string{"False GitOperationFailed", "internal error, a bug"}},
		"no-keys": {source: func(s *sourcev1.GitRepository) {
			s.Spec.Verification = &sourcev1.GitRepositoryVerification{Mode: "Sometimes", SecretRef: meta.LocalObjectReference{Name: "none"}}
		}, wants: []string{"False", `secrets "none" not found`}},
		"verify":  {source: func(s *sourcev1.GitRepository) { s.Annotations = map[string]string{flux.Verify: "now and then"} }, wants: []string{"False", "headway.dev/verify"}},
		"rapid":   {source: func(s *sourcev1.GitRepository) { s.Spec.URL, s.Spec.Interval.Duration = http+"/garbage.git", 1 }, wants: []string{"False GitOperationFailed"}},
		"eternal": {source: func(s *sourcev1.GitRepository) { s.Spec.URL, s.Spec.Interval.Duration = http+"/garbage.git", 1<<63-1 }, wants: []string{"False GitOperationFailed"}},
		"includes": {source: func(s *sourcev1.GitRepository) {
			s.Spec.Include = []sourcev1.GitRepositoryInclude{{GitRepositoryRef: meta.LocalObjectReference{Name: "hangs"}}}
		}, wants: []string{"False NoArtifact", "include 'hangs'"}},
	}
	return list
}

func decryptWith(secret string) func(*kustomizev1.Kustomization) {
	return func(ks *kustomizev1.Kustomization) {
		ks.Spec.Decryption = &kustomizev1.Decryption{Provider: "sops", SecretRef: &meta.LocalObjectReference{Name: secret}}
	}
}

func substituteSecret(name string) *kustomizev1.PostBuild {
	return &kustomizev1.PostBuild{SubstituteFrom: []kustomizev1.SubstituteReference{{Kind: "Secret", Name: name}}}
}

func paced(d time.Duration) func(*kustomizev1.Kustomization) {
	return func(ks *kustomizev1.Kustomization) { ks.Spec.Interval.Duration = d }
}

func dependsOn(name, expr string) func(*kustomizev1.Kustomization) {
	return func(ks *kustomizev1.Kustomization) {
		ks.Spec.DependsOn = []kustomizev1.DependencyReference{{Name: name, ReadyExpr: expr}}
	}
}

func waiting(exprs []fluxkustomize.CustomHealthCheck) func(*kustomizev1.Kustomization) {
	return func(ks *kustomizev1.Kustomization) {
		ks.Spec.Wait, ks.Spec.Timeout, ks.Spec.HealthCheckExprs = true, &metav1.Duration{Duration: time.Hour}, exprs
	}
}
