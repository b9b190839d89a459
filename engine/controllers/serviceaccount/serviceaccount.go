// Package serviceaccount maintains a ServiceAccount "default" in every
// namespace, and tokens in the Secrets that ask for one.
package serviceaccount

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"headway.dev/engine/admit"
	"headway.dev/engine/controllers/control"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

// New makes the controller.
func New(env control.Env) control.Controller {
	return control.Controller{
		Name: "serviceaccount-controller",
		Keys: func(ev object.Event, add func(object.Key)) {
			switch {
			case ev.Key.GroupKind == control.Namespace && ev.Type != object.Deleted:
				add(ev.Key)
			case ev.Key.GroupKind == control.ServiceAccount && ev.Key.Name == admit.DefaultAccount && ev.Type == object.Deleted:
				add(object.Key{GroupKind: control.Namespace, Name: ev.Key.Namespace})
			}
		},
		Reconcile: func(ctx context.Context, key object.Key) (time.Duration, error) {
			ns := control.Get[corev1.Namespace](env.Store, key)
			account := object.Key{GroupKind: control.ServiceAccount, Namespace: key.Name, Name: admit.DefaultAccount}
			if ns == nil || !admit.Alive(ns) || env.Store.Get(account) != nil {
				return 0, nil
			}
			if _, err := env.Commit(ctx, change.Tx{Changes: []change.Change{admit.NewDefaultAccount(key.Name, env.Now())}}); err != nil {
				return 0, fmt.Errorf("create service account %s: %w", account, err)
			}
			return 0, nil
		},
	}
}
