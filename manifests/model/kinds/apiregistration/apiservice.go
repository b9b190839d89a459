package apiregistration

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/validate/content"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/kube-aggregator/pkg/apis/apiregistration/v1/helper"

	"headway.dev/manifests/model/column"
	"headway.dev/manifests/model/fill"
	"headway.dev/manifests/model/health"
	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/rule"
)

// defaultPort is that of the Service which serves a group version.
const defaultPort = int32(443)

var apiService = kind.Define[apiregistrationv1.APIService, apiregistrationv1.APIServiceList](kind.Definition[*apiregistrationv1.APIService]{
	Names: kind.Names{
		GroupVersionKind: apiregistrationv1.SchemeGroupVersion.WithKind("APIService"),
		Plural:           "apiservices", Singular: "apiservice", Categories: []string{"api-extensions"},
	},
	Order:  kind.Anywhere,
	Status: true,
	REST:   kind.REST{VersionRequired: true},
	Default: func(s *apiregistrationv1.APIService) {
		if s.Spec.Service != nil {
			fill.Unset(&s.Spec.Service.Port, defaultPort)
		}
	},
	Lifecycle: kind.Lifecycle[*apiregistrationv1.APIService]{
		Create: func(s *apiregistrationv1.APIService) {
			s.Status = apiregistrationv1.APIServiceStatus{}
			if s.Spec.Service == nil {
				helper.SetAPIServiceCondition(s, helper.NewLocalAvailableAPIServiceCondition())
			}
		},
		Update: func(s, old *apiregistrationv1.APIService) { s.Status = old.Status },
		UpdateStatus: func(s, old *apiregistrationv1.APIService) {
			s.Spec = old.Spec
			s.Labels, s.Annotations, s.Finalizers, s.OwnerReferences = old.Labels, old.Annotations, old.Finalizers, old.OwnerReferences
		},
	},
	Rules: kind.Rules[*apiregistrationv1.APIService]{
		Name:   func(string, bool) []string { return nil }, // validate knows it
		Object: validate,
		Status: validateStatus,
	},
	Table: kind.Table[*apiregistrationv1.APIService]{
		Columns: []metav1.TableColumnDefinition{
			column.Define("Name")[0],
			{Name: "Service", Type: "string", Description: "The reference to the service that hosts this API endpoint."},
			{Name: "Available", Type: "string", Description: "Whether this service is available."},
			column.Define("Age")[0],
		},
		Row: row,
	},
	Health: kind.Health[*apiregistrationv1.APIService]{Of: healthOf},
})

func row(s *apiregistrationv1.APIService, now time.Time) []any {
	service, available := "Local", string(apiregistrationv1.ConditionUnknown)
	if s.Spec.Service != nil {
		service = s.Spec.Service.Namespace + "/" + s.Spec.Service.Name
	}
	if c := helper.GetAPIServiceConditionByType(s, apiregistrationv1.Available); c != nil {
		available = string(c.Status)
		if c.Status != apiregistrationv1.ConditionTrue && c.Reason != "" {
			available = fmt.Sprintf("%s (%s)", c.Status, c.Reason)
		}
	}
	return []any{s.Name, service, available, column.Age(s, now)}
}

func healthOf(s *apiregistrationv1.APIService, _ object.Reader) health.Result {
	c := helper.GetAPIServiceConditionByType(s, apiregistrationv1.Available)
	switch {
	case c == nil:
		return health.Result{Status: health.InProgress, Message: "It is not known yet whether the API is available"}
	case c.Status != apiregistrationv1.ConditionTrue:
		return health.Result{Status: health.InProgress, Message: c.Reason + ": " + c.Message}
	}
	return health.Result{Status: health.Current, Message: "The API is available"}
}

func validate(s *apiregistrationv1.APIService) field.ErrorList {
	errs := rule.Invalid(field.NewPath("metadata", "name"), s.Name, wrongName(s))
	spec := rule.Spec
	if s.Spec.Group == "" {
		if s.Spec.Version != "v1" {
			errs = append(errs, field.Required(spec.Child("group"), "only v1 may have an empty group and it better be legacy kube"))
		}
	} else {
		errs = append(errs, rule.Invalid(spec.Child("group"), s.Spec.Group, validation.IsDNS1123Subdomain(s.Spec.Group))...)
	}
	errs = append(errs, rule.Invalid(spec.Child("version"), s.Spec.Version, validation.IsDNS1035Label(s.Spec.Version))...)
	if p := s.Spec.GroupPriorityMinimum; p <= 0 || p > 20000 {
		errs = append(errs, field.Invalid(spec.Child("groupPriorityMinimum"), p, "must be positive and less than 20000"))
	}
	if p := s.Spec.VersionPriority; p <= 0 || p > 1000 {
		errs = append(errs, field.Invalid(spec.Child("versionPriority"), p, "must be positive and less than 1000"))
	}
	return append(errs, validateService(&s.Spec, spec)...)
}

func wrongName(s *apiregistrationv1.APIService) []string {
	if wrong := content.IsPathSegmentName(s.Name); len(wrong) > 0 {
		return wrong
	}
	if want := s.Spec.Version + "." + s.Spec.Group; s.Name != want {
		return []string{fmt.Sprintf("must be `spec.version+\".\"+spec.group`: %q", want)}
	}
	return nil
}

func validateService(s *apiregistrationv1.APIServiceSpec, spec *field.Path) field.ErrorList {
	var errs field.ErrorList
	if s.Service == nil {
		if len(s.CABundle) > 0 {
			errs = append(errs, field.Invalid(spec.Child("caBundle"), fmt.Sprintf("%d bytes", len(s.CABundle)), "local APIServices may not have a caBundle"))
		}
		if s.InsecureSkipTLSVerify {
			errs = append(errs, field.Invalid(spec.Child("insecureSkipTLSVerify"), s.InsecureSkipTLSVerify, "local APIServices may not have insecureSkipTLSVerify"))
		}
		return errs
	}
	service := spec.Child("service")
	if s.Service.Namespace == "" {
		errs = append(errs, field.Required(service.Child("namespace"), ""))
	}
	if s.Service.Name == "" {
		errs = append(errs, field.Required(service.Child("name"), ""))
	}
	var port int32
	if s.Service.Port != nil {
		port = *s.Service.Port
	}
	if wrong := validation.IsValidPortNum(int(port)); wrong != nil {
		errs = append(errs, field.Invalid(service.Child("port"), port, "port is not valid: "+strings.Join(wrong, ", ")))
	}
	if s.InsecureSkipTLSVerify && len(s.CABundle) > 0 {
		errs = append(errs, field.Invalid(spec.Child("insecureSkipTLSVerify"), s.InsecureSkipTLSVerify, "may not be true if caBundle is present"))
	}
	return errs
}

// statuses are those that a condition can have.
var statuses = []apiregistrationv1.ConditionStatus{apiregistrationv1.ConditionTrue, apiregistrationv1.ConditionFalse, apiregistrationv1.ConditionUnknown}

func validateStatus(s, _ *apiregistrationv1.APIService) field.ErrorList {
	var errs field.ErrorList
	for i, c := range s.Status.Conditions {
		if !slices.Contains(statuses, c.Status) {
			errs = append(errs, field.NotSupported(rule.Status.Child("conditions").Index(i).Child("status"), c.Status, statuses))
		}
	}
	return errs
}
