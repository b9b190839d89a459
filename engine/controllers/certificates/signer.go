package certificates

import (
	"context"
	"crypto/x509"
	"fmt"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"

	"headway.dev/engine/controllers/control"
	"headway.dev/engine/pki"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/kinds/certificates"
	"headway.dev/manifests/model/object"
)

// The lives of signed certificates, whatever is asked for.
const (
	shortest = 10 * time.Minute
	longest  = 365 * 24 * time.Hour
)

// signers are the signers of the cluster, each with what it refuses to sign.
var signers = map[string]func(*x509.CertificateRequest, []certificatesv1.KeyUsage) error{
	certificatesv1.KubeAPIServerClientSignerName:        forAnyClient,
	certificatesv1.KubeAPIServerClientKubeletSignerName: forClient,
	certificatesv1.KubeletServingSignerName:             forServer,
}

// NewSigner makes the controller that signs approved requests with the cluster's
// authority. Without one it does nothing.
func NewSigner(env control.Env, authority *pki.Set) control.Controller {
	return control.Controller{
		Name: "certificatesigningrequest-signing-controller",
		Keys: requests,
		Reconcile: func(ctx context.Context, key object.Key) (time.Duration, error) {
			r := find(env, key)
			if r == nil || authority == nil || !signable(r) {
				return 0, nil
			}
			signed, refusal, err := sign(authority, r, env.Now())
			if err != nil {
				return 0, fmt.Errorf("sign %s: %w", key, err)
			}
			uid := r.UID
			_, err = env.Commit(ctx, change.Tx{Changes: []change.Change{control.Present(change.PatchStatus(key, func(obj object.Object) bool {
				r := obj.(*certificatesv1.CertificateSigningRequest)
				if r.UID != uid || !signable(r) {
					return false
				}
				r.Status.Certificate = signed
				if refusal != nil {
					r.Status.Conditions = append(r.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
						Type: certificatesv1.CertificateFailed, Status: corev1.ConditionTrue, Reason: "SignerValidationFailure", Message: refusal.Error(),
					})
				}
				return true
			}))}})
			return 0, err
		},
	}
}

// signable reports whether a request waits for one of the cluster's signers.
func signable(r *certificatesv1.CertificateSigningRequest) bool {
	return signers[r.Spec.SignerName] != nil && len(r.Status.Certificate) == 0 && certificates.Has(r, certificatesv1.CertificateApproved) &&
		!certificates.Has(r, certificatesv1.CertificateDenied) && !certificates.Has(r, certificatesv1.CertificateFailed)
}

// sign returns a certificate, or why the signer refuses to sign.
func sign(authority *pki.Set, r *certificatesv1.CertificateSigningRequest, now time.Time) (signed []byte, refusal, err error) {
	parsed, err := certificates.ParseRequest(r.Spec.Request)
	if err == nil {
		err = parsed.CheckSignature()
	}
	if err != nil {
		return nil, err, nil
	}
	if refusal := signers[r.Spec.SignerName](parsed, r.Spec.Usages); refusal != nil {
		return nil, refusal, nil
	}
	signed, err = authority.Sign(parsed, r.Spec.Usages, lifetime(r.Spec.ExpirationSeconds), now)
	return signed, nil, err
}

func lifetime(seconds *int32) time.Duration {
	if seconds == nil {
		return longest
	}
	return min(max(time.Duration(*seconds)*time.Second, shortest), longest)
}
