package api_test

import (
	"net/http"
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"headway.dev/engine/api/apitest"
)

// A review asks about a selection as a request would: a node may list its own pods, and
// not those of others. What is not understood of the selection is left out, which is
// told, and asks for more.
func TestAccessReviewsOfSelections(t *testing.T) {
	s := apitest.Start(t)
	reviews := kubernetes.NewForConfigOrDie(s.Config).AuthorizationV1().SubjectAccessReviews()
	byField := func(raw string, requirements ...metav1.FieldSelectorRequirement) authorizationv1.ResourceAttributes {
		return authorizationv1.ResourceAttributes{FieldSelector: &authorizationv1.FieldSelectorAttributes{RawSelector: raw, Requirements: requirements}}
	}
	byLabel := func(raw string, requirements ...metav1.LabelSelectorRequirement) authorizationv1.ResourceAttributes {
		return authorizationv1.ResourceAttributes{LabelSelector: &authorizationv1.LabelSelectorAttributes{RawSelector: raw, Requirements: requirements}}
	}
	on := func(operator metav1.FieldSelectorOperator, nodes ...string) metav1.FieldSelectorRequirement {
		return metav1.FieldSelectorRequirement{Key: "spec.nodeName", Operator: operator, Values: nodes}
	}
	for name, c := range map[string]struct {
		resource authorizationv1.ResourceAttributes
		allowed  bool
		// told is why the question is not answered as it was asked, and refused why it is
		// none.
		told, refused string
	}{
		"its own":             {byField("spec.nodeName=n1"), true, "", ""},
		"its own, in a list":  {byField("", on(metav1.FieldSelectorOpIn, "n1")), true, "", ""},
		"those of others":     {byField("spec.nodeName=n2"), false, "", ""},
		"all but its own":     {byField("", on(metav1.FieldSelectorOpNotIn, "n1")), false, "", ""},
		"all":                 {authorizationv1.ResourceAttributes{}, false, "", ""},
		"nonsense":            {byField("spec.nodeName"), false, "spec.resourceAttributes.fieldSelector ignored due to parse error", ""},
		"of several nodes":    {byField("", on(metav1.FieldSelectorOpIn, "n1", "n2")), false, "spec.resourceAttributes.fieldSelector ignored due to parse error", ""},
		"an operator to come": {byField("", on(metav1.FieldSelectorOpIn, "n1"), on("Near", "n1")), true, "spec.resourceAttributes.fieldSelector partially ignored due to parse error", ""},
		"labels":              {byLabel("app in ("), false, "spec.resourceAttributes.labelSelector ignored due to parse error", ""},
		"labels in a list":    {byLabel("", metav1.LabelSelectorRequirement{Key: "app", Operator: metav1.LabelSelectorOpExists}, metav1.LabelSelectorRequirement{Key: "app", Operator: "Like", Values: []string{"a"}}), false, "spec.resourceAttributes.labelSelector partially ignored due to parse error", ""},
		"twice":               {byField("a=b", on(metav1.FieldSelectorOpIn, "n1")), false, "", `spec.resourceAttributes.fieldSelector.rawSelector: Invalid value: "a=b": may not specified at the same time as requirements`},
		"an empty selection":  {byField(""), false, "", "spec.resourceAttributes.fieldSelector.requirements: Required value: when spec.resourceAttributes.fieldSelector is specified, requirements or rawSelector is required"},
		"no field":            {byField("", metav1.FieldSelectorRequirement{Operator: metav1.FieldSelectorOpExists}), false, "", "spec.resourceAttributes.fieldSelector.requirements[0].key: Required value: must be specified"},
		"no labels":           {byLabel(""), false, "", "spec.resourceAttributes.labelSelector.requirements: Required value: when spec.resourceAttributes.labelSelector is specified, requirements or rawSelector is required"},
		"labels of no value":  {byLabel("", metav1.LabelSelectorRequirement{Key: "app", Operator: metav1.LabelSelectorOpIn}), false, "", "spec.resourceAttributes.labelSelector.requirements[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'"},
	} {
		c.resource.Verb, c.resource.Resource = "list", "pods"
		review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{User: "system:node:n1", Groups: []string{"system:nodes"}, ResourceAttributes: &c.resource}}
		got, err := reviews.Create(t.Context(), review, metav1.CreateOptions{})
		switch {
		case c.refused != "":
			if !apierrors.IsInvalid(err) || !strings.HasSuffix(err.Error(), c.refused) {
				t.Errorf("%s: answered %v, want %q", name, err, c.refused)
			}
		case err != nil:
			t.Errorf("%s: %v", name, err)
		case got.Status.Allowed != c.allowed || !strings.HasSuffix(got.Status.EvaluationError, c.told) || c.told == "" && got.Status.EvaluationError != "":
			t.Errorf("%s: answered %+v, want allowed %v and %q", name, got.Status, c.allowed, c.told)
		}
	}
}

// A review that asks nothing, or two things, or has metadata as if it were stored, is
// refused in Kubernetes' words.
func TestAccessReviewsRefused(t *testing.T) {
	s := apitest.Start(t)
	client := kubernetes.NewForConfigOrDie(s.Config).AuthorizationV1().RESTClient()
	for _, c := range []struct{ resource, body, want string }{
		{"subjectaccessreviews", `{"spec":{"user":"a"}}`, ` "" is invalid: spec: Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified`},
		{"selfsubjectaccessreviews", `{"spec":{"resourceAttributes":{},"nonResourceAttributes":{}}}`, ` "" is invalid: spec: Invalid value: {}: exactly one of nonResourceAttributes or resourceAttributes must be specified`},
		{"subjectaccessreviews", `{"spec":{"resourceAttributes":{}}}`, ` "" is invalid: spec.user: Invalid value: "": at least one of user or group must be specified`},
		{"subjectaccessreviews", `{"metadata":{"name":"a"},"spec":{"user":"a","resourceAttributes":{}}}`, `: must be empty`},
		{"namespaces/default/localsubjectaccessreviews", `{"metadata":{"name":"a"},"spec":{"user":"a","resourceAttributes":{"namespace":"default"}}}`, `: must be empty except for namespace`},
		{"namespaces/default/localsubjectaccessreviews", `{"spec":{"user":"a","resourceAttributes":{"namespace":"other"}}}`, `spec.resourceAttributes.namespace: Invalid value: "other": must match metadata.namespace`},
		{"namespaces/default/localsubjectaccessreviews", `{"spec":{"user":"a","nonResourceAttributes":{}}}`, `spec.nonResourceAttributes: Invalid value: {}: disallowed on this kind of request`},
		{"namespaces/default/localsubjectaccessreviews", `{"metadata":{"namespace":"default"},"spec":{"user":"a","resourceAttributes":{"namespace":"default"}}}`, ``},
	} {
		err := client.Verb(http.MethodPost).AbsPath("/apis/authorization.k8s.io/v1", c.resource).Body([]byte(c.body)).Do(t.Context()).Error()
		if c.want == "" {
			if err != nil {
				t.Errorf("%s: %v", c.body, err)
			}
		} else if !apierrors.IsInvalid(err) || !strings.HasSuffix(err.Error(), c.want) {
			t.Errorf("%s: answered %v, want %q", c.body, err, c.want)
		}
	}
}
