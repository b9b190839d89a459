package validation

import (
	"fmt"
	"regexp"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// The patterns and limits of Flux's custom resource definitions. The messages
// are those that the API gives for a schema.
var (
	interval = regexp.MustCompile(`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`)
	timeout  = regexp.MustCompile(`^([0-9]+(\.[0-9]+)?(ms|s|m))+$`)
	gitURL   = regexp.MustCompile(`^(http|https|ssh)://.*$`)
)

func gitRepository(r *sourcev1.GitRepository) field.ErrorList {
	return append(matches(r.Spec.URL, gitURL, spec.Child("url")), gitRepositoryRest(r)...)
}

// gitRepositoryUpdate lets a URL be that was accepted once: the local
// repository of the command line is none that the schema allows.
func gitRepositoryUpdate(r, old *sourcev1.GitRepository) field.ErrorList {
	if r.Spec.URL == old.Spec.URL {
		return gitRepositoryRest(r)
	}
	return gitRepository(r)
}

func gitRepositoryRest(r *sourcev1.GitRepository) field.ErrorList {
	s := &r.Spec
	errs := required(s.Interval, interval, spec.Child("interval"))
	// Hours are no unit of the pattern, but cannot be told from minutes any more.
	if s.Timeout != nil && s.Timeout.Duration < 0 {
		errs = append(errs, mismatch(s.Timeout.Duration.String(), timeout, spec.Child("timeout")))
	}
	errs = append(errs, optionalOneOf(s.Provider, spec.Child("provider"), sourcev1.GitProviderGeneric, sourcev1.GitProviderAWS, sourcev1.GitProviderAzure, sourcev1.GitProviderGitHub)...)
	if v := s.Verification; v != nil {
		errs = append(errs, optionalOneOf(v.Mode, spec.Child("verify", "mode"), "head", sourcev1.ModeGitHEAD, sourcev1.ModeGitTag, sourcev1.ModeGitTagAndHEAD)...)
		errs = append(errs, notEmpty(v.SecretRef.Name, spec.Child("verify", "secretRef", "name"))...)
	}
	for i, include := range s.Include {
		errs = append(errs, notEmpty(include.GitRepositoryRef.Name, spec.Child("include").Index(i).Child("repository", "name"))...)
	}
	if s.ServiceAccountName != "" && s.Provider != sourcev1.GitProviderAzure && s.Provider != sourcev1.GitProviderAWS {
		errs = append(errs, field.Invalid(spec, "object", "serviceAccountName can only be set when provider is 'azure' or 'aws'"))
	}
	return errs
}

func kustomization(k *kustomizev1.Kustomization) field.ErrorList {
	s := &k.Spec
	errs := required(s.Interval, interval, spec.Child("interval"))
	errs = append(errs, optionalDuration(s.RetryInterval, spec.Child("retryInterval"))...)
	errs = append(errs, optionalDuration(s.Timeout, spec.Child("timeout"))...)
	errs = append(errs, oneOf(s.SourceRef.Kind, spec.Child("sourceRef", "kind"), "OCIRepository", sourcev1.GitRepositoryKind, "Bucket", "ExternalArtifact")...)
	errs = append(errs, notEmpty(s.SourceRef.Name, spec.Child("sourceRef", "name"))...)
	for i, d := range s.DependsOn {
		errs = append(errs, notEmpty(d.Name, spec.Child("dependsOn").Index(i).Child("name"))...)
	}
	errs = append(errs, optionalOneOf(s.DeletionPolicy, spec.Child("deletionPolicy"), kustomizev1.DeletionPolicyMirrorPrune, kustomizev1.DeletionPolicyDelete,
		kustomizev1.DeletionPolicyWaitForTermination, kustomizev1.DeletionPolicyOrphan)...)
	errs = append(errs, maxLength(s.NamePrefix, 200, spec.Child("namePrefix"))...)
	errs = append(errs, maxLength(s.NameSuffix, 200, spec.Child("nameSuffix"))...)
	errs = append(errs, maxLength(s.TargetNamespace, 63, spec.Child("targetNamespace"))...)
	for i, option := range s.BuildMetadata {
		errs = append(errs, oneOf(option, spec.Child("buildMetadata").Index(i), kustomizev1.BuildMetadataOriginAnnotations, kustomizev1.BuildMetadataTransformerAnnotations)...)
	}
	if s.Decryption != nil {
		errs = append(errs, oneOf(s.Decryption.Provider, spec.Child("decryption", "provider"), "sops")...)
	}
	if c := s.KubeConfig; c != nil && (c.ConfigMapRef == nil) == (c.SecretRef == nil) {
		errs = append(errs, field.Invalid(spec.Child("kubeConfig"), "object", "exactly one of spec.kubeConfig.configMapRef or spec.kubeConfig.secretRef must be specified"))
	}
	for i, check := range s.HealthChecks {
		at := spec.Child("healthChecks").Index(i)
		errs = append(errs, notEmpty(check.Kind, at.Child("kind"))...)
		errs = append(errs, notEmpty(check.Name, at.Child("name"))...)
	}
	if s.PostBuild != nil {
		errs = append(errs, postBuild(s.PostBuild, spec.Child("postBuild"))...)
	}
	return errs
}

func postBuild(p *kustomizev1.PostBuild, path *field.Path) field.ErrorList {
	errs := optionalOneOf(p.SubstituteStrategy, path.Child("substituteStrategy"), kustomizev1.SubstituteStrategyWithVariables, kustomizev1.SubstituteStrategyAlways)
	for i, from := range p.SubstituteFrom {
		at := path.Child("substituteFrom").Index(i)
		errs = append(errs, oneOf(from.Kind, at.Child("kind"), "Secret", "ConfigMap")...)
		if from.Name == "" {
			name := at.Child("name")
			errs = append(errs, field.Invalid(name, "", name.String()+" in body should be at least 1 chars long"))
		}
		errs = append(errs, maxLength(from.Name, 253, at.Child("name"))...)
	}
	return errs
}

func notEmpty(value string, path *field.Path) field.ErrorList {
	if value == "" {
		return field.ErrorList{field.Required(path, "")}
	}
	return nil
}

func maxLength(value string, limit int, path *field.Path) field.ErrorList {
	if len(value) > limit {
		return field.ErrorList{field.TooLong(path, value, limit)}
	}
	return nil
}

func matches(value string, pattern *regexp.Regexp, path *field.Path) field.ErrorList {
	if value == "" {
		return field.ErrorList{field.Required(path, "")}
	}
	if pattern.MatchString(value) {
		return nil
	}
	return field.ErrorList{mismatch(value, pattern, path)}
}

func mismatch(value string, pattern *regexp.Regexp, path *field.Path) *field.Error {
	return field.Invalid(path, value, fmt.Sprintf("%s in body should match '%s'", path, pattern))
}

func required(d metav1.Duration, pattern *regexp.Regexp, path *field.Path) field.ErrorList {
	if d.Duration == 0 {
		return field.ErrorList{field.Required(path, "")}
	}
	return matches(d.Duration.String(), pattern, path)
}

func optionalDuration(d *metav1.Duration, path *field.Path) field.ErrorList {
	if d == nil {
		return nil
	}
	return matches(d.Duration.String(), interval, path)
}
