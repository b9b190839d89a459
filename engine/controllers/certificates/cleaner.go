package certificates

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/engine/controllers/control"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

// For how long requests are kept that were decided on, and those that were not,
// or not signed.
const (
	keepDecided = time.Hour
	keepPending = 24 * time.Hour
)

// NewCleaner makes the controller that removes requests which nobody needs any
// more.
func NewCleaner(env control.Env) control.Controller {
	return control.Controller{
		Name: "certificatesigningrequest-cleaner-controller",
		Keys: requests,
		Reconcile: func(ctx context.Context, key object.Key) (time.Duration, error) {
			r := find(env, key)
			if r == nil || r.DeletionTimestamp != nil {
				return 0, nil
			}
			now := env.Now()
			if left := expiry(r).Sub(now); left > 0 {
				return left, nil
			}
			seen := r.ResourceVersion
			_, err := env.Commit(ctx, change.Tx{Changes: []change.Change{control.Guarded(change.Delete(key, metav1.DeleteOptions{}, now),
				func(current object.Object) bool { return current.GetResourceVersion() == seen })}})
			return 0, err
		},
	}
}

// expiry is when nobody needs a request any more.
func expiry(r *certificatesv1.CertificateSigningRequest) time.Time {
	at := r.CreationTimestamp.Add(keepPending)
	if len(r.Status.Conditions) > 0 {
		// What has other conditions is kept for as long as somebody works on it.
		at = at.AddDate(100, 0, 0)
	}
	earlier := func(t time.Time) {
		if t.Before(at) {
			at = t
		}
	}
	for _, c := range r.Status.Conditions {
		switch c.Type {
		case certificatesv1.CertificateDenied, certificatesv1.CertificateFailed:
			earlier(c.LastUpdateTime.Add(keepDecided))
		case certificatesv1.CertificateApproved:
			if len(r.Status.Certificate) > 0 {
				earlier(c.LastUpdateTime.Add(keepDecided))
			} else {
				earlier(c.LastUpdateTime.Add(keepPending))
			}
		}
	}
	if block, _ := pem.Decode(r.Status.Certificate); block != nil {
		if cert, err := x509.ParseCertificate(block.Bytes); err == nil {
			earlier(cert.NotAfter)
		}
	}
	return at
}
