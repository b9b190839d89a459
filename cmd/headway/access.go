package main

import (
	"net/http"

	"headway.dev/engine"
	"headway.dev/engine/rbac"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer/rights"
)

// access answers the syncer's questions about rights by the roles and bindings
// in the store, as the API server answers its own.
type access struct{ roles *rbac.Index }

// Allowed implements rights.Access.
func (a access) Allowed(user rights.User, verb string, key object.Key) error {
	return a.roles.Allowed(rbac.User(user), verb, key)
}

// Escalates implements rights.Access.
func (a access) Escalates(user rights.User, planned object.Reader, next, old object.Object) error {
	return a.roles.Escalates(rbac.Grant{
		User: rbac.User(user), Next: next, Old: old, Roles: planned, Name: next.GetName(),
		May: func(r rbac.Request) bool {
			allowed, _ := a.roles.Authorize(rbac.User(user), r)
			return allowed
		},
	})
}

// After implements rights.Access.
func (a access) After(changes []object.Event) rights.Access {
	return access{a.roles.After(changes)}
}

// withUser tells the syncer's API who asks: the API server has authenticated
// them.
func withUser(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, groups, ok := engine.RequestUser(r)
		if !ok {
			http.Error(w, "no user present on request", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r.WithContext(rights.WithUser(r.Context(), rights.User{Name: name, Groups: groups})))
	})
}
