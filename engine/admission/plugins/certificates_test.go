package plugins_test

import (
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

// Who writes inside the process, as commits are, requests in their own name, too,
// and cannot ask for the certificate of an administrator.
func TestSigningRequester(t *testing.T) {
	c := start(t)
	request := func(name, signer string, content []byte) change.Change {
		return change.Create(&certificatesv1.CertificateSigningRequest{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec: certificatesv1.CertificateSigningRequestSpec{
				SignerName: signer, Request: content, Usages: []certificatesv1.KeyUsage{certificatesv1.UsageClientAuth},
				Username: "system:node:n1", Groups: []string{"system:nodes"}, Extra: map[string]certificatesv1.ExtraValue{"a": {"b"}},
			},
		}, time.Now())
	}
	c.must(request("a", "example.com/house", nil))
	key := object.Key{GroupKind: certificatesv1.SchemeGroupVersion.WithKind("CertificateSigningRequest").GroupKind(), Name: "a"}
	r, _ := c.store.Get(key).(*certificatesv1.CertificateSigningRequest)
	if r == nil || r.Spec.Username != "somebody" || len(r.Spec.Groups) != 0 || r.Spec.Extra != nil {
		t.Errorf("stored %+v, want somebody's", r)
	}
	wantError(t, "no request", c.commit(request("b", certificatesv1.KubeAPIServerClientSignerName, nil)), apierrors.IsForbidden, "failed to parse CSR: PEM block type must be CERTIFICATE REQUEST")
}
