package certificates

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/go-cmp/cmp"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/rule"
)

// legacySigner is the name that the first version of the API knew signers by.
const legacySigner = "kubernetes.io/legacy-unknown"

// shortestSeconds is the shortest life that a certificate may be asked for.
const shortestSeconds = 600

var (
	knownUsages = []certificatesv1.KeyUsage{
		certificatesv1.UsageAny, certificatesv1.UsageCertSign, certificatesv1.UsageClientAuth, certificatesv1.UsageCodeSigning,
		certificatesv1.UsageContentCommitment, certificatesv1.UsageCRLSign, certificatesv1.UsageDataEncipherment, certificatesv1.UsageDecipherOnly,
		certificatesv1.UsageDigitalSignature, certificatesv1.UsageEmailProtection, certificatesv1.UsageEncipherOnly, certificatesv1.UsageIPsecEndSystem,
		certificatesv1.UsageIPsecTunnel, certificatesv1.UsageIPsecUser, certificatesv1.UsageKeyAgreement, certificatesv1.UsageKeyEncipherment,
		certificatesv1.UsageMicrosoftSGC, certificatesv1.UsageNetscapeSGC, certificatesv1.UsageOCSPSigning, certificatesv1.UsageSMIME,
		certificatesv1.UsageServerAuth, certificatesv1.UsageSigning, certificatesv1.UsageTimestamping,
	}
	// decisions are the conditions that only the approval subresource writes.
	decisions      = []certificatesv1.RequestConditionType{certificatesv1.CertificateApproved, certificatesv1.CertificateDenied}
	conditionsPath = rule.Status.Child("conditions")
)

// ParseRequest decodes what spec.request holds.
func ParseRequest(request []byte) (*x509.CertificateRequest, error) {
	block, _ := pem.Decode(request)
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return nil, errors.New("PEM block type must be CERTIFICATE REQUEST")
	}
	return x509.ParseCertificateRequest(block.Bytes)
}

func validateRequest(r *certificatesv1.CertificateSigningRequest) field.ErrorList {
	var errs field.ErrorList
	parsed, err := ParseRequest(r.Spec.Request)
	if err == nil {
		err = parsed.CheckSignature()
	}
	if err != nil {
		errs = append(errs, field.Invalid(rule.Spec.Child("request"), r.Spec.Request, err.Error()))
	}
	errs = append(errs, validateUsages(r.Spec.Usages, rule.Spec.Child("usages"))...)
	signer := rule.Spec.Child("signerName")
	if r.Spec.SignerName == legacySigner {
		errs = append(errs, field.Invalid(signer, r.Spec.SignerName, "the legacy signerName is not allowed via this API version"))
	} else {
		errs = append(errs, validateSigner(r.Spec.SignerName, signer)...)
	}
	if s := r.Spec.ExpirationSeconds; s != nil && *s < shortestSeconds {
		errs = append(errs, field.Invalid(rule.Spec.Child("expirationSeconds"), *s, "may not specify a duration less than 600 seconds (10 minutes)"))
	}
	return append(errs, validateConditions(r.Status.Conditions)...)
}

func validateUsages(usages []certificatesv1.KeyUsage, path *field.Path) field.ErrorList {
	if len(usages) == 0 {
		return field.ErrorList{field.Required(path, "")}
	}
	var errs field.ErrorList
	for i, usage := range usages {
		if !slices.Contains(knownUsages, usage) {
			errs = append(errs, field.NotSupported(path.Index(i), usage, knownUsages))
		}
	}
	return append(errs, rule.Twice(path, "", usages, func(u certificatesv1.KeyUsage) any { return u })...)
}

// validateSigner requires a name such as example.com/signer.
func validateSigner(name string, path *field.Path) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(path, "")}
	}
	segments := strings.Split(name, "/")
	if len(segments) != 2 {
		return field.ErrorList{field.Invalid(path, name, "must be a fully qualified domain and path of the form 'example.com/signer-name'")}
	}
	const longestDomain = validation.DNS1123SubdomainMaxLength
	domain, rest := segments[0], segments[1]
	var errs field.ErrorList
	if len(domain) > longestDomain {
		errs = append(errs, field.TooLong(path, domain, longestDomain))
	}
	errs = append(errs, validateLabels(domain, path, validation.IsDNS1123Label)...)
	if !strings.Contains(domain, ".") {
		errs = append(errs, field.Invalid(path, domain, "should be a domain with at least two segments separated by dots"))
	}
	errs = append(errs, validateLabels(rest, path, validation.IsDNS1123Subdomain)...)
	// The path has room for a label and a subdomain.
	if longest := longestDomain + 1 + validation.DNS1123SubdomainMaxLength + validation.DNS1123LabelMaxLength + 1; len(name) > longest {
		errs = append(errs, field.TooLong(path, name, longest))
	}
	return errs
}

// validateLabels reports the first wrong label of a name.
func validateLabels(name string, path *field.Path, check func(string) []string) field.ErrorList {
	for label := range strings.SplitSeq(name, ".") {
		messages := check(label)
		for i := range messages {
			messages[i] = fmt.Sprintf("validating label %q: %s", label, messages[i])
		}
		if len(messages) > 0 {
			return rule.Invalid(path, name, messages)
		}
	}
	return nil
}

