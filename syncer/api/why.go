package api

import (
	"context"
	"fmt"
	"strings"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/manifests/model/object"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/history"
	"headway.dev/syncer/wire"
)

// why answers why an object is where it is, with what keeps newer commits from it.
func (s *API) why(ctx context.Context, q wire.ObjectQuery) (wire.Why, error) {
	out, err := s.Why(ctx, q)
	if err != nil {
		if history.IsMissing(err) {
			if held := s.heldBack(ctx); held != "" {
				return out, history.Missing("%s. Git may declare it: %s", strings.TrimSuffix(err.Error(), "."), held)
			}
		}
		return out, err
	}
	if out.Reasons == nil {
		out.Reasons = []wire.WhyReason{}
	}
	if namespace, name, ok := strings.Cut(out.Kustomization, "/"); ok {
		if ks, _ := s.Env.Store.Get(object.Key{GroupKind: flux.Kustomization, Namespace: namespace, Name: name}).(*kustomizev1.Kustomization); ks != nil {
			src, _ := s.Env.Store.Get(flux.SourceKey(ks)).(*sourcev1.GitRepository)
			if src != nil && s.Rights.Permitted(ctx, "get", flux.SourceKey(ks)) != nil {
				src = nil
			}
			out.Reasons = append(out.Reasons, notFollowed(ks, src)...)
		}
	}
	return out, nil
}

// heldBack says which Kustomizations that the caller may see do not apply the newest
// commit, and why.
func (s *API) heldBack(ctx context.Context) string {
	const most = 3
	var said []string
	list, _ := s.Env.Store.List(flux.Kustomization, "")
	for _, o := range list {
		ks, ok := o.(*kustomizev1.Kustomization)
		if !ok || len(said) == most || !s.sees(ctx, ks.Namespace+"/"+ks.Name) {
			continue
		}
		for _, r := range notFollowed(ks, nil) {
			said = append(said, fmt.Sprintf("%s: %s", r.Object, r.Message))
		}
	}
	return strings.Join(said, "; ")
}

// notFollowed is why what a Kustomization has applied may not be what the newest commit
// says. src may be nil.
func notFollowed(ks *kustomizev1.Kustomization, src *sourcev1.GitRepository) (list []wire.WhyReason) {
	object := "Kustomization/" + ks.Namespace + "/" + ks.Name
	add := func(r wire.WhyReason) { list = append(list, r) }
	if ks.Spec.Suspend {
		_, since := suspendedBy(ks)
		add(wire.WhyReason{
			Reason: "Suspended", Object: object, Message: "new commits wait for `headway resume`", Time: since,
			Fixes: []string{fmt.Sprintf("headway resume kustomization/%s -n %s", ks.Name, ks.Namespace)},
		})
	}
	if src != nil && src.Spec.Suspend {
		_, since := suspendedBy(src)
		add(wire.WhyReason{
			Reason: "Suspended", Object: "GitRepository/" + src.Namespace + "/" + src.Name, Message: "new commits wait for `headway resume`", Time: since,
			Fixes: []string{fmt.Sprintf("headway resume gitrepository/%s -n %s", src.Name, src.Namespace)},
		})
	}
	held := false
	for _, h := range holds(ks) {
		r := wire.WhyReason{Reason: "Held", Object: object, Message: fmt.Sprintf("%s: %s", h.Kind, h.Message), Time: h.Since}
		switch h.Kind {
		case wire.GateFreeze:
			r.Fixes = []string{"wait until the freeze ends"}
		case wire.GateQuarantine:
			r.Fixes = []string{"push a commit that mends it"}
		default:
			continue // the rest of the commit is applied
		}
		held = true
		add(r)
	}
	c := apimeta.FindStatusCondition(ks.Status.Conditions, meta.ReadyCondition)
	if !held && !ks.Spec.Suspend && c != nil && c.Status == metav1.ConditionFalse && ks.Status.LastAttemptedRevision != ks.Status.LastAppliedRevision {
		r := wire.WhyReason{
			Reason: c.Reason, Object: object, Message: c.Message, Time: c.LastTransitionTime.Time,
			Fixes: []string{"push a commit that mends it"},
		}
		if c.Reason == meta.DependencyNotReadyReason {
			r.Fixes = []string{"see what it depends on: headway status"}
		}
		add(r)
	}
	return list
}
