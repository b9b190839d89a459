package core

import (
	corev1 "k8s.io/api/core/v1"

	"headway.dev/manifests/model/kind"
)

var event = kind.Define[corev1.Event, corev1.EventList](kind.Definition[*corev1.Event]{
	Names: kind.Names{
		GroupVersionKind: corev1.SchemeGroupVersion.WithKind("Event"),
		Plural:           "events", Singular: "event",
		ShortNames: []string{"ev"}, Namespaced: true,
	},
})
