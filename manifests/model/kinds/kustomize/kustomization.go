package kustomize

import (
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"headway.dev/manifests/model/column"
	"headway.dev/manifests/model/health"
	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/rule"
)

var kustomization = kind.Define[kustomizev1.Kustomization, kustomizev1.KustomizationList](kind.Definition[*kustomizev1.Kustomization]{
	Names: kind.Names{
		GroupVersionKind: kustomizev1.GroupVersion.WithKind("Kustomization"),
		Plural:           "kustomizations", Singular: "kustomization",
		ShortNames: []string{"ks"}, Namespaced: true,
	},
	Order:  kind.Anywhere,
	Status: true,
	REST:   kind.REST{VersionRequired: true},
	Lifecycle: kind.Lifecycle[*kustomizev1.Kustomization]{
		Create: func(k *kustomizev1.Kustomization) { k.Status = kustomizev1.KustomizationStatus{} },
		Update: func(k, old *kustomizev1.Kustomization) { k.Status = old.Status },
		UpdateStatus: func(k, old *kustomizev1.Kustomization) {
			k.Spec = old.Spec
			kind.KeepMeta(&k.ObjectMeta, &old.ObjectMeta)
		},
		Changed: func(k, old *kustomizev1.Kustomization) bool { return kind.Differ(k.Spec, old.Spec) },
	},
	Rules: kind.Rules[*kustomizev1.Kustomization]{
		Name:         apivalidation.NameIsDNSSubdomain,
		AnyFinalizer: true,
		Object:       validateKustomization,
	},
	Table: kind.Table[*kustomizev1.Kustomization]{
		Columns: column.Define("Name", "Age", "Ready", "Status"),
		Row:     kustomizationRow,
	},
	Suspension: func(k *kustomizev1.Kustomization) kind.Suspension {
		return kind.Suspension{Suspend: &k.Spec.Suspend, Conditions: &k.Status.Conditions}
	},
	Health: kind.Health[*kustomizev1.Kustomization]{Of: func(k *kustomizev1.Kustomization, _ object.Reader) health.Result {
		return health.Conditioned(k, k.Spec.Suspend, k.Status.ObservedGeneration, k.Status.Conditions)
	}},
})

func kustomizationRow(k *kustomizev1.Kustomization, now time.Time) []any {
	ready, message := column.Ready(k.Status.Conditions)
	return []any{k.Name, column.Age(k, now), ready, message}
}

func validateKustomization(k *kustomizev1.Kustomization) field.ErrorList {
	s := &k.Spec
	errs := rule.Required(s.Interval, rule.Interval, rule.Spec.Child("interval"))
	errs = append(errs, rule.OptionalDuration(s.RetryInterval, rule.Spec.Child("retryInterval"))...)
	errs = append(errs, rule.OptionalDuration(s.Timeout, rule.Spec.Child("timeout"))...)
	errs = append(errs, rule.OneOf(s.SourceRef.Kind, rule.Spec.Child("sourceRef", "kind"), "OCIRepository", sourcev1.GitRepositoryKind, "Bucket", "ExternalArtifact")...)
	errs = append(errs, rule.NotEmpty(s.SourceRef.Name, rule.Spec.Child("sourceRef", "name"))...)
	for i, d := range s.DependsOn {
		errs = append(errs, rule.NotEmpty(d.Name, rule.Spec.Child("dependsOn").Index(i).Child("name"))...)
	}
	errs = append(errs, rule.OptionalOneOf(s.DeletionPolicy, rule.Spec.Child("deletionPolicy"), kustomizev1.DeletionPolicyMirrorPrune, kustomizev1.DeletionPolicyDelete,
		kustomizev1.DeletionPolicyWaitForTermination, kustomizev1.DeletionPolicyOrphan)...)
	errs = append(errs, rule.MaxLength(s.NamePrefix, 200, rule.Spec.Child("namePrefix"))...)
	errs = append(errs, rule.MaxLength(s.NameSuffix, 200, rule.Spec.Child("nameSuffix"))...)
	errs = append(errs, rule.MaxLength(s.TargetNamespace, 63, rule.Spec.Child("targetNamespace"))...)
	for i, option := range s.BuildMetadata {
		errs = append(errs, rule.OneOf(option, rule.Spec.Child("buildMetadata").Index(i), kustomizev1.BuildMetadataOriginAnnotations, kustomizev1.BuildMetadataTransformerAnnotations)...)
	}
	if s.Decryption != nil {
		errs = append(errs, rule.OneOf(s.Decryption.Provider, rule.Spec.Child("decryption", "provider"), "sops")...)
	}
	if c := s.KubeConfig; c != nil && (c.ConfigMapRef == nil) == (c.SecretRef == nil) {
		errs = append(errs, field.Invalid(rule.Spec.Child("kubeConfig"), "object", "exactly one of spec.kubeConfig.configMapRef or spec.kubeConfig.secretRef must be specified"))
	}
	for i, check := range s.HealthChecks {
		at := rule.Spec.Child("healthChecks").Index(i)
		errs = append(errs, rule.NotEmpty(check.Kind, at.Child("kind"))...)
		errs = append(errs, rule.NotEmpty(check.Name, at.Child("name"))...)
	}
	if s.PostBuild != nil {
		errs = append(errs, postBuild(s.PostBuild, rule.Spec.Child("postBuild"))...)
	}
	return errs
}

func postBuild(p *kustomizev1.PostBuild, path *field.Path) field.ErrorList {
	errs := rule.OptionalOneOf(p.SubstituteStrategy, path.Child("substituteStrategy"), kustomizev1.SubstituteStrategyWithVariables, kustomizev1.SubstituteStrategyAlways)
	for i, from := range p.SubstituteFrom {
		at := path.Child("substituteFrom").Index(i)
		errs = append(errs, rule.OneOf(from.Kind, at.Child("kind"), "Secret", "ConfigMap")...)
		if from.Name == "" {
			name := at.Child("name")
			errs = append(errs, field.Invalid(name, "", name.String()+" in body should be at least 1 chars long"))
		}
		errs = append(errs, rule.MaxLength(from.Name, 253, at.Child("name"))...)
	}
	return errs
}
