// Package events holds the kinds of events.k8s.io/v1, which is another form of
// the events of v1.
package events

import (
	eventsv1 "k8s.io/api/events/v1"

	"headway.dev/manifests/model/kind"
)

// Group is events.k8s.io/v1. It has no kind of its own.
var Group = kind.Group{AddToScheme: eventsv1.AddToScheme, Views: []*kind.View{event}}
