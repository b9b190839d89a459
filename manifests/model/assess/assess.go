// Package assess reports whether an object has reached what its spec asks for, and
// whether its containers stay up, by the health of its kind's definition in
// manifests/model/kinds. It is a function of what the Reader gives.
package assess

import (
	"headway.dev/manifests/model/health"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

// Of judges obj; nil is NotFound. For workloads, reader is asked for the pods,
// to say why (image cannot be pulled, no node fits, probe fails, crash loop);
// it may be nil, and then the message has only the counts. Kinds without a
// status of their own are Current.
func Of(obj object.Object, reader object.Reader) health.Result {
	if obj == nil {
		return health.Result{Status: health.NotFound, Message: "Resource not found"}
	}
	if obj.GetDeletionTimestamp() != nil {
		return health.Result{Status: health.Terminating, Message: "Resource scheduled for deletion"}
	}
	if k, ok := scheme.ForObject(obj); ok && k.Health.Of != nil {
		return k.Health.Of(obj, reader)
	}
	return health.Result{Status: health.Current, Message: "Resource is current"}
}
