// Package certificates approves requests of nodes for certificates, signs what was
// approved, and removes requests that are done with.
//
//	Approver  pending, and a SubjectAccessReview says so ─▶ Approved
//	Signer    Approved, for one of the cluster's signers ─▶ certificate, or Failed
//	Cleaner   done, or pending for a day ─▶ deleted
package certificates

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"

	"headway.dev/engine/controllers/control"
	"headway.dev/manifests/model/object"
)

var requestKind = certificatesv1.SchemeGroupVersion.WithKind("CertificateSigningRequest").GroupKind()

// requests asks to look at each request that is there.
func requests(ev object.Event, add func(object.Key)) {
	if ev.Key.GroupKind == requestKind && ev.Type != object.Deleted {
		add(ev.Key)
	}
}

func find(env control.Env, key object.Key) *certificatesv1.CertificateSigningRequest {
	return control.Get[certificatesv1.CertificateSigningRequest](env.Store, key)
}

// forClient reports why a request is not one of a node for a certificate by which
// it is a client of the API; nil if it is.
func forClient(r *x509.CertificateRequest, usages []certificatesv1.KeyUsage) error {
	switch {
	case !slices.Equal(r.Subject.Organization, []string{"system:nodes"}):
		return errOrganization
	case len(r.DNSNames) > 0:
		return errors.New("DNS subjectAltNames are not allowed")
	case len(r.EmailAddresses) > 0:
		return errEmail
	case len(r.IPAddresses) > 0:
		return errors.New("IP subjectAltNames are not allowed")
	case len(r.URIs) > 0:
		return errURI
	}
	if err := nodeName(r.Subject.CommonName); err != nil {
		return err
	}
	return exactly(usages, certificatesv1.UsageClientAuth)
}

// forServer reports why a request is not one of a node for a certificate of its
// server; nil if it is.
func forServer(r *x509.CertificateRequest, usages []certificatesv1.KeyUsage) error {
	switch {
	case !slices.Equal(r.Subject.Organization, []string{"system:nodes"}):
		return errOrganization
	case len(r.DNSNames) == 0 && len(r.IPAddresses) == 0:
		return errors.New("DNS or IP subjectAltName is required")
	case len(r.EmailAddresses) > 0:
		return errEmail
	case len(r.URIs) > 0:
		return errURI
	}
	if err := exactly(usages, certificatesv1.UsageServerAuth); err != nil {
		return err
	}
	return nodeName(r.Subject.CommonName)
}

// nodeName reports why a common name is not that of a node; nil if it is. Kubernetes looks
// at the prefix alone.
func nodeName(commonName string) error {
	name, ok := strings.CutPrefix(commonName, nodePrefix)
	if !ok {
		return errCommonName
	}
	if why := apivalidation.NameIsDNSSubdomain(name, false); len(why) > 0 {
		return fmt.Errorf("subject common name does not name a node: %s", why[0])
	}
	return nil
}

// nodePrefix is what the names of nodes as users begin with.
const nodePrefix = "system:node:"

var (
	errOrganization = errors.New("subject organization is not system:nodes")
	errCommonName   = errors.New("subject common name does not begin with system:node:") //nolint:staticcheck // Kubernetes' own message
	errEmail        = errors.New("Email subjectAltNames are not allowed")                //nolint:staticcheck // Kubernetes' own message
	errURI          = errors.New("URI subjectAltNames are not allowed")
)

// exactly requires the usage, digital signatures, and at most key encipherment
// besides, which only RSA has.
func exactly(usages []certificatesv1.KeyUsage, usage certificatesv1.KeyUsage) error {
	want := []certificatesv1.KeyUsage{usage, certificatesv1.UsageDigitalSignature, certificatesv1.UsageKeyEncipherment}
	slices.Sort(want)
	have := slices.Clone(usages)
	slices.Sort(have)
	have = slices.Compact(have)
	without := slices.DeleteFunc(slices.Clone(want), func(u certificatesv1.KeyUsage) bool { return u == certificatesv1.UsageKeyEncipherment })
	if slices.Equal(have, want) || slices.Equal(have, without) {
		return nil
	}
	return fmt.Errorf("usages did not match %v", want)
}

// forAnyClient reports why a request is not one for a certificate of a client of
// the API; nil if it is.
func forAnyClient(_ *x509.CertificateRequest, usages []certificatesv1.KeyUsage) error {
	for _, u := range usages {
		switch u {
		case certificatesv1.UsageDigitalSignature, certificatesv1.UsageKeyEncipherment, certificatesv1.UsageClientAuth:
		default:
			return fmt.Errorf("invalid usage for client certificate: %s", u)
		}
	}
	if !slices.Contains(usages, certificatesv1.UsageClientAuth) {
		return fmt.Errorf("missing required usage for client certificate: %s", certificatesv1.UsageClientAuth)
	}
	return nil
}
