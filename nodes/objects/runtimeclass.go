package objects

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Handler returns the handler of a pod's RuntimeClass, which never changes; it is
// empty without a class. It asks the API: a pod needs it once.
func (o *Cache) Handler(ctx context.Context, class *string) (string, error) {
	if class == nil || *class == "" {
		return "", nil
	}
	c, err := o.client.NodeV1().RuntimeClasses().Get(ctx, *class, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err): // with the resource as the kubelet names it
		return "", apierrors.NewNotFound(schema.GroupResource{Group: "node.k8s.io", Resource: "runtimeclass"}, *class)
	case err != nil:
		return "", fmt.Errorf("failed to lookup RuntimeClass %s: %w", *class, err)
	}
	return c.Handler, nil
}
