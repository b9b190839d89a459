package syncer

import (
	"errors"
	"fmt"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/acl"
	"github.com/fluxcd/pkg/apis/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/object"
	"headway.dev/syncer/plan"
)

// User is whom the syncer acts as.
type User struct {
	Name   string
	Groups []string
}

// Access decides what a user may do, exactly as the API server decides about
// the user's requests, but without a request. What it answers holds for the
// stored state at the moment of the call.
type Access interface {
	// Allowed is nil if the user may do the verb (get, create, patch, delete,
	// …) on the object, and else the API server's Forbidden error.
	Allowed(user User, verb string, key object.Key) error
	// Escalates is nil unless storing next in place of old (nil: there is
	// none) gives someone rights that the user has not: then it is the API
	// server's Forbidden error. Only roles and their bindings can. planned is
	// what is stored once the transaction is done: a binding may refer to a
	// role that comes with it. What the user may do is read from the stored
	// state alone, so that no commit can authorize itself.
	Escalates(user User, planned object.Reader, next, old object.Object) error
}

// systemKustomization is the one that the operator declares on the command
// line: --default-service-account does not apply to it.
const systemKustomization = "headway-system/cluster"

var serviceAccountKind = schema.GroupKind{Kind: "ServiceAccount"}

// errAccount says that the ServiceAccount to act as does not exist.
type errAccount struct{ namespace, name string }

func (e *errAccount) Error() string {
	return fmt.Sprintf("ServiceAccount %s/%s not found: create it, or change spec.serviceAccountName of the Kustomization", e.namespace, e.name)
}

// serviceAccount is the name of the account that a Kustomization acts as, in
// its own namespace; empty means that it acts as the cluster itself.
func (s *Syncer) serviceAccount(ks *kustomizev1.Kustomization) string {
	switch {
	case ks.Spec.ServiceAccountName != "":
		return ks.Spec.ServiceAccountName
	case ks.Namespace+"/"+ks.Name == systemKustomization:
		return ""
	}
	return s.cfg.DefaultServiceAccount
}

