package custom

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/apiserver"
	"k8s.io/apimachinery/pkg/runtime"

	"headway.dev/manifests/model/object"
)

// definitionsPath is that of all definitions.
const definitionsPath = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/"

// withSchemas gives what the library's controllers write of the definitions of their
// informer the schemas back that these do not have: admission and the audit log see the
// definition as it is stored.
type withSchemas struct {
	http.RoundTripper
	reader object.Reader
}

// RoundTrip implements http.RoundTripper.
func (t withSchemas) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method != http.MethodPut || !strings.HasPrefix(r.URL.Path, definitionsPath) || r.Body == nil {
		return t.RoundTripper.RoundTrip(r)
	}
	body, err := io.ReadAll(r.Body)
	if err = closing(r.Body, err); err != nil {
		return nil, fmt.Errorf("read the definition that is written: %w", err)
	}
	if body, err = t.complete(body, r.Header.Get("Content-Type")); err != nil {
		return nil, fmt.Errorf("complete the definition that is written: %w", err)
	}
	r = r.Clone(r.Context())
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	return t.RoundTripper.RoundTrip(r)
}

func closing(c io.Closer, err error) error {
	if closeErr := c.Close(); err == nil {
		return closeErr
	}
	return err
}

// complete returns an encoded definition with the schemas of the stored one.
func (t withSchemas) complete(body []byte, mediaType string) ([]byte, error) {
	obj, _, err := apiextensions.Codecs.UniversalDeserializer().Decode(body, nil, nil)
	if err != nil {
		return nil, err
	}
	crd, ok := obj.(*apiextensionsv1.CustomResourceDefinition)
	if !ok {
		return body, nil
	}
	stored, ok := t.reader.Get(object.Key{GroupKind: definition, Name: crd.Name}).(*apiextensionsv1.CustomResourceDefinition)
	if !ok || stored.UID != crd.UID {
		return body, nil // the write will fail
	}
	for i := range crd.Spec.Versions {
		for _, v := range stored.Spec.Versions {
			if v.Name == crd.Spec.Versions[i].Name {
				crd.Spec.Versions[i].Schema = v.Schema
			}
		}
	}
	info, ok := runtime.SerializerInfoForMediaType(apiextensions.Codecs.SupportedMediaTypes(), mediaType)
	if !ok {
		return nil, fmt.Errorf("nothing is encoded as %q", mediaType)
	}
	return runtime.Encode(apiextensions.Codecs.EncoderForVersion(info.Serializer, apiextensionsv1.SchemeGroupVersion), crd)
}
