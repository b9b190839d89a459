package registry

import (
	"context"
	"errors"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/util/dryrun"
	"k8s.io/apiserver/pkg/warning"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

// Gate is asked last about updates and deletions of existing objects, including
// dry runs: after authorization, defaults and validation. It is not asked about
// writes of status and of other parts that only controllers and nodes write.
type Gate interface {
	// Review refuses the write with an error, lets it be stored (nil, nil), or
	// returns what is to be done instead, which must change nothing in a dry
	// run. Review itself changes nothing, and may be called several times for
	// one write.
	Review(ctx context.Context, write change.Request) (change.Elsewhere, error)
}

// ErrElsewhere ends a write that is to be carried out elsewhere. Where nobody
// waits for it, it is the answer.
var ErrElsewhere = &apierrors.StatusError{ErrStatus: metav1.Status{
	Status: metav1.StatusFailure, Code: http.StatusForbidden, Reason: metav1.StatusReasonForbidden,
	Message: "the object is declared in Git, where it can be changed only by a request for it alone",
}}

// gated is one request on its way through the gate.
type gated struct {
	gate      Gate
	write     change.Request
	elsewhere change.Elsewhere
}

func (r Resource) gated(ctx context.Context, manager string, dryRun []string) *gated {
	g := &gated{gate: r.gate, write: change.Request{Manager: manager, DryRun: dryrun.IsDryRun(dryRun)}}
	if u, ok := request.UserFrom(ctx); ok {
		g.write.User, g.write.Groups, g.write.Extra = u.GetName(), u.GetGroups(), u.GetExtra()
	}
	return g
}

// review asks the gate; it fails with ErrElsewhere if the write is to be
// carried out elsewhere.
func (g *gated) review(ctx context.Context, old, next runtime.Object) error {
	if g.gate == nil {
		return nil
	}
	write := g.write
	write.Old, _ = old.(object.Object)
	if next != nil {
		write.Next, _ = next.(object.Object)
	}
	var err error
	if g.elsewhere, err = g.gate.Review(ctx, write); err == nil && g.elsewhere != nil {
		err = ErrElsewhere
	}
	return err
}

// update is validate and then the gate.
func (g *gated) update(validate rest.ValidateObjectUpdateFunc) rest.ValidateObjectUpdateFunc {
	return func(ctx context.Context, next, old runtime.Object) error {
		if validate != nil {
			if err := validate(ctx, next, old); err != nil {
				return err
			}
		}
		return g.review(ctx, old, next)
	}
}

// remove is validate and then the gate.
func (g *gated) remove(validate rest.ValidateObjectFunc) rest.ValidateObjectFunc {
	return func(ctx context.Context, old runtime.Object) error {
		if validate != nil {
			if err := validate(ctx, old); err != nil {
				return err
			}
		}
		return g.review(ctx, old, nil)
	}
}

// finish carries the write out elsewhere, if err says so. done is false if
// there is nothing to do.
func (g *gated) finish(ctx context.Context, err error) (out object.Object, done bool, _ error) {
	if g.elsewhere == nil || !errors.Is(err, ErrElsewhere) {
		return nil, false, err
	}
	stored, err := g.elsewhere(ctx)
	if err != nil || stored == nil {
		return nil, true, err
	}
	out, _ = stored.DeepCopyObject().(object.Object)
	return out, true, nil
}

// Delete implements rest.GracefulDeleter.
func (r Resource) Delete(ctx context.Context, name string, validate rest.ValidateObjectFunc, options *metav1.DeleteOptions) (runtime.Object, bool, error) {
	if options == nil {
		options = &metav1.DeleteOptions{}
	}
	if r.kind.REST.Orphans && options.PropagationPolicy == nil && options.OrphanDependents == nil { //nolint:staticcheck // old clients still send it
		warning.AddWarning(ctx, "", "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning")
	}
	var removed object.Object
	g := r.gated(ctx, "", options.DryRun)
	note := func(ctx context.Context, old runtime.Object) error {
		removed, _ = old.(object.Object)
		return g.remove(validate)(ctx, old)
	}
	out, now, err := r.Store.Delete(ctx, name, note, options)
	if stored, done, err := g.finish(ctx, err); done || err != nil {
		if err != nil {
			return nil, false, err
		}
		return r.deleted(removed, stored), stored == nil, nil
	}
	return out, now, nil
}

// deleted is the answer to a deletion that was carried out elsewhere.
func (r Resource) deleted(removed, stored object.Object) runtime.Object {
	if stored != nil {
		return stored // its finalizers keep it for now
	}
	if r.kind.REST.ReturnsDeleted {
		return removed
	}
	return &metav1.Status{Status: metav1.StatusSuccess, Details: &metav1.StatusDetails{
		Name: removed.GetName(), Group: r.kind.Group, Kind: r.kind.Plural, UID: removed.GetUID(),
	}}
}

// DeleteCollection implements rest.CollectionDeleter.
func (r Resource) DeleteCollection(ctx context.Context, validate rest.ValidateObjectFunc, options *metav1.DeleteOptions, list *internalversion.ListOptions) (runtime.Object, error) {
	var dryRun []string
	if options != nil {
		dryRun = options.DryRun
	}
	return r.Store.DeleteCollection(ctx, r.gated(ctx, "", dryRun).remove(validate), options, list)
}

var _ interface {
	rest.GracefulDeleter
	rest.CollectionDeleter
} = Resource{}
