package registry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
)

// question is what an access review asks, and where its answer goes.
type question struct {
	resource *authorizationv1.ResourceAttributes
	path     *authorizationv1.NonResourceAttributes
	// user is nil for the one who asks.
	user   user.Info
	status *authorizationv1.SubjectAccessReviewStatus
}

// access is the REST storage of a kind of access review.
type access[T runtime.Object] struct {
	auth  authorizer.UnconditionalAuthorizer
	kind  string
	local bool
	ask   func(ctx context.Context, review T) (question, error)
}

func newAccess[T runtime.Object](auth authorizer.UnconditionalAuthorizer, kind string, local bool, ask func(context.Context, T) (question, error)) rest.Storage {
	return access[T]{auth, kind, local, ask}
}

// New implements rest.Storage.
func (a access[T]) New() runtime.Object {
	return reflect.New(reflect.TypeFor[T]().Elem()).Interface().(runtime.Object)
}

// Destroy implements rest.Storage.
func (a access[T]) Destroy() {}

// NamespaceScoped implements rest.Scoper.
func (a access[T]) NamespaceScoped() bool { return a.local }

// GetSingularName implements rest.SingularNameProvider.
func (a access[T]) GetSingularName() string { return strings.ToLower(a.kind) }

// Create implements rest.Creater.
func (a access[T]) Create(ctx context.Context, obj runtime.Object, validate rest.ValidateObjectFunc, _ *metav1.CreateOptions) (runtime.Object, error) {
	if _, ok := obj.(T); !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("not a %s: %#v", a.kind, obj))
	}
	review := obj.DeepCopyObject().(T)
	q, err := a.ask(ctx, review)
	if err != nil {
		return nil, err
	}
	if errs := q.validate(review); len(errs) > 0 {
		return nil, apierrors.NewInvalid(schema.GroupKind{Group: authorizationv1.GroupName, Kind: a.kind}, "", errs)
	}
	if q.user == nil {
		asking, ok := genericapirequest.UserFrom(ctx)
		if !ok {
			return nil, apierrors.NewBadRequest("no user present on request")
		}
		q.user = asking
	}
	if validate != nil {
		if err := validate(ctx, obj.DeepCopyObject()); err != nil {
			return nil, err
		}
	}
	attributes := q.attributes()
	decision, reason, err := a.auth.Authorize(ctx, attributes)
	*q.status = authorizationv1.SubjectAccessReviewStatus{
		Allowed: decision == authorizer.DecisionAllow, Denied: decision == authorizer.DecisionDeny, Reason: reason,
	}
	q.status.EvaluationError = evaluationError(err, attributes)
	return review, nil
}

// Review answers what a SubjectAccessReview asks.
func Review(ctx context.Context, auth authorizer.UnconditionalAuthorizer, spec authorizationv1.SubjectAccessReviewSpec) (allowed bool, err error) {
	decision, _, err := auth.Authorize(ctx, question{resource: spec.ResourceAttributes, path: spec.NonResourceAttributes, user: subjectOf(spec)}.attributes())
	if decision == authorizer.DecisionAllow {
		return true, nil
	}
	return false, err
}

func (q question) validate(review runtime.Object) field.ErrorList {
	spec := field.NewPath("spec")
	var errs field.ErrorList
	if (q.resource == nil) == (q.path == nil) {
		errs = append(errs, field.Invalid(spec, q.path, "exactly one of nonResourceAttributes or resourceAttributes must be specified"))
	}
	if q.user != nil && q.user.GetName() == "" && len(q.user.GetGroups()) == 0 {
		errs = append(errs, field.Invalid(spec.Child("user"), "", "at least one of user or group must be specified"))
	}
	errs = append(errs, validateSelectors(q.resource, spec.Child("resourceAttributes"))...)
	return append(errs, q.validatePlace(review)...)
}

