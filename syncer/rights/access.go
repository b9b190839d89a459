package rights

import (
	"context"
	"errors"
	"fmt"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/acl"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer/fault"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/wire"
)

// User is the user as whom the syncer acts.
type User struct {
	Name   string
	Groups []string
	// UID and Extra are what else the API server knows of a user who asks.
	UID   string
	Extra map[string][]string
}

// ErrUnanswered is the answer where whoever decides could not be asked. It is no
// reason to act as if the user might not.
var ErrUnanswered = errors.New("who decides about it could not be asked")

// Access decides what a user may do, exactly as the API server decides about
// the user's requests, but without a request. Its answers hold for the stored
// state at the moment of the call.
type Access interface {
	// Allowed returns nil if the user may do the verb (get, create, patch,
	// delete, …) on the object, and otherwise the API server's Forbidden error,
	// or ErrUnanswered.
	Allowed(ctx context.Context, user User, verb string, key object.Key) error
	// Escalates returns nil unless storing next in place of old (nil: there is
	// none) would give someone rights that the user does not have; then it
	// returns the API server's Forbidden error. Only roles and their bindings
	// can. planned is what is stored once the transaction is done: a binding
	// may refer to a role that comes with it. What the user may do is read from
	// the stored state alone, so that no commit can authorize itself.
	Escalates(ctx context.Context, user User, planned object.Reader, next, old object.Object) error
	// After returns an Access that decides as after the changes are stored, and
	// after what controllers make of them.
	After(changes []object.Event) Access
}

// systemKustomization is the one that the operator declares on the command
// line: --default-service-account does not apply to it.
const systemKustomization = wire.Root

// ErrAccount reports that the ServiceAccount to act as does not exist.
type ErrAccount struct{ namespace, name string }

// Error implements error.
func (e *ErrAccount) Error() string {
	return fmt.Sprintf("ServiceAccount %s/%s not found: create it, or change spec.serviceAccountName of the Kustomization", e.namespace, e.name)
}

// Account returns the name of the account that a Kustomization acts as, in its
// own namespace; empty means that it acts as the cluster itself.
func (r Rights) Account(ks *kustomizev1.Kustomization) string {
	switch {
	case ks.Spec.ServiceAccountName != "":
		return ks.Spec.ServiceAccountName
	case ks.Namespace+"/"+ks.Name == systemKustomization:
		return ""
	}
	return r.account
}

// Writer returns the user that a Kustomization writes as; one without a name is
// the cluster itself.
func (r Rights) Writer(ks *kustomizev1.Kustomization) change.User {
	if name := r.Account(ks); name != "" {
		return change.Account(ks.Namespace, name)
	}
	return change.User{}
}

// MayWriteGit returns nil if the Kustomization may cause commits on its
// source's branch (a revert, a write by hand). They are pushed with the
// source's credentials, so a Kustomization that acts as an account may only do
// so in its own namespace.
func (r Rights) MayWriteGit(ks *kustomizev1.Kustomization) error {
	source := flux.SourceKey(ks)
	if r.Account(ks) == "" || source.Namespace == ks.Namespace {
		return nil
	}
	return fmt.Errorf("the Kustomization acts as a ServiceAccount of the namespace %s, and the GitRepository %s/%s is of another: it must not write to its branch",
		ks.Namespace, source.Namespace, source.Name)
}

// MayFollow returns nil if the Kustomization may refer to its source.
func (r Rights) MayFollow(ks *kustomizev1.Kustomization) error {
	source := flux.SourceKey(ks)
	if !r.ownSources || source.Namespace == ks.Namespace {
		return nil
	}
	return fault.New(acl.AccessDeniedReason, fmt.Errorf("can't access '%s/%s/%s', cross-namespace references have been blocked",
		ks.Spec.SourceRef.Kind, source.Namespace, source.Name))
}

// Concerns reports whether what accounts may do depends on an object.
func Concerns(key object.Key) bool {
	return key.Group == "rbac.authorization.k8s.io" || key.GroupKind == flux.ServiceAccount
}
