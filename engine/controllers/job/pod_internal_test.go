package job

import (
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

// TestNamesOfPods: wherever a job's name is cut off, the names of its pods are valid.
func TestNamesOfPods(t *testing.T) {
	for length := 1; length <= validation.DNS1123LabelMaxLength; length++ {
		for _, name := range []string{strings.Repeat("a", length), strings.Repeat("a.", length)[:length-1] + "a", strings.Repeat("-a", length)[length:2*length-1] + "a"} {
			j := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: strings.Trim(name, "-.")}}
			for _, index := range []int{unknown, 0, 123456} {
				got := newPod(j, Creation{Index: index}).Name
				if wrong := validation.IsDNS1123Subdomain(got); len(wrong) > 0 || len(got) > validation.DNS1123LabelMaxLength {
					t.Errorf("the pod %d of %s is %s (%d characters): %v", index, j.Name, got, len(got), wrong)
				}
			}
		}
	}
}