// validatePlace refuses a review with metadata: it is not stored. A local one may name
// its namespace, and asks about that.
func (q question) validatePlace(review runtime.Object) field.ErrorList {
	accessor, ok := review.(metav1.ObjectMetaAccessor)
	if !ok {
		return nil
	}
	meta, ok := accessor.GetObjectMeta().(*metav1.ObjectMeta)
	if !ok {
		return nil
	}
	rest := *meta
	rest.ManagedFields = nil
	_, local := review.(*authorizationv1.LocalSubjectAccessReview)
	if local {
		rest.Namespace = ""
	}
	var errs field.ErrorList
	if !equality.Semantic.DeepEqual(metav1.ObjectMeta{}, rest) {
		detail := "must be empty"
		if local {
			detail += " except for namespace"
		}
		errs = append(errs, field.Invalid(field.NewPath("metadata"), *meta, detail))
	}
	if local && q.resource != nil && q.resource.Namespace != meta.Namespace {
		errs = append(errs, field.Invalid(field.NewPath("spec", "resourceAttributes", "namespace"), q.resource.Namespace, "must match metadata.namespace"))
	}
	if local && q.path != nil {
		errs = append(errs, field.Invalid(field.NewPath("spec", "nonResourceAttributes"), q.path, "disallowed on this kind of request"))
	}
	return errs
}

func (q question) attributes() authorizer.Attributes {
	a := authorizer.AttributesRecord{User: q.user}
	if r := q.resource; r != nil {
		a.ResourceRequest = true
		a.Verb, a.Namespace, a.Name = r.Verb, r.Namespace, r.Name
		a.APIGroup, a.APIVersion = r.Group, cmp.Or(r.Version, "*")
		a.Resource, a.Subresource = r.Resource, r.Subresource
		if r.FieldSelector != nil {
			a.FieldSelectorRequirements, a.FieldSelectorParsingErr = fieldRequirements(r.FieldSelector)
		}
		if r.LabelSelector != nil {
			a.LabelSelectorRequirements, a.LabelSelectorParsingErr = labelRequirements(r.LabelSelector)
		}
	} else {
		a.Verb, a.Path = q.path.Verb, q.path.Path
	}
	return a
}

func selfAccess(_ context.Context, r *authorizationv1.SelfSubjectAccessReview) (question, error) {
	return question{r.Spec.ResourceAttributes, r.Spec.NonResourceAttributes, nil, &r.Status}, nil
}

func subjectAccess(_ context.Context, r *authorizationv1.SubjectAccessReview) (question, error) {
	return question{r.Spec.ResourceAttributes, r.Spec.NonResourceAttributes, subjectOf(r.Spec), &r.Status}, nil
}

func localAccess(ctx context.Context, r *authorizationv1.LocalSubjectAccessReview) (question, error) {
	q := question{r.Spec.ResourceAttributes, r.Spec.NonResourceAttributes, subjectOf(r.Spec), &r.Status}
	namespace := genericapirequest.NamespaceValue(ctx)
	if namespace == "" {
		return q, apierrors.NewBadRequest("namespace is required on this type: " + namespace)
	}
	return q, nil
}

func subjectOf(spec authorizationv1.SubjectAccessReviewSpec) user.Info {
	info := &user.DefaultInfo{Name: spec.User, UID: spec.UID, Groups: spec.Groups, Extra: map[string][]string{}}
	for k, v := range spec.Extra {
		info.Extra[k] = v
	}
	return info
}

