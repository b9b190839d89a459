package configured

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Of a webhook that does not answer, a Converter waits for one answer, and tells of it
// for all that it has to convert; another webhook in its place is asked.
func TestConverterWaitsForSilenceOnce(t *testing.T) {
	var asked atomic.Int32
	done := make(chan struct{})
	hook := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		asked.Add(1)
		<-done
	}))
	defer hook.Close()
	defer close(done)
	c, err := newConverter(nil, nil, nil, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	definition := func(url string) *apiextensionsv1.CustomResourceDefinition {
		crd := &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: "links.example.com"}}
		crd.Spec.Group = "example.com"
		crd.Spec.Versions = []apiextensionsv1.CustomResourceDefinitionVersion{{Name: "v1"}, {Name: "v2"}}
		crd.Spec.Conversion = &apiextensionsv1.CustomResourceConversion{Strategy: apiextensionsv1.WebhookConverter, Webhook: &apiextensionsv1.WebhookConversion{
			ClientConfig: &apiextensionsv1.WebhookClientConfig{URL: &url}, ConversionReviewVersions: []string{"v1"},
		}}
		return crd
	}
	convert := func(crd *apiextensionsv1.CustomResourceDefinition) error {
		u := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "example.com/v1", "kind": "Link", "metadata": map[string]any{"name": "a"},
		}}
		_, err := c.Convert(t.Context(), crd, u, schema.GroupVersion{Group: "example.com", Version: "v2"})
		return err
	}
	for range 3 {
		if err := convert(definition(hook.URL)); err == nil || !strings.Contains(err.Error(), "conversion webhook for example.com/v1, Kind=Link failed: Post") {
			t.Errorf("%v, want the webhook's failure", err)
		}
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("the webhook was asked %d times, want once", n)
	}
	if err := convert(definition(hook.URL + "/other")); err == nil || asked.Load() != 2 {
		t.Errorf("%v: another webhook was not asked", err)
	}
}

// Who does not wait any more does not wait for a webhook that hangs, which is not taken
// for silent by that.
func TestConverterEndsWithWhoWaits(t *testing.T) {
	asked, done := make(chan struct{}, 10), make(chan struct{})
	hook := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		asked <- struct{}{}
		<-done
	}))
	defer hook.Close()
	defer close(done)
	c, err := newConverter(nil, nil, nil, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	url := hook.URL
	crd := &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: "links.example.com"}}
	crd.Spec.Group = "example.com"
	crd.Spec.Versions = []apiextensionsv1.CustomResourceDefinitionVersion{{Name: "v1"}, {Name: "v2"}}
	crd.Spec.Conversion = &apiextensionsv1.CustomResourceConversion{Strategy: apiextensionsv1.WebhookConverter, Webhook: &apiextensionsv1.WebhookConversion{
		ClientConfig: &apiextensionsv1.WebhookClientConfig{URL: &url}, ConversionReviewVersions: []string{"v1"},
	}}
	u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "example.com/v1", "kind": "Link", "metadata": map[string]any{"name": "a"}}}
	for range 2 {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		answered := make(chan error, 1)
		go func() {
			_, err := c.Convert(ctx, crd, u, schema.GroupVersion{Group: "example.com", Version: "v2"})
			answered <- err
		}()
		over := time.After(time.Minute)
		select {
		case <-asked:
		case <-over:
			t.Fatal("the webhook is not asked within a minute")
		}
		cancel()
		select {
		case err := <-answered:
			if !errors.Is(err, context.Canceled) {
				t.Errorf("the answer is %v", err)
			}
		case <-over:
			t.Fatal("it is still waited for the webhook")
		}
	}
}
