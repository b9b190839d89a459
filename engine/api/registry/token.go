package registry

import (
	"context"
	"fmt"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"

	"headway.dev/engine/satoken"
	"headway.dev/manifests/model/object"
)

const (
	defaultLifetime  = time.Hour
	shortestLifetime = 10 * time.Minute
	longestLifetime  = 1 << 32 // seconds
)

// AccountToken is the REST storage of serviceaccounts/token (kubectl create
// token).
type AccountToken struct {
	reader object.Reader
	issuer *satoken.Issuer
}

// New implements rest.Storage.
func (AccountToken) New() runtime.Object { return &authenticationv1.TokenRequest{} }

// Destroy implements rest.Storage.
func (AccountToken) Destroy() {}

// GroupVersionKind implements rest.GroupVersionKindProvider.
func (AccountToken) GroupVersionKind(schema.GroupVersion) schema.GroupVersionKind {
	return tokenRequest
}

var tokenRequest = authenticationv1.SchemeGroupVersion.WithKind("TokenRequest")

// Create implements rest.NamedCreater.
func (t AccountToken) Create(ctx context.Context, name string, obj runtime.Object, validate rest.ValidateObjectFunc, _ *metav1.CreateOptions) (runtime.Object, error) {
	req, ok := obj.(*authenticationv1.TokenRequest)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("not a TokenRequest: %T", obj))
	}
	namespace := genericapirequest.NamespaceValue(ctx)
	req = req.DeepCopy()
	if errs := samePlace(req, namespace, name); len(errs) > 0 {
		return nil, apierrors.NewInvalid(tokenRequest.GroupKind(), name, errs)
	}
	account, ok := t.get("ServiceAccount", namespace, name).(*corev1.ServiceAccount)
	if !ok {
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "serviceaccounts"}, name)
	}
	req.Name, req.Namespace = name, namespace
	req.CreationTimestamp = metav1.Now()
	req.Status = authenticationv1.TokenRequestStatus{}
	if len(req.Spec.Audiences) == 0 {
		req.Spec.Audiences = []string{satoken.URL}
	}
	if req.Spec.ExpirationSeconds == nil {
		req.Spec.ExpirationSeconds = new(int64(defaultLifetime / time.Second))
	}
	if errs := validateTokenRequest(req); len(errs) > 0 {
		return nil, apierrors.NewInvalid(tokenRequest.GroupKind(), "", errs)
	}
	if validate != nil {
		if err := validate(ctx, req.DeepCopy()); err != nil {
			return nil, err
		}
	}
	bound, err := t.bound(name, namespace, req.Spec.BoundObjectRef)
	if err != nil {
		return nil, err
	}
	token, expires, err := t.issuer.Issue(account, req.Spec.Audiences, time.Duration(*req.Spec.ExpirationSeconds)*time.Second, bound)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	req.Status = authenticationv1.TokenRequestStatus{Token: token, ExpirationTimestamp: metav1.NewTime(expires)}
	return req, nil
}

func samePlace(req *authenticationv1.TokenRequest, namespace, name string) field.ErrorList {
	var errs field.ErrorList
	meta := field.NewPath("metadata")
	if req.Name != "" && req.Name != name {
		errs = append(errs, field.Invalid(meta.Child("name"), req.Name, "must match the service account name if specified"))
	}
	if req.Namespace != "" && req.Namespace != namespace {
		errs = append(errs, field.Invalid(meta.Child("namespace"), req.Namespace, "must match the service account namespace if specified"))
	}
	return errs
}

func validateTokenRequest(req *authenticationv1.TokenRequest) field.ErrorList {
	at := field.NewPath("spec").Child("expirationSeconds")
	seconds := *req.Spec.ExpirationSeconds
	var errs field.ErrorList
	if seconds < int64(shortestLifetime/time.Second) {
		errs = append(errs, field.Invalid(at, seconds, "may not specify a duration less than 10 minutes"))
	}
	if seconds > longestLifetime {
		errs = append(errs, field.Invalid(at, seconds, "may not specify a duration larger than 2^32 seconds"))
	}
	return errs
}

// bindable are the resources of the kinds that tokens are bound to.
var bindable = map[string]string{"Pod": "pods", "Secret": "secrets", "Node": "nodes"}

// bound finds what a token shall be bound to.
func (t AccountToken) bound(account, namespace string, to *authenticationv1.BoundObjectReference) (satoken.Bound, error) {
	var bound satoken.Bound
	if to == nil {
		return bound, nil
	}
	gvk := schema.FromAPIVersionAndKind(to.APIVersion, to.Kind)
	var uid types.UID
	if to.Kind == "Node" {
		namespace = ""
	}
	switch obj := t.get(to.Kind, namespace, to.Name).(type) {
	case *corev1.Pod:
		if obj.Spec.ServiceAccountName != account {
			return bound, apierrors.NewBadRequest(fmt.Sprintf("cannot bind token for serviceaccount %q to pod running with different serviceaccount name.", account))
		}
		bound.Pod, uid = obj, obj.UID
		bound.Node, _ = t.get("Node", "", obj.Spec.NodeName).(*corev1.Node)
	case *corev1.Secret:
		bound.Secret, uid = obj, obj.UID
	case *corev1.Node:
		bound.Node, uid = obj, obj.UID
	case nil:
		if resource, ok := bindable[gvk.Kind]; ok && gvk.Group == "" {
			return bound, apierrors.NewNotFound(schema.GroupResource{Resource: resource}, to.Name)
		}
	}
	if gvk.Group != "" || uid == "" {
		return bound, apierrors.NewBadRequest(fmt.Sprintf("cannot bind token to object of type %s", gvk))
	}
	if to.UID != "" && to.UID != uid {
		return bound, apierrors.NewConflict(schema.GroupResource{Resource: gvk.Kind}, to.Name,
			fmt.Errorf("the UID in the bound object reference (%s) does not match the UID in record. The object might have been deleted and then recreated", to.UID))
	}
	return bound, nil
}

func (t AccountToken) get(kind, namespace, name string) object.Object {
	return t.reader.Get(object.Key{GroupKind: schema.GroupKind{Kind: kind}, Namespace: namespace, Name: name})
}