// validateSelectors refuses a selector that says nothing or two things. Operators that
// are not known are no mistake: a newer client may know more.
func validateSelectors(r *authorizationv1.ResourceAttributes, path *field.Path) field.ErrorList {
	if r == nil {
		return nil
	}
	var errs field.ErrorList
	form := func(path *field.Path, raw string, requirements int) {
		switch {
		case raw != "" && requirements > 0:
			errs = append(errs, field.Invalid(path.Child("rawSelector"), raw, "may not specified at the same time as requirements"))
		case raw == "" && requirements == 0:
			errs = append(errs, field.Required(path.Child("requirements"), fmt.Sprintf("when %s is specified, requirements or rawSelector is required", path)))
		}
	}
	if s := r.FieldSelector; s != nil {
		path := path.Child("fieldSelector")
		form(path, s.RawSelector, len(s.Requirements))
		for i, requirement := range s.Requirements {
			options := validation.FieldSelectorValidationOptions{AllowUnknownOperatorInRequirement: true}
			errs = append(errs, validation.ValidateFieldSelectorRequirement(requirement, options, path.Child("requirements").Index(i))...)
		}
	}
	if s := r.LabelSelector; s != nil {
		path := path.Child("labelSelector")
		form(path, s.RawSelector, len(s.Requirements))
		for i, requirement := range s.Requirements {
			options := validation.LabelSelectorValidationOptions{AllowUnknownOperatorInRequirement: true}
			errs = append(errs, validation.ValidateLabelSelectorRequirement(requirement, options, path.Child("requirements").Index(i))...)
		}
	}
	return errs
}

// fieldRequirements are the requirements that are understood, with an error about the
// others. Without those more is asked for, never less, so that they can be left out.
func fieldRequirements(s *authorizationv1.FieldSelectorAttributes) (fields.Requirements, error) {
	if s.RawSelector != "" {
		selector, err := fields.ParseSelector(s.RawSelector)
		if err != nil {
			return nil, err
		}
		return selector.Requirements(), nil
	}
	operators := map[metav1.FieldSelectorOperator]selection.Operator{metav1.FieldSelectorOpIn: selection.Equals, metav1.FieldSelectorOpNotIn: selection.NotEquals}
	var requirements fields.Requirements
	var errs []error
	for _, r := range s.Requirements {
		if operator, ok := operators[r.Operator]; ok && len(r.Values) == 1 {
			requirements = append(requirements, fields.Requirement{Field: r.Key, Operator: operator, Value: r.Values[0]})
		} else {
			errs = append(errs, fmt.Errorf("field selectors do not support %q with %d values", r.Operator, len(r.Values)))
		}
	}
	return requirements, errors.Join(errs...)
}

// labelRequirements is fieldRequirements for labels.
func labelRequirements(s *authorizationv1.LabelSelectorAttributes) (labels.Requirements, error) {
	if s.RawSelector != "" {
		selector, err := labels.Parse(s.RawSelector)
		if err != nil {
			return nil, err
		}
		requirements, _ := selector.Requirements()
		return requirements, nil
	}
	operators := map[metav1.LabelSelectorOperator]selection.Operator{
		metav1.LabelSelectorOpIn: selection.In, metav1.LabelSelectorOpNotIn: selection.NotIn,
		metav1.LabelSelectorOpExists: selection.Exists, metav1.LabelSelectorOpDoesNotExist: selection.DoesNotExist,
	}
	var requirements labels.Requirements
	var errs []error
	for _, r := range s.Requirements {
		requirement, err := labels.NewRequirement(r.Key, operators[r.Operator], r.Values)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		requirements = append(requirements, *requirement)
	}
	return requirements, errors.Join(errs...)
}

// evaluationError tells what kept a question from being answered as it was asked.
func evaluationError(err error, a authorizer.Attributes) string {
	var told []string
	if err != nil {
		told = append(told, err.Error())
	}
	ignored := func(selector string, understood int, err error) {
		switch {
		case err == nil:
		case understood > 0:
			told = append(told, "spec.resourceAttributes."+selector+" partially ignored due to parse error")
		default:
			told = append(told, "spec.resourceAttributes."+selector+" ignored due to parse error")
		}
	}
	byField, err := a.GetFieldSelector()
	ignored("fieldSelector", len(byField), err)
	byLabel, err := a.GetLabelSelector()
	ignored("labelSelector", len(byLabel), err)
	return strings.Join(told, "; ")
}
