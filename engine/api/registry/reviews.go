package registry

import (
	"context"
	"fmt"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
)

// Reviews are the resources by which users ask about themselves: who they are
// (kubectl auth whoami) and what they may do (kubectl auth can-i).
func Reviews(auth authorizer.UnconditionalAuthorizer) []Group {
	authorization := map[string]rest.Storage{"selfsubjectaccessreviews": canI{auth: auth}}
	if rules, ok := auth.(authorizer.RuleResolver); ok {
		authorization["selfsubjectrulesreviews"] = myRules{rules}
	}
	return []Group{
		{authenticationv1.SchemeGroupVersion, map[string]rest.Storage{"selfsubjectreviews": whoAmI{}}},
		{authorizationv1.SchemeGroupVersion, authorization},
	}
}

type whoAmI struct{}

// New implements rest.Storage.
func (whoAmI) New() runtime.Object { return &authenticationv1.SelfSubjectReview{} }

// Destroy implements rest.Storage.
func (whoAmI) Destroy() {}

// NamespaceScoped implements rest.Scoper.
func (whoAmI) NamespaceScoped() bool { return false }

// GetSingularName implements rest.SingularNameProvider.
func (whoAmI) GetSingularName() string { return "selfsubjectreview" }

// Create implements rest.Creater.
func (whoAmI) Create(ctx context.Context, obj runtime.Object, validate rest.ValidateObjectFunc, _ *metav1.CreateOptions) (runtime.Object, error) {
	if validate != nil {
		if err := validate(ctx, obj.DeepCopyObject()); err != nil {
			return nil, err
		}
	}
	u, ok := genericapirequest.UserFrom(ctx)
	if !ok {
		return nil, apierrors.NewBadRequest("no user present on request")
	}
	review := &authenticationv1.SelfSubjectReview{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: metav1.Now()}}
	info := &review.Status.UserInfo
	info.Username, info.UID, info.Groups = u.GetName(), u.GetUID(), u.GetGroups()
	for key, values := range u.GetExtra() {
		if info.Extra == nil {
			info.Extra = map[string]authenticationv1.ExtraValue{}
		}
		info.Extra[key] = values
	}
	return review, nil
}

type canI struct {
	auth authorizer.UnconditionalAuthorizer
}

// New implements rest.Storage.
func (canI) New() runtime.Object { return &authorizationv1.SelfSubjectAccessReview{} }

// Destroy implements rest.Storage.
func (canI) Destroy() {}

// NamespaceScoped implements rest.Scoper.
func (canI) NamespaceScoped() bool { return false }

// GetSingularName implements rest.SingularNameProvider.
func (canI) GetSingularName() string { return "selfsubjectaccessreview" }

// Create implements rest.Creater.
func (c canI) Create(ctx context.Context, obj runtime.Object, validate rest.ValidateObjectFunc, _ *metav1.CreateOptions) (runtime.Object, error) {
	review, ok := obj.(*authorizationv1.SelfSubjectAccessReview)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("not a SelfSubjectAccessReview: %#v", obj))
	}
	resource, path := review.Spec.ResourceAttributes, review.Spec.NonResourceAttributes
	if (resource == nil) == (path == nil) {
		return nil, apierrors.NewBadRequest("exactly one of nonResourceAttributes or resourceAttributes must be specified")
	}
	u, ok := genericapirequest.UserFrom(ctx)
	if !ok {
		return nil, apierrors.NewBadRequest("no user present on request")
	}
	if validate != nil {
		if err := validate(ctx, obj.DeepCopyObject()); err != nil {
			return nil, err
		}
	}
	attributes := authorizer.AttributesRecord{User: u}
	if resource != nil {
		attributes.ResourceRequest = true
		attributes.Verb, attributes.Namespace, attributes.Name = resource.Verb, resource.Namespace, resource.Name
		attributes.APIGroup, attributes.APIVersion = resource.Group, resource.Version
		attributes.Resource, attributes.Subresource = resource.Resource, resource.Subresource
	} else {
		attributes.Verb, attributes.Path = path.Verb, path.Path
	}
	decision, reason, err := c.auth.Authorize(ctx, attributes)
	review = review.DeepCopy()
	review.Status = authorizationv1.SubjectAccessReviewStatus{
		Allowed: decision == authorizer.DecisionAllow, Denied: decision == authorizer.DecisionDeny, Reason: reason,
	}
	if err != nil {
		review.Status.EvaluationError = err.Error()
	}
	return review, nil
}
