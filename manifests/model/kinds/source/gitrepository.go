package source

import (
	"regexp"
	"time"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"headway.dev/manifests/model/column"
	"headway.dev/manifests/model/fill"
	"headway.dev/manifests/model/health"
	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/rule"
)

var gitRepository = kind.Define[sourcev1.GitRepository, sourcev1.GitRepositoryList](kind.Definition[*sourcev1.GitRepository]{
	Names: kind.Names{
		GroupVersionKind: sourcev1.GroupVersion.WithKind("GitRepository"),
		Plural:           "gitrepositories", Singular: "gitrepository",
		ShortNames: []string{"gitrepo"}, Namespaced: true,
	},
	Order:   kind.Anywhere,
	Status:  true,
	REST:    kind.REST{VersionRequired: true},
	Default: defaultGitRepository,
	Lifecycle: kind.Lifecycle[*sourcev1.GitRepository]{
		Create: func(r *sourcev1.GitRepository) { r.Status = sourcev1.GitRepositoryStatus{} },
		Update: func(r, old *sourcev1.GitRepository) { r.Status = old.Status },
		UpdateStatus: func(r, old *sourcev1.GitRepository) {
			r.Spec = old.Spec
			kind.KeepMeta(&r.ObjectMeta, &old.ObjectMeta)
		},
		Changed: func(r, old *sourcev1.GitRepository) bool { return kind.Differ(r.Spec, old.Spec) },
	},
	Rules: kind.Rules[*sourcev1.GitRepository]{
		Name:         apivalidation.NameIsDNSSubdomain,
		AnyFinalizer: true,
		Object:       validateGitRepository,
		Replaces:     validateGitRepositoryUpdate,
	},
	Table: kind.Table[*sourcev1.GitRepository]{
		Columns: column.Define("Name", "URL", "Age", "Ready", "Status"),
		Row:     gitRepositoryRow,
	},
	Suspension: func(r *sourcev1.GitRepository) kind.Suspension {
		return kind.Suspension{Suspend: &r.Spec.Suspend, Conditions: &r.Status.Conditions}
	},
	Health: kind.Health[*sourcev1.GitRepository]{Of: func(r *sourcev1.GitRepository, _ object.Reader) health.Result {
		return health.Conditioned(r, r.Spec.Suspend, r.Status.ObservedGeneration, r.Status.Conditions)
	}},
})

func defaultGitRepository(r *sourcev1.GitRepository) {
	fill.Unset(&r.Spec.Timeout, metav1.Duration{Duration: time.Minute})
	if v := r.Spec.Verification; v != nil {
		fill.Zero(&v.Mode, sourcev1.ModeGitHEAD)
	}
}

func gitRepositoryRow(g *sourcev1.GitRepository, now time.Time) []any {
	ready, message := column.Ready(g.Status.Conditions)
	return []any{g.Name, g.Spec.URL, column.Age(g, now), ready, message}
}

// The patterns of Flux's custom resource definition.
var (
	timeout = regexp.MustCompile(`^([0-9]+(\.[0-9]+)?(ms|s|m))+$`)
	gitURL  = regexp.MustCompile(`^(http|https|ssh)://.*$`)
)

func validateGitRepository(r *sourcev1.GitRepository) field.ErrorList {
	return append(rule.Matches(r.Spec.URL, gitURL, rule.Spec.Child("url")), gitRepositoryRest(r)...)
}

// validateGitRepositoryUpdate lets a URL be that was accepted once: the local
// repository of the command line is none that the schema allows.
func validateGitRepositoryUpdate(r, old *sourcev1.GitRepository) field.ErrorList {
	if r.Spec.URL == old.Spec.URL {
		return gitRepositoryRest(r)
	}
	return validateGitRepository(r)
}

func gitRepositoryRest(r *sourcev1.GitRepository) field.ErrorList {
	s := &r.Spec
	errs := rule.Required(s.Interval, rule.Interval, rule.Spec.Child("interval"))
	// Hours are no unit of the pattern, but cannot be told from minutes any more.
	if s.Timeout != nil && s.Timeout.Duration < 0 {
		errs = append(errs, rule.Mismatch(s.Timeout.Duration.String(), timeout, rule.Spec.Child("timeout")))
	}
	errs = append(errs, rule.OptionalOneOf(s.Provider, rule.Spec.Child("provider"), sourcev1.GitProviderGeneric, sourcev1.GitProviderAWS, sourcev1.GitProviderAzure, sourcev1.GitProviderGitHub)...)
	if v := s.Verification; v != nil {
		errs = append(errs, rule.OptionalOneOf(v.Mode, rule.Spec.Child("verify", "mode"), "head", sourcev1.ModeGitHEAD, sourcev1.ModeGitTag, sourcev1.ModeGitTagAndHEAD)...)
		errs = append(errs, rule.NotEmpty(v.SecretRef.Name, rule.Spec.Child("verify", "secretRef", "name"))...)
	}
	for i, include := range s.Include {
		errs = append(errs, rule.NotEmpty(include.GitRepositoryRef.Name, rule.Spec.Child("include").Index(i).Child("repository", "name"))...)
	}
	if s.ServiceAccountName != "" && s.Provider != sourcev1.GitProviderAzure && s.Provider != sourcev1.GitProviderAWS {
		errs = append(errs, field.Invalid(rule.Spec, "object", "serviceAccountName can only be set when provider is 'azure' or 'aws'"))
	}
	return errs
}