// impersonated is whom a Kustomization acts as; ok is false if it acts as the
// cluster itself and may do anything. It fails if the account does not exist.
func (s *Syncer) impersonated(ks *kustomizev1.Kustomization) (user User, ok bool, err error) {
	name := s.serviceAccount(ks)
	if name == "" {
		return User{}, false, nil
	}
	if s.cfg.Access == nil {
		return User{}, true, errors.New("spec.serviceAccountName: this server does not authorize, so nothing is applied in the name of an account")
	}
	if s.cfg.Store.Get(object.Key{GroupKind: serviceAccountKind, Namespace: ks.Namespace, Name: name}) == nil {
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
func (s *Syncer) allowed(ks *kustomizev1.Kustomization, verb string, key object.Key) error {
	user, ok, err := s.impersonated(ks)
	if err != nil || !ok {
		return err
	}
	return s.cfg.Access.Allowed(user, verb, key)
}

// mayWriteGit is nil if the Kustomization may cause commits on its source's
// branch (a revert, a write by hand): they are pushed with the source's
// credentials, so one that acts as an account may only in its own namespace.
func (s *Syncer) mayWriteGit(ks *kustomizev1.Kustomization) error {
	source := sourceKey(ks)
	if s.serviceAccount(ks) == "" || source.Namespace == ks.Namespace {
		return nil
	}
	return fmt.Errorf("the Kustomization acts as a ServiceAccount of the namespace %s, and the GitRepository %s/%s is of another: it must not write to its branch",
		ks.Namespace, source.Namespace, source.Name)
}

// sourceAllowed is nil if the Kustomization may refer to its source.
func (s *Syncer) sourceAllowed(ks *kustomizev1.Kustomization) error {
	source := sourceKey(ks)
	if !s.cfg.NoCrossNamespaceRefs || source.Namespace == ks.Namespace {
		return nil
	}
	return fail(acl.AccessDeniedReason, fmt.Errorf("can't access '%s/%s/%s', cross-namespace references have been blocked",
		ks.Spec.SourceRef.Kind, source.Namespace, source.Name))
}

// authorize checks every write of a plan against the rights of whom the
// Kustomization acts as. It fails with all that is forbidden, by file and
// line; then nothing may be written.
//
// An object is read and applied as Flux does: get and patch, and create if it
// is not there; get and delete to prune it.
func (s *Syncer) authorize(ks *kustomizev1.Kustomization, res plan.Result) error {
	user, ok, err := s.impersonated(ks)
	if err != nil {
		return fail(meta.ReconciliationFailedReason, err)
	}
	if !ok {
		return nil
	}
	planned := afterwards{s.cfg.Store, map[object.Key]object.Object{}}
	for _, a := range res.Actions {
		if a.Writes() {
			planned.changed[a.Key] = a.Object
		}
	}
	errs := s.mayWatch(ks, user)
	for _, e := range res.Errors {
		// What is wrong with an object that the user may not read could tell
		// what is in it.
		if e.Key.Name == "" {
			continue
		}
		if err := s.cfg.Access.Allowed(user, "get", e.Key); err != nil {
			errs = append(errs, &plan.Error{Source: e.Source, Key: e.Key, Reason: err.Error()})
		}
	}
	for _, a := range res.Actions {
		if !a.Writes() {
			continue
		}
		if err := s.mayWrite(user, planned, a); err != nil {
			errs = append(errs, &plan.Error{Source: a.Source, Key: a.Key, Reason: err.Error()})
		}
	}
	if len(errs) > 0 {
		return fail(meta.ReconciliationFailedReason, &errInvalid{errs: errs})
	}
	return nil
}

// mayWatch are the reasons why the user may not wait for spec.healthChecks:
// what is wrong with those objects is told in the status.
func (s *Syncer) mayWatch(ks *kustomizev1.Kustomization, user User) []*plan.Error {
	if ks.Spec.Wait {
		return nil // they are not looked at
	}
	var errs []*plan.Error
	for i, key := range healthChecks(ks) {
		if err := s.cfg.Access.Allowed(user, "get", key); err != nil {
			errs = append(errs, &plan.Error{Reason: fmt.Sprintf("spec.healthChecks[%d]: %v", i, err)})
		}
	}
	return errs
}

// mayDependOn is nil if the Kustomization may wait for another: whether that
// is ready, and by readyExpr what is in it, is told in the status. Those of its
// own namespace it may, as in Flux.
func (s *Syncer) mayDependOn(ks *kustomizev1.Kustomization, dep object.Key) error {
	if dep.Namespace == ks.Namespace {
		return nil
	}
	if err := s.allowed(ks, "get", dep); err != nil {
		return fail(acl.AccessDeniedReason, fmt.Errorf("dependency '%s/%s': %w", dep.Namespace, dep.Name, err))
	}
	return nil
}

// mayWrite is the first reason why the user may not do the action, or nil.
func (s *Syncer) mayWrite(user User, planned object.Reader, a plan.Action) error {
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
		if err := s.cfg.Access.Allowed(user, verb, a.Key); err != nil {
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
	return s.cfg.Access.Escalates(user, planned, a.Object, old)
}

// afterwards reads the store as it is once a plan is carried out.
type afterwards struct {
	object.Reader
	changed map[object.Key]object.Object // nil: deleted
}

// Get implements object.Reader.
func (a afterwards) Get(key object.Key) object.Object {
	if obj, ok := a.changed[key]; ok {
		return obj
	}
	return a.Reader.Get(key)
}

// changesRights says whether what accounts may do depends on an object.
func changesRights(key object.Key) bool {
	return key.Group == "rbac.authorization.k8s.io" || key.GroupKind == serviceAccountKind
}

// retryRefused has the Kustomizations that act as an account and failed, or are
// about to, try again: they may have got the rights that they lacked.
func (s *Syncer) retryRefused() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.kustomizations {
		if ks := k.get(); ks == nil || s.serviceAccount(ks) == "" {
			continue
		}
		k.mu.Lock()
		failed := k.settled != (attempt{}) && !k.settledOK
		k.regained = !failed
		k.mu.Unlock()
		if failed {
			k.again()
		}
	}
}
