package rights

import (
	"context"
	"errors"
	"fmt"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/acl"
	"github.com/fluxcd/pkg/apis/meta"

	"headway.dev/manifests/model/object"
	"headway.dev/syncer/fault"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/plan"
)

// Rights decides what Kustomizations may do, in one state of the cluster: the
// stored one, or for plans the one that other plans lead to.
type Rights struct {
	access Access
	Stored object.Reader
	// account is the one of Kustomizations without spec.serviceAccountName.
	account string
	// ownSources refuses sources of other namespaces.
	ownSources bool
}

// New returns the rights in the stored state, which access decides; access may
// be nil. account is the account of Kustomizations without
// spec.serviceAccountName; ownSources refuses sources of other namespaces.
func New(access Access, stored object.Reader, account string, ownSources bool) Rights {
	return Rights{access, stored, account, ownSources}
}

// After returns the rights once the changes are stored.
func (r Rights) After(changed map[object.Key]object.Object) Rights {
	var events []object.Event
	for key, obj := range changed {
		ev := object.Event{Type: object.Modified, Key: key, Object: obj, Old: r.Stored.Get(key)}
		switch {
		case obj == nil && ev.Old == nil:
			continue
		case obj == nil:
			ev.Type, ev.Object = object.Deleted, ev.Old
		case ev.Old == nil:
			ev.Type = object.Added
		}
		events = append(events, ev)
	}
	r.access, r.Stored = r.access.After(events), NewAfterwards(r.Stored, changed)
	return r
}

// Enforced reports whether a Kustomization acts as an account whose rights are
// checked.
func (r Rights) Enforced(ks *kustomizev1.Kustomization) bool {
	return r.access != nil && r.Account(ks) != ""
}

// impersonated is whom a Kustomization acts as; ok is false if it acts as the
// cluster itself and may do anything. It fails if the account does not exist.
func (r Rights) impersonated(ks *kustomizev1.Kustomization) (user User, ok bool, err error) {
	name := r.Account(ks)
	if name == "" {
		return User{}, false, nil
	}
	if r.access == nil {
		return User{}, true, errors.New("spec.serviceAccountName: this server does not authorize, so nothing is applied in the name of an account")
	}
	if r.Stored.Get(object.Key{GroupKind: flux.ServiceAccount, Namespace: ks.Namespace, Name: name}) == nil {
		return User{}, true, &ErrAccount{ks.Namespace, name}
	}
	return User{
		Name:   "system:serviceaccount:" + ks.Namespace + ":" + name,
		Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + ks.Namespace, "system:authenticated"},
	}, true, nil
}

// Allowed returns nil if the account that the Kustomization acts as may do the
// verb on the object. Everything that the syncer writes on behalf of a
// Kustomization is checked here (or by Authorize) first.
func (r Rights) Allowed(ctx context.Context, ks *kustomizev1.Kustomization, verb string, key object.Key) error {
	user, ok, err := r.impersonated(ks)
	if err != nil || !ok {
		return err
	}
	return r.allowed(ctx, user, verb, key)
}

// Authorize checks every write of a plan against the rights of the account that
// the Kustomization acts as. It fails with everything that is forbidden, by
// file and line; then nothing may be written.
//
// An object is read and applied as in Flux: that needs get and patch, and
// create if it does not exist; get and delete to prune it.
func (r Rights) Authorize(ctx context.Context, ks *kustomizev1.Kustomization, res plan.Result) error {
	user, ok, err := r.impersonated(ks)
	if err != nil {
		return fault.New(meta.ReconciliationFailedReason, err)
	}
	if !ok {
		return nil
	}
	planned := NewAfterwards(r.Stored, map[object.Key]object.Object{})
	for _, a := range res.Actions {
		if a.Writes() {
			planned.Changed[a.Key] = a.Object
		}
	}
	errs := r.mayWatch(ctx, ks, user)
	for _, e := range res.Errors {
		// What is wrong with an object that the user may not read could tell
		// what is in it.
		if e.Key.Name == "" {
			continue
		}
		if err := r.allowed(ctx, user, "get", e.Key); err != nil {
			errs = append(errs, &plan.Error{Source: e.Source, Key: e.Key, Reason: err.Error()})
			if errors.Is(err, ErrUnanswered) {
				break
			}
		}
	}
	for _, a := range res.Actions {
		if !a.Writes() {
			continue
		}
		if err := r.mayWrite(ctx, user, planned, a); err != nil {
			errs = append(errs, &plan.Error{Source: a.Source, Key: a.Key, Reason: err.Error()})
			if errors.Is(err, ErrUnanswered) {
				break // the others would say the same
			}
		}
	}
	if len(errs) > 0 {
		return fault.New(meta.ReconciliationFailedReason, &fault.Invalid{Errs: errs})
	}
	return nil
}

// mayWatch are the reasons why the user may not wait for spec.healthChecks:
// what is wrong with those objects is reported in the status.
func (r Rights) mayWatch(ctx context.Context, ks *kustomizev1.Kustomization, user User) []*plan.Error {
	if ks.Spec.Wait {
		return nil // they are not looked at
	}
	var errs []*plan.Error
	for i, key := range flux.HealthChecks(ks) {
		if err := r.allowed(ctx, user, "get", key); err != nil {
			errs = append(errs, &plan.Error{Reason: fmt.Sprintf("spec.healthChecks[%d]: %v", i, err)})
		}
	}
	return errs
}

// MayDependOn returns nil if the Kustomization may wait for another one: the
// status shows whether that is ready and, through readyExpr, what is in it. It
// may always wait for those of its own namespace, as in Flux.
func (r Rights) MayDependOn(ctx context.Context, ks *kustomizev1.Kustomization, dep object.Key) error {
	if dep.Namespace == ks.Namespace {
		return nil
	}
	if err := r.Allowed(ctx, ks, "get", dep); err != nil {
		return fault.New(acl.AccessDeniedReason, fmt.Errorf("dependency '%s/%s': %w", dep.Namespace, dep.Name, err))
	}
	return nil
}

// mayWrite is the first reason why the user may not do the action, or nil.
func (r Rights) mayWrite(ctx context.Context, user User, planned object.Reader, a plan.Action) error {
	verbs := []string{"get", "patch"}
	switch {
	case a.Type == plan.Delete:
		verbs = []string{"get", "delete"}
	case a.Recreate:
		verbs = []string{"get", "delete", "patch", "create"}
	case a.Live == nil:
		verbs = []string{"get", "patch", "create"}
	}
	for _, verb := range verbs {
		if err := r.allowed(ctx, user, verb, a.Key); err != nil {
			return err
		}
	}
	if a.Object == nil {
		return nil
	}
	old := a.Live
	if a.Recreate {
		old = nil
	}
	return r.escalates(ctx, user, planned, a.Object, old)
}
