package strategy

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"headway.dev/manifests/model/lifecycle"
)

// Graceful is the main strategy of Pods, which the node ends before they go.
type Graceful struct{ Main }

// CheckGracefulDelete implements rest.RESTGracefulDeleteStrategy: it settles
// the grace period.
func (s Graceful) CheckGracefulDelete(_ context.Context, obj runtime.Object, options *metav1.DeleteOptions) bool {
	if options == nil {
		return false
	}
	period := lifecycle.GracePeriod(obj.(*corev1.Pod), *options)
	options.GracePeriodSeconds = &period
	return true
}
