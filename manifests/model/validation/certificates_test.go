package validation_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"strings"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/manifests/model/kinds/certificates"
	"headway.dev/manifests/model/lifecycle"
	"headway.dev/manifests/model/validation"
)

func signingRequest(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "ada"}}, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
}

func signingRequestCases(t *testing.T) {
	t.Helper()
	request := signingRequest(t)
	base := `{apiVersion: certificates.k8s.io/v1, kind: CertificateSigningRequest, metadata: {name: ada}, spec: {signerName: example.com/house, usages: [client auth], request: ` +
		base64.StdEncoding.EncodeToString(request) + `}}`
	type csr = certificatesv1.CertificateSigningRequest
	create(t, base, cases[*csr]{
		"any name":    {func(r *csr) { r.Name = "Ada_1:x" }, nil},
		"no usages":   {func(r *csr) { r.Spec.Usages = nil }, []string{"spec.usages: Required value"}},
		"usage twice": {func(r *csr) { r.Spec.Usages = append(r.Spec.Usages, "client auth") }, []string{`spec.usages[1]: Duplicate value: "client auth"`}},
		"usage": {func(r *csr) { r.Spec.Usages[0] = "love" }, []string{
			`spec.usages[0]: Unsupported value: "love": supported values: "any", "cert sign", "client auth", "code signing", "content commitment", "crl sign", "data encipherment", "decipher only", "digital signature", "email protection", "encipher only", "ipsec end system", "ipsec tunnel", "ipsec user", "key agreement", "key encipherment", "microsoft sgc", "netscape sgc", "ocsp signing", "s/mime", "server auth", "signing", "timestamping"`,
		}},
		"no signer":     {func(r *csr) { r.Spec.SignerName = "" }, []string{"spec.signerName: Required value"}},
		"signer":        {func(r *csr) { r.Spec.SignerName = "example.com" }, []string{`spec.signerName: Invalid value: "example.com": must be a fully qualified domain and path of the form 'example.com/signer-name'`}},
		"signer domain": {func(r *csr) { r.Spec.SignerName = "example/a" }, []string{`spec.signerName: Invalid value: "example": should be a domain with at least two segments separated by dots`}},
		"legacy signer": {func(r *csr) { r.Spec.SignerName = "kubernetes.io/legacy-unknown" }, []string{`spec.signerName: Invalid value: "kubernetes.io/legacy-unknown": the legacy signerName is not allowed via this API version`}},
		"ten minutes":   {func(r *csr) { r.Spec.ExpirationSeconds = new(int32(600)) }, nil},
		"less":          {func(r *csr) { r.Spec.ExpirationSeconds = new(int32(599)) }, []string{"spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 600 seconds (10 minutes)"}},
	})
	for name, broken := range map[string][]byte{
		"PEM block type must be CERTIFICATE REQUEST": []byte("x"),
		"asn1: ": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: []byte("x")}),
	} {
		r := &csr{ObjectMeta: metav1.ObjectMeta{Name: "ada"}, Spec: certificatesv1.CertificateSigningRequestSpec{SignerName: "example.com/house", Usages: []certificatesv1.KeyUsage{"any"}, Request: broken}}
		if errs := validation.Create(r); len(errs) != 1 || errs[0].Field != "spec.request" || !strings.Contains(errs[0].Detail, name) {
			t.Errorf("%s: %v", name, errs)
		}
	}
	update(t, base, cases[*csr]{
		"labels":  {func(r *csr) { r.Labels = map[string]string{"a": "b"} }, nil},
		"another": {func(r *csr) { r.Name = "bob" }, []string{`metadata.name: Invalid value: "bob": field is immutable`}},
	})
	t.Run("decisions", signingRequestDecisions)
}

// signingRequestDecisions shows that conditions are decided through the approval
// alone, that certificates come through the status alone, and that neither is ever
// taken back.
func signingRequestDecisions(t *testing.T) {
	t.Helper()
	type csr = certificatesv1.CertificateSigningRequest
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	cond := func(typ certificatesv1.RequestConditionType) certificatesv1.CertificateSigningRequestCondition {
		return certificatesv1.CertificateSigningRequestCondition{Type: typ, Status: "True", LastUpdateTime: metav1.NewTime(now), LastTransitionTime: metav1.NewTime(now)}
	}
	old := &csr{ObjectMeta: metav1.ObjectMeta{Name: "ada", ResourceVersion: "1"}, Spec: certificatesv1.CertificateSigningRequestSpec{
		SignerName: "example.com/house", Usages: []certificatesv1.KeyUsage{"any"}, Request: signingRequest(t),
	}}
	decided := old.DeepCopy()
	decided.Status.Conditions = []certificatesv1.CertificateSigningRequestCondition{cond(certificatesv1.CertificateApproved)}
	decided.Status.Certificate = []byte("what was signed")
	for _, c := range []struct {
		name, through string
		old           *csr
		edit          func(*csr)
		want          string
	}{
		{"approve", "approval", old, func(r *csr) { r.Status.Conditions = decided.Status.Conditions }, ""},
		{"approve and sign", "approval", old, func(r *csr) { r.Status = decided.Status }, ""}, // the certificate is left out
		{"approve and deny", "approval", decided, func(r *csr) {
			r.Status.Conditions = append(r.Status.Conditions, cond(certificatesv1.CertificateDenied))
		}, "Approved and Denied conditions are mutually exclusive"},
		{"take back", "approval", decided, func(r *csr) { r.Status.Conditions = nil }, `updates may not remove a condition of type "Approved"`},
		{"approved, but not", "approval", old, func(r *csr) {
			r.Status.Conditions = []certificatesv1.CertificateSigningRequestCondition{{Type: certificatesv1.CertificateApproved, Status: "False"}}
		}, `status.conditions[0].status: Unsupported value: "False": supported values: "True"`},
		{"approve through the status", "status", old, func(r *csr) { r.Status.Conditions = decided.Status.Conditions }, `updates may not add a condition of type "Approved"`},
		{"sign", "status", old, func(r *csr) { r.Status.Certificate = []byte("x") }, "must contain at least one CERTIFICATE PEM block"},
		{"sign with a key", "status", old, func(r *csr) { r.Status.Certificate = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY"}) }, `only CERTIFICATE PEM blocks are allowed, found "PRIVATE KEY"`},
		{"sign again", "status", decided, func(r *csr) { r.Status.Certificate = nil }, "updates may not modify existing certificate content"},
		{"fail", "status", decided, func(r *csr) {
			r.Status.Conditions = append(r.Status.Conditions, cond(certificatesv1.CertificateFailed))
		}, ""},
		{"another reason", "status", decided, func(r *csr) { r.Status.Conditions[0].Reason = "x" }, ""}, // the old one is kept
	} {
		r := c.old.DeepCopy()
		c.edit(r)
		text := ""
		if c.through == "approval" {
			lifecycle.PrepareApproval(r, c.old, now)
			if e := certificates.ValidateApproval(r, c.old).ToAggregate(); e != nil {
				text = e.Error()
			}
		} else {
			lifecycle.PrepareUpdateStatus(r, c.old)
			if c.want != "" {
				shownOf(r).status++
			}
			if e := validation.UpdateStatus(r, c.old).ToAggregate(); e != nil {
				text = e.Error()
			}
		}
		if c.want == "" && text != "" || !strings.Contains(text, c.want) {
			t.Errorf("%s: %q, want %q", c.name, text, c.want)
		}
		if len(r.Status.Conditions) > 0 && r.Status.Conditions[0].Reason != "" {
			t.Errorf("%s: a status update changed what was decided", c.name)
		}
	}
}
