package plugins

import (
	"context"
	"fmt"

	"k8s.io/apiserver/pkg/admission"
)

// runtimeClass is RuntimeClass. There is no kind RuntimeClass yet, so that no
// pod can name one that exists.
type runtimeClass struct{ ofPods }

// Validate implements admission.ValidationInterface.
func (runtimeClass) Validate(_ context.Context, attrs admission.Attributes, _ admission.ObjectInterfaces) error {
	pod := newPod(attrs)
	if pod == nil || pod.Spec.RuntimeClassName == nil {
		return nil
	}
	return admission.NewForbidden(attrs, fmt.Errorf("pod rejected: RuntimeClass %q not found", *pod.Spec.RuntimeClassName))
}
