package registry

import (
	"context"
	"errors"
	"fmt"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
)

// Reviews are the resources that answer a question and store nothing: who a
// user or the bearer of a token is, and what they may do. token checks bearer
// tokens, which are for the audiences if nothing else is asked.
func Reviews(auth authorizer.UnconditionalAuthorizer, token authenticator.Token, audiences authenticator.Audiences) []Group {
	authorization := map[string]rest.Storage{
		"selfsubjectaccessreviews":  newAccess(auth, "SelfSubjectAccessReview", false, selfAccess),
		"subjectaccessreviews":      newAccess(auth, "SubjectAccessReview", false, subjectAccess),
		"localsubjectaccessreviews": newAccess(auth, "LocalSubjectAccessReview", true, localAccess),
	}
	if rules, ok := auth.(authorizer.RuleResolver); ok {
		authorization["selfsubjectrulesreviews"] = myRules{rules}
	}
	return []Group{
		{authenticationv1.SchemeGroupVersion, map[string]rest.Storage{"selfsubjectreviews": whoAmI{}, "tokenreviews": tokenReview{token, audiences}}},
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

// tokenReview returns the user of a bearer token.
type tokenReview struct {
	token     authenticator.Token
	audiences authenticator.Audiences
}

// New implements rest.Storage.
func (tokenReview) New() runtime.Object { return &authenticationv1.TokenReview{} }

// Destroy implements rest.Storage.
func (tokenReview) Destroy() {}

// NamespaceScoped implements rest.Scoper.
func (tokenReview) NamespaceScoped() bool { return false }

// GetSingularName implements rest.SingularNameProvider.
func (tokenReview) GetSingularName() string { return "tokenreview" }

// Create implements rest.Creater.
func (t tokenReview) Create(ctx context.Context, obj runtime.Object, validate rest.ValidateObjectFunc, _ *metav1.CreateOptions) (runtime.Object, error) {
	review, ok := obj.(*authenticationv1.TokenReview)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("not a TokenReview: %T", obj))
	}
	if review.Spec.Token == "" {
		return nil, apierrors.NewBadRequest("token is required for TokenReview in authentication")
	}
	if validate != nil {
		if err := validate(ctx, obj.DeepCopyObject()); err != nil {
			return nil, err
		}
	}
	review = review.DeepCopy()
	review.Status = authenticationv1.TokenReviewStatus{}
	audiences := t.audiences
	if len(review.Spec.Audiences) > 0 {
		audiences = review.Spec.Audiences
	}
	response, ok, err := t.token.AuthenticateToken(authenticator.WithAudiences(ctx, audiences), review.Spec.Token)
	if ok && len(audiences.Intersect(response.Audiences)) == 0 {
		ok, err = false, errors.New("unable to validate audiences on the token")
	}
	review.Status.Authenticated = ok
	if err != nil {
		review.Status.Error = err.Error()
	}
	if ok {
		u := response.User
		info := &review.Status.User
		info.Username, info.UID, info.Groups = u.GetName(), u.GetUID(), u.GetGroups()
		for key, values := range u.GetExtra() {
			if info.Extra == nil {
				info.Extra = map[string]authenticationv1.ExtraValue{}
			}
			info.Extra[key] = values
		}
		review.Status.Audiences = response.Audiences
	}
	return review, nil
}
