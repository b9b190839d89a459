// Package rootca maintains a ConfigMap with the certificate authority of the
// API in every namespace, by which pods verify the API server.
package rootca

import (
	"context"
	"fmt"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"

	"headway.dev/engine/admit"
	"headway.dev/engine/controllers/control"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

// New makes the controller. Without certificates it does nothing.
func New(env control.Env, pem []byte) control.Controller {
	return control.Controller{
		Name: "root-ca-certificate-publisher-controller",
		Keys: func(ev object.Event, add func(object.Key)) {
			switch {
			case ev.Key.GroupKind == control.Namespace && ev.Type != object.Deleted:
				add(ev.Key)
			case ev.Key.GroupKind == control.ConfigMap && ev.Key.Name == admit.RootCAName:
				add(object.Key{GroupKind: control.Namespace, Name: ev.Key.Namespace})
			}
		},
		Reconcile: func(ctx context.Context, key object.Key) (time.Duration, error) {
			ns := control.Get[corev1.Namespace](env.Store, key)
			at := object.Key{GroupKind: control.ConfigMap, Namespace: key.Name, Name: admit.RootCAName}
			if ns == nil || !admit.Alive(ns) || len(pem) == 0 || correct(control.Get[corev1.ConfigMap](env.Store, at), pem) {
				return 0, nil
			}
			changes := []change.Change{
				admit.NewRootCA(key.Name, pem, env.Now()),
				change.Patch(at, func(obj object.Object) bool { return put(obj.(*corev1.ConfigMap), pem) }),
			}
			if _, err := env.Commit(ctx, change.Tx{Changes: changes}); err != nil {
				return 0, fmt.Errorf("write the root CA %s: %w", at, err)
			}
			return 0, nil
		},
	}
}

// correct reports whether the ConfigMap is as pods need it. What it is described
// as is left to whoever changes it.
func correct(cm *corev1.ConfigMap, pem []byte) bool {
	return cm != nil && len(cm.BinaryData) == 0 && maps.Equal(cm.Data, admit.RootCAData(pem)) && cm.Annotations[admit.DescriptionAnnotation] != ""
}

func put(cm *corev1.ConfigMap, pem []byte) bool {
	if correct(cm, pem) {
		return false
	}
	cm.Data, cm.BinaryData = admit.RootCAData(pem), nil
	if cm.Annotations == nil {
		cm.Annotations = map[string]string{}
	}
	cm.Annotations[admit.DescriptionAnnotation] = admit.RootCADescription
	return true
}
