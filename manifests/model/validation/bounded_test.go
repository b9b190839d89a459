package validation_test

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/manifests/model/validation"
)

// TestManyErrors: of thousands of mistakes the first are told, and how many more
// there are.
func TestManyErrors(t *testing.T) {
	labels := map[string]string{}
	for i := range 20_000 {
		labels[fmt.Sprintf("-%d", i)] = "x"
	}
	errs := validation.Create(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "c", Namespace: "d", Labels: labels}})
	if len(errs) != 501 || !strings.HasSuffix(errs[500].Error(), "(19499 further errors are not listed)") {
		t.Errorf("%d errors, the last: %v", len(errs), errs[len(errs)-1])
	}
}
