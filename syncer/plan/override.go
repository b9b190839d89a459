package plan

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"headway.dev/manifests/model/object"
	"headway.dev/syncer/flux"
)

// beforeFirstApply is the manager of what an object without any manager had
// when it was applied first.
const beforeFirstApply = "before-first-apply"

// overridden reports whether an apply takes over the fields of a manager. Those
// are kubectl's verbs, as in Flux: "kubectl apply", edit, patch, label and so
// on; not what came through a subresource (kubectl scale), and not kubectl
// rollout, whose restart would be undone by a second one.
func overridden(e metav1.ManagedFieldsEntry) bool {
	switch {
	case e.Subresource != "" || e.FieldsV1 == nil || e.Manager == "kubectl-rollout":
		return false
	case e.Manager == beforeFirstApply:
		return e.Operation == metav1.ManagedFieldsOperationUpdate
	}
	return strings.HasPrefix(e.Manager, "kubectl")
}

// override is live as if Git had set what people set with kubectl, so that an
// apply removes of that what Git does not want. An object whose annotation
// kustomize.toolkit.fluxcd.io/ssa is Merge, in Git or in the cluster, is left
// as it is. replicas says that people set spec.replicas.
func override(version schema.GroupVersion, want, live object.Object) (_ object.Object, replicas bool, _ error) {
	if inMetadata(want, flux.ServerSideApply, mergePolicy) || inMetadata(live, flux.ServerSideApply, mergePolicy) {
		return live, false, nil
	}
	_, applied := live.GetAnnotations()[corev1.LastAppliedConfigAnnotation]
	if !applied && !slices.ContainsFunc(live.GetManagedFields(), overridden) {
		return live, false, nil
	}
	out, _ := live.DeepCopyObject().(object.Object)
	if applied {
		annotations := out.GetAnnotations()
		delete(annotations, corev1.LastAppliedConfigAnnotation)
		out.SetAnnotations(annotations)
	}
	entries, replicas, err := fold(out.GetManagedFields(), version.String(), exemptOf(live))
	if err != nil {
		return nil, false, err
	}
	out.SetManagedFields(entries)
	return out, replicas, nil
}

// fold moves the fields of the managers that are overridden to Headway's.
func fold(entries []metav1.ManagedFieldsEntry, version string, stays *fieldpath.Set) (_ []metav1.ManagedFieldsEntry, replicas bool, _ error) {
	own := metav1.ManagedFieldsEntry{Manager: Manager, Operation: metav1.ManagedFieldsOperationApply, APIVersion: version, FieldsType: "FieldsV1"}
	taken := &fieldpath.Set{}
	var rest []metav1.ManagedFieldsEntry
	for _, e := range entries {
		mine := e.Manager == Manager && e.Operation == metav1.ManagedFieldsOperationApply && e.Subresource == "" && e.FieldsV1 != nil
		if !mine && !overridden(e) {
			rest = append(rest, e)
			continue
		}
		fields := &fieldpath.Set{}
		if err := fields.FromJSON(bytes.NewReader(e.FieldsV1.GetRawBytes())); err != nil {
			return nil, false, fmt.Errorf("managed fields of %s: %w", e.Manager, err)
		}
		if mine {
			own.Time = e.Time
			taken = taken.Union(fields)
			continue
		}
		replicas = replicas || fields.Has(fieldpath.MakePathOrDie("spec", "replicas"))
		kept := fields.Intersection(stays)
		taken = taken.Union(fields.Difference(kept))
		if kept.Empty() {
			continue
		}
		raw, err := kept.ToJSON()
		if err != nil {
			return nil, false, fmt.Errorf("managed fields of %s: %w", e.Manager, err)
		}
		e.FieldsV1 = metav1.NewFieldsV1(string(raw))
		rest = append(rest, e)
	}
	raw, err := taken.ToJSON()
	if err != nil {
		return nil, false, fmt.Errorf("managed fields: %w", err)
	}
	own.FieldsV1 = metav1.NewFieldsV1(string(raw))
	return append(rest, own), replicas, nil
}

// exempt are the fields that stay whoever set them.
func exempt() *fieldpath.Set {
	set := fieldpath.NewSet()
	for _, name := range flux.Requests() {
		set.Insert(fieldpath.MakePathOrDie("metadata", "annotations", name))
	}
	return set
}
