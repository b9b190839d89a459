// Package policystatus tells in the status of a ValidatingAdmissionPolicy which of its
// expressions do not fit the kinds that it matches. As in Kubernetes they are looked at
// once for each generation, and what is told changes nothing about what the policy does.
package policystatus

import (
	"context"
	"fmt"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"

	"headway.dev/engine/controllers/control"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

var policies = admissionregistrationv1.SchemeGroupVersion.WithKind("ValidatingAdmissionPolicy").GroupKind()

// Check returns what is wrong about the expressions of a policy.
type Check func(*admissionregistrationv1.ValidatingAdmissionPolicy) []admissionregistrationv1.ExpressionWarning

// New makes the controller. Without a check it does nothing.
func New(env control.Env, check Check) control.Controller {
	return control.Controller{
		Name: "validatingadmissionpolicy-status-controller", Workers: 5,
		Keys: func(ev object.Event, add func(object.Key)) {
			if ev.Key.GroupKind == policies {
				add(ev.Key)
			}
		},
		Reconcile: func(ctx context.Context, key object.Key) (time.Duration, error) {
			policy, ok := env.Store.Get(key).(*admissionregistrationv1.ValidatingAdmissionPolicy)
			if !ok || check == nil || policy.Generation <= policy.Status.ObservedGeneration {
				return 0, nil
			}
			warnings := check(policy)
			tell := change.PatchStatus(key, func(obj object.Object) bool {
				now, ok := obj.(*admissionregistrationv1.ValidatingAdmissionPolicy)
				if !ok || now.UID != policy.UID || now.Generation != policy.Generation {
					return false
				}
				now.Status.ObservedGeneration = policy.Generation
				now.Status.TypeChecking = &admissionregistrationv1.TypeChecking{ExpressionWarnings: warnings}
				return true
			})
			if _, err := env.Commit(ctx, change.Tx{Changes: []change.Change{control.Present(tell)}}); err != nil {
				return 0, fmt.Errorf("tell what is wrong about the policy %s: %w", key.Name, err)
			}
			return 0, nil
		},
	}
}
