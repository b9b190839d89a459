package strategy

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"headway.dev/manifests/model/object"
)

// Graceful is the main strategy of kinds with a grace period, because the node
// has to end pods before they are removed.
type Graceful struct{ Main }

// CheckGracefulDelete implements rest.RESTGracefulDeleteStrategy: it determines
// the grace period.
func (s Graceful) CheckGracefulDelete(_ context.Context, obj runtime.Object, options *metav1.DeleteOptions) bool {
	if options == nil {
		return false
	}
	period := s.kind.Lifecycle.Grace(obj.(object.Object), *options)
	options.GracePeriodSeconds = &period
	return true
}
