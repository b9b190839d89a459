package apps

import (
	"fmt"
	"maps"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/manifests/model/kind"
)

// Claims are the claims of a stateful set's pod of a number, as they are made.
func Claims(set *appsv1.StatefulSet, number int) []kind.PodClaim {
	var claims []kind.PodClaim
	seen := map[string]bool{}
	for i := range set.Spec.VolumeClaimTemplates {
		template := &set.Spec.VolumeClaimTemplates[i]
		if seen[template.Name] {
			continue
		}
		seen[template.Name] = true
		claim := template.DeepCopy()
		claim.TypeMeta, claim.Status, claim.Namespace = metav1.TypeMeta{}, corev1.PersistentVolumeClaimStatus{}, set.Namespace
		claim.Name = fmt.Sprintf("%s-%s-%d", template.Name, set.Name, number)
		if claim.Labels == nil {
			claim.Labels = map[string]string{}
		}
		if set.Spec.Selector != nil {
			maps.Copy(claim.Labels, set.Spec.Selector.MatchLabels)
		}
		claims = append(claims, kind.PodClaim{Volume: template.Name, Claim: claim})
	}
	return claims
}