func validateConditions(conditions []certificatesv1.CertificateSigningRequestCondition) field.ErrorList {
	var errs field.ErrorList
	seen := map[certificatesv1.RequestConditionType]bool{}
	for i, c := range conditions {
		at := conditionsPath.Index(i)
		if c.Type == "" {
			errs = append(errs, field.Required(at.Child("type"), ""))
		}
		known := []corev1.ConditionStatus{corev1.ConditionFalse, corev1.ConditionTrue, corev1.ConditionUnknown}
		if slices.Contains(decisions, c.Type) || c.Type == certificatesv1.CertificateFailed {
			known = []corev1.ConditionStatus{corev1.ConditionTrue}
		}
		switch {
		case c.Status == "":
			errs = append(errs, field.Required(at.Child("status"), ""))
		case !slices.Contains(known, c.Status):
			errs = append(errs, field.NotSupported(at.Child("status"), c.Status, known))
		}
		for _, other := range decisions {
			if slices.Contains(decisions, c.Type) && c.Type != other && seen[other] {
				errs = append(errs, field.Invalid(at.Child("type"), c.Type, "Approved and Denied conditions are mutually exclusive"))
			}
		}
		errs = append(errs, rule.Unique(seen, c.Type, at.Child("type"))...)
	}
	return errs
}

func validateUpdate(r, old *certificatesv1.CertificateSigningRequest) field.ErrorList {
	return append(validateDecided(r, old), validateCertificateKept(r, old)...)
}

func validateStatus(r, old *certificatesv1.CertificateSigningRequest) field.ErrorList {
	errs := append(validateRequest(r), validateDecided(r, old)...)
	if bytes.Equal(r.Status.Certificate, old.Status.Certificate) {
		return errs
	}
	at := rule.Status.Child("certificate")
	if err := validateCertificate(r.Status.Certificate); err != nil {
		errs = append(errs, field.Invalid(at, "<certificate data>", err.Error()))
	}
	if len(old.Status.Certificate) > 0 {
		errs = append(errs, field.Forbidden(at, "updates may not modify existing certificate content"))
	}
	return errs
}

// ValidateApproval validates a write through the approval subresource.
func ValidateApproval(r, old *certificatesv1.CertificateSigningRequest) field.ErrorList {
	errs := append(validateRequest(r), validateConditionsKept(r, old)...)
	return append(errs, validateCertificateKept(r, old)...)
}

// validateConditionsKept forbids to take back what was decided.
func validateConditionsKept(r, old *certificatesv1.CertificateSigningRequest) field.ErrorList {
	var errs field.ErrorList
	for _, typ := range append(slices.Clone(decisions), certificatesv1.CertificateFailed) {
		if len(conditionsOf(r, typ)) < len(conditionsOf(old, typ)) {
			errs = append(errs, field.Forbidden(conditionsPath, fmt.Sprintf("updates may not remove a condition of type %q", typ)))
		}
	}
	return errs
}

// validateDecided forbids to decide, which only the approval subresource does.
func validateDecided(r, old *certificatesv1.CertificateSigningRequest) field.ErrorList {
	errs := validateConditionsKept(r, old)
	for _, typ := range decisions {
		now, before := ofType(r, typ), ofType(old, typ)
		switch {
		case len(now) > len(before):
			errs = append(errs, field.Forbidden(conditionsPath, fmt.Sprintf("updates may not add a condition of type %q", typ)))
		case len(now) == len(before) && kind.Differ(now, before):
			errs = append(errs, field.Forbidden(conditionsPath, fmt.Sprintf("updates may not modify a condition of type %q\n%v", typ, cmp.Diff(before, now))))
		}
	}
	return errs
}

func ofType(r *certificatesv1.CertificateSigningRequest, typ certificatesv1.RequestConditionType) []certificatesv1.CertificateSigningRequestCondition {
	var found []certificatesv1.CertificateSigningRequestCondition
	for _, i := range conditionsOf(r, typ) {
		found = append(found, r.Status.Conditions[i])
	}
	return found
}

func validateCertificateKept(r, old *certificatesv1.CertificateSigningRequest) field.ErrorList {
	if bytes.Equal(r.Status.Certificate, old.Status.Certificate) {
		return nil
	}
	return field.ErrorList{field.Forbidden(rule.Status.Child("certificate"), "updates may not set certificate content")}
}

// validateCertificate requires a chain of certificates in PEM, and nothing else.
func validateCertificate(data []byte) error {
	blocks := 0
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			return fmt.Errorf("only CERTIFICATE PEM blocks are allowed, found %q", block.Type)
		}
		if len(block.Headers) != 0 {
			return errors.New("no PEM block headers are permitted")
		}
		certs, err := x509.ParseCertificates(block.Bytes)
		if err != nil {
			return err
		}
		if len(certs) == 0 {
			return errors.New("found CERTIFICATE PEM block containing 0 certificates")
		}
		blocks++
	}
	if blocks == 0 && len(data) > 0 {
		return errors.New("must contain at least one CERTIFICATE PEM block")
	}
	return nil
}
