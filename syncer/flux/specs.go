package flux

import (
	"cmp"
	"errors"
	"strings"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"

	"headway.dev/manifests/model/object"
)

// ErrNoBranch reports that a source follows something else than a branch.
var ErrNoBranch = errors.New("the source follows no branch (spec.ref has a tag, semver, name or commit): change spec.ref instead of rolling back")

// BranchOf is the branch that a source follows; only a branch can be written.
func BranchOf(obj *sourcev1.GitRepository) (string, error) {
	r := obj.Spec.Reference
	switch {
	case r == nil:
		return "master", nil
	case r.Commit != "" || r.Name != "" || r.SemVer != "" || r.Tag != "":
		return "", ErrNoBranch
	case r.Branch == "":
		return "master", nil
	}
	return r.Branch, nil
}

// Dependencies are the Kustomizations of spec.dependsOn.
func Dependencies(ks *kustomizev1.Kustomization) []object.Key {
	var deps []object.Key
	for _, d := range ks.Spec.DependsOn {
		deps = append(deps, object.Key{GroupKind: Kustomization, Namespace: cmp.Or(d.Namespace, ks.Namespace), Name: d.Name})
	}
	return deps
}

// Arriving is a Kustomization as it will be once what Git declares of it is
// stored: with the status that it has, and not with one that the manifest says it
// has. stored is nil for a new one; it is not changed.
func Arriving(declared, stored *kustomizev1.Kustomization) *kustomizev1.Kustomization {
	out := declared.DeepCopy()
	out.Status = kustomizev1.KustomizationStatus{}
	if stored != nil {
		out.Status = stored.Status
	}
	return out
}

// Deletes reports whether a Kustomization that is deleted takes along what it
// applied.
func Deletes(ks *kustomizev1.Kustomization) bool {
	switch ks.GetDeletionPolicy() {
	case kustomizev1.DeletionPolicyWaitForTermination, kustomizev1.DeletionPolicyDelete:
		return !ks.Spec.Suspend
	case kustomizev1.DeletionPolicyMirrorPrune:
		return ks.Spec.Prune && !ks.Spec.Suspend
	}
	return false
}

// SourceName is the namespace/name of the source that a Kustomization follows.
func SourceName(ks *kustomizev1.Kustomization) string {
	key := SourceKey(ks)
	return key.Namespace + "/" + key.Name
}

// Describe is "Kind/namespace/name", as Flux names objects in messages.
func Describe(key object.Key) string {
	parts := []string{key.Kind}
	if key.Namespace != "" {
		parts = append(parts, key.Namespace)
	}
	return strings.Join(append(parts, key.Name), "/")
}

// defaultGitTimeout is Flux's default of a GitRepository's spec.timeout.
const defaultGitTimeout = 60 * time.Second

// GitTimeout is the time limit of one operation with the remote of a source: a
// fetch, a push, or all the operations of one revert. Without spec.timeout, and
// with 0s, in which nothing could be done, it is the default.
func GitTimeout(obj *sourcev1.GitRepository) time.Duration {
	if obj == nil || obj.Spec.Timeout == nil || obj.Spec.Timeout.Duration <= 0 {
		return defaultGitTimeout
	}
	return obj.Spec.Timeout.Duration
}
