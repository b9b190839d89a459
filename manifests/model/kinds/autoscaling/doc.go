// Package autoscaling holds the kinds of autoscaling/v2, each in a file of its name, and
// the older form autoscaling/v1 in which they are served, too.
package autoscaling

import (
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/runtime"

	"headway.dev/manifests/model/kind"
)

// Group is the kinds of autoscaling/v2.
var Group = kind.Group{
	AddToScheme: func(s *runtime.Scheme) error {
		if err := autoscalingv2.AddToScheme(s); err != nil {
			return err
		}
		if err := autoscalingv1.AddToScheme(s); err != nil {
			return err
		}
		return addConversions(s)
	},
	Kinds: []*kind.Kind{horizontalPodAutoscaler},
	Older: []*kind.Older{horizontalPodAutoscalerV1},
}
