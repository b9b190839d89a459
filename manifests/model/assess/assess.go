// Package assess reports whether an object has reached the state that its spec
// asks for, and whether its containers stay up, using the health in its kind's
// definition in manifests/model/kinds. The result depends only on the object
// and the Reader.
package assess

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"headway.dev/manifests/model/health"
	"headway.dev/manifests/model/kinds/apiextensions"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

// Of judges obj; nil is NotFound. For workloads it reads the pods from reader
// to find the reason (image cannot be pulled, no node fits, probe fails, crash
// loop). reader may be nil; then the message only contains the counts. Kinds
// without a status of their own are Current.
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
	if u, ok := obj.(*unstructured.Unstructured); ok {
		return apiextensions.Health(u)
	}
	return health.Result{Status: health.Current, Message: "Resource is current"}
}
