package custom

import (
	"context"
	"maps"
	"net/http"
	"strings"
	"sync"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/apiserver"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/endpoints/handlers/negotiation"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	"k8s.io/apiserver/pkg/endpoints/request"

	"headway.dev/engine/api/registry"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/custom"
	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

// The library's handler asks its admission about a write when all else is decided:
// defaults are set, and the schema is satisfied. So the gate is the last that its
// admission asks. A write that is carried out elsewhere ends there with an error, in
// the place of which the server in front gives another answer.

// gatekeeper is admission with a gate behind it.
type gatekeeper struct {
	admission.Interface
	gate   registry.Gate
	reader object.Reader
	kinds  *scheme.Registry
	by     custom.Converter
}

// Admit implements admission.MutationInterface.
func (k gatekeeper) Admit(ctx context.Context, attrs admission.Attributes, objects admission.ObjectInterfaces) error {
	if in, ok := k.Interface.(admission.MutationInterface); ok && in.Handles(attrs.GetOperation()) {
		return in.Admit(ctx, attrs, objects)
	}
	return nil
}

// Validate implements admission.ValidationInterface.
func (k gatekeeper) Validate(ctx context.Context, attrs admission.Attributes, objects admission.ObjectInterfaces) error {
	if in, ok := k.Interface.(admission.ValidationInterface); ok && in.Handles(attrs.GetOperation()) {
		if err := in.Validate(ctx, attrs, objects); err != nil {
			return err
		}
	}
	write, ok, err := k.write(ctx, attrs)
	if err != nil || !ok {
		return err
	}
	elsewhere, err := k.gate.Review(ctx, write)
	if err != nil {
		return err
	}
	if elsewhere != nil && write.DryRun {
		_, err := elsewhere(ctx) // which changes nothing
		return err
	}
	if o, ok := ctx.Value(outcomeKey{}).(*outcome); ok {
		o.set(elsewhere, write.Old.GetUID())
	}
	if elsewhere != nil {
		return registry.ErrElsewhere
	}
	return nil
}

// write is what the gate is asked about, if it is: the objects in the version in which
// they are stored.
func (k gatekeeper) write(ctx context.Context, attrs admission.Attributes) (change.Request, bool, error) {
	op, part := attrs.GetOperation(), attrs.GetSubresource()
	if op != admission.Update && op != admission.Delete || part != "" && part != "scale" {
		return change.Request{}, false, nil
	}
	is, ok := k.kinds.ForResource(attrs.GetResource().GroupResource())
	if !ok || is.Custom == nil {
		return change.Request{}, false, nil
	}
	w := change.Request{DryRun: attrs.IsDryRun()}
	if user := attrs.GetUserInfo(); user != nil {
		w.User, w.Groups, w.Extra = user.GetName(), user.GetGroups(), user.GetExtra()
	}
	switch options := attrs.GetOperationOptions().(type) {
	case *metav1.UpdateOptions:
		w.Manager = options.FieldManager
	case *metav1.PatchOptions:
		w.Manager = options.FieldManager
	}
	if part == "scale" {
		ok, err := k.scaled(&w, is, attrs)
		return w, ok, err
	}
	version, there := is.Custom.Version(is.Version)
	stored := func(obj runtime.Object) (object.Object, error) {
		u, ok := obj.(*unstructured.Unstructured)
		if !ok || !there {
			return nil, nil
		}
		out, err := is.Custom.Convert(ctx, u, is.GroupVersion(), k.by)
		if err != nil || out == u {
			return out, err
		}
		return out, version.Complete(out)
	}
	var err error
	if w.Old, err = stored(attrs.GetOldObject()); err == nil && op == admission.Update {
		w.Next, err = stored(attrs.GetObject())
	}
	return w, w.Old != nil && (w.Next != nil || op == admission.Delete), err
}

// scaled adds the object of a scale, as it is and with the replicas that are asked for,
// and reports whether it is still there.
func (k gatekeeper) scaled(w *change.Request, is *kind.Kind, attrs admission.Attributes) (bool, error) {
	scale, ok := attrs.GetObject().(*autoscalingv1.Scale)
	live, lives := k.reader.Get(object.Key{GroupKind: is.GroupKind(), Namespace: attrs.GetNamespace(), Name: attrs.GetName()}).(*unstructured.Unstructured)
	version, defined := is.Custom.Version(is.Version)
	if !ok || !lives || !defined {
		return false, nil
	}
	path := version.Replicas()
	if asked, ok := is.Custom.Version(attrs.GetResource().Version); ok && path == "" {
		path = asked.Replicas()
	}
	if path == "" {
		return false, nil
	}
	old := live.DeepCopy()
	if err := version.Complete(old); err != nil {
		return false, err
	}
	next := old.DeepCopy()
	w.Old, w.Next = old, next
	return true, unstructured.SetNestedField(next.Object, int64(scale.Spec.Replicas), strings.Split(path, ".")...)
}

// outcomeKey is that of the outcome in the context of a request that waits for it.
type outcomeKey struct{}

// outcome is what the gate wants done in place of a write.
type outcome struct {
	mu        sync.Mutex
	elsewhere change.Elsewhere
	uid       types.UID
}

func (o *outcome) set(elsewhere change.Elsewhere, uid types.UID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.elsewhere, o.uid = elsewhere, uid
}

func (o *outcome) get() (change.Elsewhere, types.UID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.elsewhere, o.uid
}

// gated is a handler of the library, whose answers to writes that are carried out elsewhere
// tell what came of them.
type gated struct{ inner http.Handler }

// ServeHTTP implements http.Handler.
func (g gated) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	info, ok := request.RequestInfoFrom(r.Context())
	if !ok || !info.IsResourceRequest || info.Subresource != "" && info.Subresource != "scale" || info.Verb != "update" && info.Verb != "patch" && info.Verb != "delete" {
		g.inner.ServeHTTP(w, r)
		return
	}
	o := &outcome{}
	answer := &answer{ResponseWriter: w, outcome: o, header: w.Header().Clone()}
	g.inner.ServeHTTP(answer, r.WithContext(context.WithValue(r.Context(), outcomeKey{}, o)))
	if !answer.dropped {
		return
	}
	gv := schema.GroupVersion{Group: info.APIGroup, Version: info.APIVersion}
	elsewhere, uid := o.get()
	stored, err := elsewhere(r.Context())
	switch {
	case err != nil:
		responsewriters.ErrorNegotiated(err, apiextensions.Codecs, gv, w, r)
	case stored == nil:
		status := &metav1.Status{Status: metav1.StatusSuccess, Details: &metav1.StatusDetails{Name: info.Name, Group: info.APIGroup, Kind: info.Resource, UID: uid}}
		responsewriters.WriteObjectNegotiated(apiextensions.Codecs, negotiation.DefaultEndpointRestrictions, gv, w, r, http.StatusOK, status, false)
	default:
		// As it is read in the version that was written.
		read := *info
		read.Verb = "get"
		again := r.Clone(request.WithRequestInfo(r.Context(), &read))
		again.Method, again.Body, again.ContentLength, again.URL.RawQuery = http.MethodGet, http.NoBody, 0, ""
		g.inner.ServeHTTP(w, again)
	}
}

// answer holds back the library's answer to a write that is carried out elsewhere.
type answer struct {
	http.ResponseWriter
	outcome        *outcome
	header         http.Header
	began, dropped bool
}

// Header implements http.ResponseWriter.
func (a *answer) Header() http.Header {
	if a.began {
		return a.ResponseWriter.Header()
	}
	return a.header
}

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(code int) {
	if !a.began {
		a.began = true
		elsewhere, _ := a.outcome.get()
		if a.dropped = elsewhere != nil; !a.dropped {
			become(a.ResponseWriter.Header(), a.header)
		}
	}
	if !a.dropped {
		a.ResponseWriter.WriteHeader(code)
	}
}

// become makes an answer's header the one that was held back.
func become(outer, held http.Header) {
	// The recorder of warnings writes past who holds it back.
	warnings := outer["Warning"]
	clear(outer)
	maps.Copy(outer, held)
	if len(warnings) > 0 {
		outer["Warning"] = warnings
	}
}

// Write implements http.ResponseWriter.
func (a *answer) Write(data []byte) (int, error) {
	if !a.began {
		a.WriteHeader(http.StatusOK)
	}
	if a.dropped {
		return len(data), nil
	}
	return a.ResponseWriter.Write(data)
}

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }
