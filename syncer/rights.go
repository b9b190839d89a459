package syncer

import (
	"errors"
	"fmt"
	"slices"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/acl"
	"github.com/fluxcd/pkg/apis/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/object"
	"headway.dev/syncer/fault"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/plan"
)

// rights decides what Kustomizations may do, in one state of the cluster: the
// stored one, or for plans the one that other plans lead to.
type rights struct {
	s      *Syncer
	access Access
	stored object.Reader
}

// rights are those of the stored state.
func (s *Syncer) rights() rights { return rights{s, s.cfg.Access, s.cfg.Store} }

// impersonated is whom a Kustomization acts as; ok is false if it acts as the
// cluster itself and may do anything. It fails if the account does not exist.
func (r rights) impersonated(ks *kustomizev1.Kustomization) (user User, ok bool, err error) {
	name := r.s.serviceAccount(ks)
	if name == "" {
		return User{}, false, nil
	}
	if r.access == nil {
		return User{}, true, errors.New("spec.serviceAccountName: this server does not authorize, so nothing is applied in the name of an account")
	}
	if r.stored.Get(object.Key{GroupKind: serviceAccountKind, Namespace: ks.Namespace, Name: name}) == nil {
		return User{}, true, &errAccount{ks.Namespace, name}
	}
	return User{
		Name:   "system:serviceaccount:" + ks.Namespace + ":" + name,
		Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + ks.Namespace, "system:authenticated"},
	}, true, nil
}

// allowed is nil if whom the Kustomization acts as may do the verb on the
// object. Whatever the syncer writes on behalf of a Kustomization asks here
// (or by authorize) first.
func (r rights) allowed(ks *kustomizev1.Kustomization, verb string, key object.Key) error {
	user, ok, err := r.impersonated(ks)
	if err != nil || !ok {
		return err
	}
	return r.access.Allowed(user, verb, key)
}

// authorize checks every write of a plan against the rights of whom the
// Kustomization acts as. It fails with all that is forbidden, by file and
// line; then nothing may be written.
//
// An object is read and applied as Flux does: get and patch, and create if it
// is not there; get and delete to prune it.
func (r rights) authorize(ks *kustomizev1.Kustomization, res plan.Result) error {
	user, ok, err := r.impersonated(ks)
	if err != nil {
		return fault.New(meta.ReconciliationFailedReason, err)
	}
	if !ok {
		return nil
	}
	planned := afterwards{r.stored, map[object.Key]object.Object{}}
	for _, a := range res.Actions {
		if a.Writes() {
			planned.changed[a.Key] = a.Object
		}
	}
	errs := r.mayWatch(ks, user)
	for _, e := range res.Errors {
		// What is wrong with an object that the user may not read could tell
		// what is in it.
		if e.Key.Name == "" {
			continue
		}
		if err := r.access.Allowed(user, "get", e.Key); err != nil {
			errs = append(errs, &plan.Error{Source: e.Source, Key: e.Key, Reason: err.Error()})
		}
	}
	for _, a := range res.Actions {
		if !a.Writes() {
			continue
		}
		if err := r.mayWrite(user, planned, a); err != nil {
			errs = append(errs, &plan.Error{Source: a.Source, Key: a.Key, Reason: err.Error()})
		}
	}
	if len(errs) > 0 {
		return fault.New(meta.ReconciliationFailedReason, &fault.Invalid{Errs: errs})
	}
	return nil
}

// mayWatch are the reasons why the user may not wait for spec.healthChecks:
// what is wrong with those objects is told in the status.
func (r rights) mayWatch(ks *kustomizev1.Kustomization, user User) []*plan.Error {
	if ks.Spec.Wait {
		return nil // they are not looked at
	}
	var errs []*plan.Error
	for i, key := range flux.HealthChecks(ks) {
		if err := r.access.Allowed(user, "get", key); err != nil {
			errs = append(errs, &plan.Error{Reason: fmt.Sprintf("spec.healthChecks[%d]: %v", i, err)})
		}
	}
	return errs
}

// mayDependOn is nil if the Kustomization may wait for another: whether that
// is ready, and by readyExpr what is in it, is told in the status. Those of its
// own namespace it may, as in Flux.
func (r rights) mayDependOn(ks *kustomizev1.Kustomization, dep object.Key) error {
	if dep.Namespace == ks.Namespace {
		return nil
	}
	if err := r.allowed(ks, "get", dep); err != nil {
		return fault.New(acl.AccessDeniedReason, fmt.Errorf("dependency '%s/%s': %w", dep.Namespace, dep.Name, err))
	}
	return nil
}

// mayWrite is the first reason why the user may not do the action, or nil.
func (r rights) mayWrite(user User, planned object.Reader, a plan.Action) error {
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
		if err := r.access.Allowed(user, verb, a.Key); err != nil {
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
	return r.access.Escalates(user, planned, a.Object, old)
}

// afterwards reads the store as it is once a plan is carried out.
type afterwards struct {
	object.Reader
	changed map[object.Key]object.Object // nil: deleted
}

// Get implements object.Reader. What is in a namespace goes with it.
func (a afterwards) Get(key object.Key) object.Object {
	if ns, ok := a.changed[object.Key{GroupKind: flux.Namespace, Name: key.Namespace}]; ok && ns == nil {
		return nil
	}
	if obj, ok := a.changed[key]; ok {
		return obj
	}
	return a.Reader.Get(key)
}

// List implements object.Reader.
func (a afterwards) List(kind schema.GroupKind, namespace string) ([]object.Object, uint64) {
	list, revision := a.Reader.List(kind, namespace)
	concerns := func(key object.Key) bool {
		return key.GroupKind == kind && (namespace == "" || key.Namespace == namespace)
	}
	copied := false
	for key := range a.changed {
		if !copied && concerns(key) {
			copied = true
			list = slices.DeleteFunc(slices.Clone(list), func(obj object.Object) bool {
				key, err := plan.KeyOf(obj)
				_, changed := a.changed[key]
				return err == nil && changed
			})
		}
	}
	if !copied {
		return list, revision
	}
	for key, obj := range a.changed {
		if obj != nil && concerns(key) {
			list = append(list, obj)
		}
	}
	return list, revision
}
