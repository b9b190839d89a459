package validation_test

import (
	"strings"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
)

func gitRepositoryCases(t *testing.T) {
	t.Helper()
	repo := `{apiVersion: source.toolkit.fluxcd.io/v1, kind: GitRepository, metadata: {name: g, namespace: b}, spec: {url: "https://x.example/y", interval: 1m}}`
	create(t, repo, cases[*sourcev1.GitRepository]{
		"url":             {func(r *sourcev1.GitRepository) { r.Spec.URL = "file:///x" }, []string{`spec.url: Invalid value: "file:///x": spec.url in body should match '^(http|https|ssh)://.*$'`}},
		"no url":          {func(r *sourcev1.GitRepository) { r.Spec.URL = "" }, []string{"spec.url: Required value"}},
		"interval":        {func(r *sourcev1.GitRepository) { r.Spec.Interval.Duration = 0 }, []string{"spec.interval: Required value"}},
		"negative":        {func(r *sourcev1.GitRepository) { r.Spec.Interval.Duration = -time.Minute }, []string{`spec.interval: Invalid value: "-1m0s": spec.interval in body should match '^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$'`}},
		"provider":        {func(r *sourcev1.GitRepository) { r.Spec.Provider = "x" }, []string{`spec.provider: Unsupported value: "x": supported values: "generic", "aws", "azure", "github"`}},
		"service account": {func(r *sourcev1.GitRepository) { r.Spec.ServiceAccountName = "x" }, []string{`spec: Invalid value: "object": serviceAccountName can only be set when provider is 'azure' or 'aws'`}},
	})
	update(t, strings.Replace(repo, "https://x.example/y", "/srv/repo", 1), cases[*sourcev1.GitRepository]{
		"a local repository, from the command line": {func(r *sourcev1.GitRepository) { r.Spec.Suspend = true }, nil},
		"another local repository":                  {func(r *sourcev1.GitRepository) { r.Spec.URL = "/etc" }, []string{`spec.url: Invalid value: "/etc": spec.url in body should match '^(http|https|ssh)://.*$'`}},
	})
}

func kustomizationCases(t *testing.T) {
	t.Helper()
	const base = `{apiVersion: kustomize.toolkit.fluxcd.io/v1, kind: Kustomization, metadata: {name: k, namespace: b}, spec: {interval: 1h, prune: true, sourceRef: {kind: GitRepository, name: g}}}`
	create(t, base, cases[*kustomizev1.Kustomization]{
		"source":     {func(k *kustomizev1.Kustomization) { k.Spec.SourceRef.Kind = "X" }, []string{`spec.sourceRef.kind: Unsupported value: "X": supported values: "OCIRepository", "GitRepository", "Bucket", "ExternalArtifact"`}},
		"no source":  {func(k *kustomizev1.Kustomization) { k.Spec.SourceRef.Name = "" }, []string{"spec.sourceRef.name: Required value"}},
		"deletion":   {func(k *kustomizev1.Kustomization) { k.Spec.DeletionPolicy = "x" }, []string{`spec.deletionPolicy: Unsupported value: "x": supported values: "MirrorPrune", "Delete", "WaitForTermination", "Orphan"`}},
		"prefix":     {func(k *kustomizev1.Kustomization) { k.Spec.NamePrefix = strings.Repeat("x", 201) }, []string{"spec.namePrefix: Too long: may not be more than 200 bytes"}},
		"decryption": {func(k *kustomizev1.Kustomization) { k.Spec.Decryption = &kustomizev1.Decryption{Provider: "x"} }, []string{`spec.decryption.provider: Unsupported value: "x": supported values: "sops"`}},
		"values": {func(k *kustomizev1.Kustomization) {
			k.Spec.PostBuild = &kustomizev1.PostBuild{SubstituteFrom: []kustomizev1.SubstituteReference{{Kind: "Secret"}}}
		}, []string{`spec.postBuild.substituteFrom[0].name: Invalid value: "": spec.postBuild.substituteFrom[0].name in body should be at least 1 chars long`}},
	})
	update(t, base, cases[*kustomizev1.Kustomization]{
		"path":   {func(k *kustomizev1.Kustomization) { k.Spec.Path = "./apps" }, nil},
		"source": {func(k *kustomizev1.Kustomization) { k.Spec.SourceRef.Name = "" }, []string{"spec.sourceRef.name: Required value"}},
	})
}
