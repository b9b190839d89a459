package api

import (
	"sort"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/manifests/model/assess"
	"headway.dev/manifests/model/health"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/git"
	"headway.dev/syncer/plan"
	"headway.dev/syncer/source"
	"headway.dev/syncer/status"
	"headway.dev/syncer/wire"
)

// Status is the state of all sources and what follows them.
func (s *API) Status() wire.Status {
	st := wire.Status{Sources: []wire.SourceStatus{}}
	list, _ := s.Env.Store.List(flux.GitRepository, "")
	for _, o := range list {
		if obj, ok := o.(*sourcev1.GitRepository); ok {
			st.Sources = append(st.Sources, s.sourceStatus(obj))
		}
	}
	list, _ = s.Env.Store.List(flux.Kustomization, "")
	for _, o := range list {
		if ks, ok := o.(*kustomizev1.Kustomization); ok && s.Env.Store.Get(flux.SourceKey(ks)) == nil {
			st.Kustomizations = append(st.Kustomizations, s.kustomizationStatus(ks, nil, ""))
		}
	}
	return st
}

// waitsFor are the Kustomizations that one depends on and that are not ready,
// with the reason.
func (s *API) waitsFor(ks *kustomizev1.Kustomization) []wire.Object {
	var list []wire.Object
	for _, key := range flux.Dependencies(ks) {
		out := wire.Object{Kind: key.Kind, Namespace: key.Namespace, Name: key.Name, Status: string(health.NotFound), Message: "not found"}
		if dep, ok := s.Env.Store.Get(key).(*kustomizev1.Kustomization); ok {
			if flux.IsReady(dep) && dep.Status.ObservedGeneration == dep.Generation {
				continue
			}
			out.Status, out.Message = string(health.InProgress), "has not been looked at yet"
			if c := apimeta.FindStatusCondition(dep.Status.Conditions, meta.ReadyCondition); c != nil {
				out.Status, out.Message = c.Reason, c.Message
			}
		}
		list = append(list, out)
	}
	return list
}

func (s *API) sourceStatus(obj *sourcev1.GitRepository) wire.SourceStatus {
	out := wire.SourceStatus{Namespace: obj.Namespace, Name: obj.Name, URL: flux.Redacted(obj.Spec.URL), Suspended: obj.Spec.Suspend, Ready: string(metav1.ConditionUnknown)}
	out.SuspendedBy, out.SuspendedSince = suspendedBy(obj)
	if branch, err := flux.BranchOf(obj); err == nil {
		out.Branch = branch
	}
	if c := apimeta.FindStatusCondition(obj.Status.Conditions, meta.ReadyCondition); c != nil {
		out.Ready, out.Reason, out.Message, out.Since = string(c.Status), c.Reason, c.Message, c.LastTransitionTime.Time
	}
	key := object.KeyOf(flux.GitRepository, obj)
	src := s.Sources.Get(key)
	if obj.Status.Artifact != nil {
		out.Revision = obj.Status.Artifact.Revision
		if head, ok := git.ParseRevision(out.Revision); ok && src != nil {
			out.Commit, _ = src.Commit(head.Commit)
		}
	}
	if src != nil {
		out.Next = src.Due()
	}
	for _, ks := range flux.Followers(s.Env.Store, key) {
		out.Kustomizations = append(out.Kustomizations, s.kustomizationStatus(ks, src, out.Revision))
	}
	return out
}

func (s *API) kustomizationStatus(ks *kustomizev1.Kustomization, src *source.Source, fetched string) wire.KustomizationStatus {
	out := wire.KustomizationStatus{
		Namespace: ks.Namespace, Name: ks.Name, Path: ks.Spec.Path, Applied: ks.Status.LastAppliedRevision,
		Attempted: ks.Status.LastAttemptedRevision, Ready: string(metav1.ConditionUnknown), Sync: wire.SyncUnknown,
	}
	cond := apimeta.FindStatusCondition(ks.Status.Conditions, meta.ReadyCondition)
	if cond != nil {
		out.Ready, out.Reason, out.Message, out.Since = string(cond.Status), cond.Reason, cond.Message, cond.LastTransitionTime.Time
	}
	if head, ok := git.ParseRevision(out.Applied); ok && src != nil {
		out.Commit, _ = src.Commit(head.Commit)
	}
	if state, ok := s.Loops.State(flux.KeyOf(ks)); ok {
		out.Next, out.Errors = state.Next, state.Faults
	}
	switch {
	case ks.Spec.Suspend:
		out.Sync = wire.SyncSuspended
		out.SuspendedBy, out.SuspendedSince = suspendedBy(ks)
	case cond == nil:
	case out.Applied == fetched && out.Applied != "" && (cond.Status == metav1.ConditionTrue || cond.Reason == meta.HealthCheckFailedReason):
		out.Sync = wire.SyncSynced
	case cond.Reason == meta.DependencyNotReadyReason:
		out.Sync = wire.SyncWaiting
	case cond.Status == metav1.ConditionFalse:
		out.Sync = wire.SyncFailed
	case cond.Status == metav1.ConditionUnknown:
		out.Sync = wire.SyncSyncing
	default:
		out.Sync = wire.SyncOutOfSync
	}
	out.WaitsFor = s.waitsFor(ks)
	out.Holds = holds(ks)
	keys := flux.InventoryOf(ks)
	out.Objects, out.Healthy = len(keys), out.Applied != ""
	reader := health.Indexed(s.Env.Store)
	for _, key := range keys {
		if key == flux.KeyOf(ks) {
			continue
		}
		obj := s.Env.Store.Get(key)
		if obj != nil && plan.LeftAlone(obj) {
			continue
		}
		if res := assess.Of(obj, reader); res.Status != health.Current {
			out.Healthy = false
			out.Unhealthy = append(out.Unhealthy, wire.Object{Kind: key.Kind, Namespace: key.Namespace, Name: key.Name, Status: string(res.Status), Message: res.Message})
		}
	}
	sort.SliceStable(out.Unhealthy, func(i, j int) bool { return out.Unhealthy[i].Name < out.Unhealthy[j].Name })
	return out
}

// suspendedBy is what the status of a suspended object says; empty before it says
// so.
func suspendedBy(obj object.Object) (who string, since time.Time) {
	if is, _ := status.SuspensionOf(obj); is.Suspended {
		return is.By, is.Since
	}
	return "", time.Time{}
}

// holds is what keeps the newest commit from being applied, or from being applied
// whole, though nothing is wrong with its manifests.
func holds(ks *kustomizev1.Kustomization) []wire.Hold {
	var list []wire.Hold
	for _, h := range []struct {
		kind, condition string
		revision        func(message string) string // nil: it is the newest
	}{
		{wire.GateQuarantine, flux.QuarantinedCondition, func(message string) string { return flux.ParseQuarantine(message).Revision }},
		{wire.GateFreeze, flux.FrozenCondition, nil},
		{wire.HoldUnpruned, flux.UnprunedCondition, func(message string) string { return flux.ParseUnpruned(message).Revision }},
	} {
		c := apimeta.FindStatusCondition(ks.Status.Conditions, h.condition)
		if c == nil {
			continue
		}
		hold := wire.Hold{Kind: h.kind, Message: c.Message, Since: c.LastTransitionTime.Time, Revision: ks.Status.LastAttemptedRevision}
		if h.revision != nil {
			hold.Revision = h.revision(c.Message)
		}
		list = append(list, hold)
	}
	return list
}
