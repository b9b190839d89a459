package certificates

import (
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/engine/pki"
)

// Requests go when nobody needs them any more.
func TestExpiry(t *testing.T) {
	set, err := pki.Ensure(t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().Truncate(time.Second)
	short, _, err := set.ClientFor(20*time.Minute, "x")
	if err != nil {
		t.Fatal(err)
	}
	at := func(d time.Duration, typ certificatesv1.RequestConditionType) certificatesv1.CertificateSigningRequestCondition {
		return certificatesv1.CertificateSigningRequestCondition{Type: typ, LastUpdateTime: metav1.NewTime(now.Add(d))}
	}
	type conditions = []certificatesv1.CertificateSigningRequestCondition
	for name, c := range map[string]struct {
		conditions conditions
		signed     []byte
		want       time.Duration // since the creation
	}{
		"pending":         {nil, nil, 24 * time.Hour},
		"denied":          {conditions{at(time.Minute, certificatesv1.CertificateDenied)}, nil, time.Hour + time.Minute},
		"approved":        {conditions{at(time.Hour, certificatesv1.CertificateApproved)}, nil, 25 * time.Hour},
		"failed":          {conditions{at(0, certificatesv1.CertificateApproved), at(time.Hour, certificatesv1.CertificateFailed)}, nil, 2 * time.Hour},
		"issued":          {conditions{at(time.Hour, certificatesv1.CertificateApproved)}, []byte("x"), 2 * time.Hour},
		"issued, expired": {conditions{at(0, certificatesv1.CertificateApproved)}, short, 20 * time.Minute},
	} {
		r := &certificatesv1.CertificateSigningRequest{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: metav1.NewTime(now)}}
		r.Status.Conditions, r.Status.Certificate = c.conditions, c.signed
		if got := expiry(r).Sub(now); got < c.want-2*time.Second || got > c.want+2*time.Second {
			t.Errorf("%s: kept for %v, want %v", name, got, c.want)
		}
	}
}

func TestLifetime(t *testing.T) {
	for seconds, want := range map[int32]time.Duration{600: 10 * time.Minute, 1: 10 * time.Minute, 3600: time.Hour, 1 << 30: longest} {
		if got := lifetime(&seconds); got != want {
			t.Errorf("%d seconds: %v, want %v", seconds, got, want)
		}
	}
	if got := lifetime(nil); got != longest {
		t.Errorf("nothing asked for: %v, want a year", got)
	}
}
