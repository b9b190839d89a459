package defaults

import (
	"time"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func gitRepository(r *sourcev1.GitRepository) {
	unset(&r.Spec.Timeout, metav1.Duration{Duration: time.Minute})
	if v := r.Spec.Verification; v != nil {
		zero(&v.Mode, sourcev1.ModeGitHEAD)
	}
}
