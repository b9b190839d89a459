package custom

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"

	apiextensions "k8s.io/apiextensions-apiserver/pkg/apiserver"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	"k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/endpoints/handlers"
	"k8s.io/apiserver/pkg/endpoints/handlers/negotiation"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"

	"headway.dev/engine/api/storage"
	"headway.dev/manifests/model/object"
)

// The library copies all items of a list of custom resources and encodes them by
// reflection, which takes several times what a list of a Go type does. So it gets the
// list without its items: it decides about the request, and answers with a frame in
// which the items, which are shared with the store and are not changed, are then written.

// lists is the library's server, whose lists in JSON are written here.
type lists struct{ inner http.Handler }

// ServeHTTP implements http.Handler.
func (l lists) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	info, ok := request.RequestInfoFrom(r.Context())
	if !ok || !info.IsResourceRequest || info.Verb != "list" || info.Subresource != "" || !plain(r) {
		l.inner.ServeHTTP(w, r)
		return
	}
	frame := &frame{ResponseWriter: w, request: r, header: w.Header().Clone()}
	l.inner.ServeHTTP(frame, r.WithContext(storage.WithApart(r.Context(), &frame.list)))
	if frame.held && !frame.filled {
		l.inner.ServeHTTP(w, r) // the library has its own idea of the answer
	}
}

// scope knows in which forms the library answers, as the scope of each of its resources.
var scope = func() *handlers.RequestScope {
	s := &handlers.RequestScope{Serializer: apiextensions.Codecs, TableConvertor: rest.NewDefaultTableConvertor(schema.GroupResource{})}
	for _, info := range apiextensions.Codecs.SupportedMediaTypes() {
		if info.MediaType != runtime.ContentTypeProtobuf {
			s.StandardSerializers = append(s.StandardSerializers, info)
		}
	}
	return s
}()

// plain reports whether the answer to a request is the list itself in JSON, and nothing
// else but the answer has its items.
func plain(r *http.Request) bool {
	if c := audit.AuditContextFrom(r.Context()); c != nil && !c.GetEventLevel().Less(auditinternal.LevelRequestResponse) {
		return false
	}
	form, info, err := negotiation.NegotiateOutputMediaType(r, scope.Serializer, scope)
	return err == nil && form.Convert == nil && form.Accepted.MediaType == runtime.ContentTypeJSON && info.Serializer != info.PrettySerializer
}

// frame holds the library's answer back if it is a list without its items, and writes
// that with them once it is complete: while the library still takes the time, and counts
// what is written.
type frame struct {
	http.ResponseWriter
	request             *http.Request
	list                storage.Apart
	header              http.Header
	body                bytes.Buffer
	began, held, filled bool
}

// Header implements http.ResponseWriter.
func (f *frame) Header() http.Header {
	if f.began && !f.held {
		return f.ResponseWriter.Header()
	}
	return f.header
}

// WriteHeader implements http.ResponseWriter.
func (f *frame) WriteHeader(code int) {
	if !f.began {
		f.began, f.held = true, f.list.Listed && code == http.StatusOK
		if !f.held {
			f.open()
		}
	}
	if !f.held {
		f.ResponseWriter.WriteHeader(code)
	}
}

// open makes the header that of the answer.
func (f *frame) open() { become(f.ResponseWriter.Header(), f.header) }

// Write implements http.ResponseWriter.
func (f *frame) Write(data []byte) (int, error) {
	if !f.began {
		f.WriteHeader(http.StatusOK)
	}
	if !f.held {
		return f.ResponseWriter.Write(data)
	}
	counted := f.body.Len()
	f.body.Write(data)
	if body := f.body.Bytes(); f.filled || !bytes.HasSuffix(body, []byte("}\n")) || !json.Valid(body) {
		return len(data), nil
	}
	before, after, ok := bytes.Cut(f.body.Bytes(), []byte(`"items":[]`))
	if !ok || f.header.Get("Content-Type") != runtime.ContentTypeJSON {
		return len(data), nil
	}
	f.filled = true
	f.open()
	whole := &counter{ResponseWriter: f.ResponseWriter}
	e := encoder{before: before, after: after, items: f.list.Items}
	responsewriters.SerializeObject(runtime.ContentTypeJSON, e, whole, f.request, http.StatusOK, &unstructured.UnstructuredList{})
	// More than there was to write: the library's metrics add up what this returns, and
	// nobody else looks at it.
	return max(whole.bytes-counted, 0), nil
}

// counter counts what is written.
type counter struct {
	http.ResponseWriter
	bytes int
}

// Write implements http.ResponseWriter.
func (c *counter) Write(data []byte) (int, error) {
	n, err := c.ResponseWriter.Write(data)
	c.bytes += n
	return n, err
}

// Unwrap is for http.ResponseController.
func (c *counter) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// Unwrap is for http.ResponseController.
func (f *frame) Unwrap() http.ResponseWriter { return f.ResponseWriter }

// encoder encodes a list from the frame in which its items are.
type encoder struct {
	before, after []byte
	items         []object.Object
}

// atOnce is how much is written at a time.
const atOnce = 16 << 10

// Encode implements runtime.Encoder.
func (e encoder) Encode(obj runtime.Object, w io.Writer) error {
	if _, ok := obj.(*unstructured.UnstructuredList); !ok {
		return json.NewEncoder(w).Encode(obj) // what went wrong
	}
	// What begins with a single byte is taken for the beginning of a stream, which
	// may become large enough to be compressed.
	if _, err := w.Write(e.before[:1]); err != nil {
		return err
	}
	data := append(slices.Grow([]byte(nil), atOnce), e.before[1:]...)
	data = append(data, `"items":[`...)
	for i, item := range e.items {
		u, ok := item.(*unstructured.Unstructured)
		if !ok {
			return fmt.Errorf("a list of custom resources has a %T", item)
		}
		if i > 0 {
			data = append(data, ',')
		}
		var err error
		if data, err = object.AppendJSON(data, u.Object); err != nil {
			return err
		}
		if len(data) < atOnce {
			continue
		}
		if _, err := w.Write(data); err != nil {
			return err
		}
		data = data[:0]
	}
	_, err := w.Write(append(append(data, ']'), e.after...))
	return err
}

// Identifier implements runtime.Encoder.
func (encoder) Identifier() runtime.Identifier { return "list of custom resources" }
