package api_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"headway.dev/engine/admission"
	"headway.dev/engine/api/apitest"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

// hook is a webhook over TLS, which answers for itself and for a Service.
type hook struct {
	*httptest.Server
	ca []byte

	mu    sync.Mutex
	asked []*admissionv1.AdmissionRequest
}

// answer is what a webhook says of a request.
type answer func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse

// newHook starts a webhook that answers at /.
func newHook(t *testing.T, respond answer) *hook {
	t.Helper()
	h := &hook{}
	return h.start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		review := &admissionv1.AdmissionReview{}
		if err := json.NewDecoder(r.Body).Decode(review); err != nil || review.Request == nil {
			http.Error(w, "no review", http.StatusBadRequest)
			return
		}
		h.mu.Lock()
		h.asked = append(h.asked, review.Request)
		h.mu.Unlock()
		response := respond(review.Request)
		if response.UID == "" {
			response.UID = review.Request.UID
		}
		review.Request, review.Response = nil, response
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(review)
	}))
}

func (h *hook) start(t *testing.T, handler http.Handler) *hook {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "hook"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		DNSNames: []string{"hook.default.svc"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	h.ca = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	h.Server = httptest.NewUnstartedServer(handler)
	h.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS12}
	h.Config.ErrorLog = nil
	h.StartTLS()
	t.Cleanup(h.Close)
	return h
}

// names are those of the objects that the webhook was asked about.
func (h *hook) names() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var names []string
	for _, r := range h.asked {
		names = append(names, r.Name)
	}
	return names
}

// last is what the webhook was asked last.
func (h *hook) last(t *testing.T) *admissionv1.AdmissionRequest {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.asked) == 0 {
		t.Fatal("the webhook was not asked")
	}
	return h.asked[len(h.asked)-1]
}

func allow(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
	return &admissionv1.AdmissionResponse{Allowed: true}
}

// patch changes every object.
func patch(operations string) answer {
	return func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		return &admissionv1.AdmissionResponse{Allowed: true, Patch: []byte(operations), PatchType: new(admissionv1.PatchTypeJSONPatch)}
	}
}

// mutating is a webhook for ConfigMaps.
func (h *hook) mutating(edit ...func(*admissionregistrationv1.MutatingWebhook)) *admissionregistrationv1.MutatingWebhookConfiguration {
	w := admissionregistrationv1.MutatingWebhook{
		Name: "mutate.hook.example", ClientConfig: admissionregistrationv1.WebhookClientConfig{URL: &h.URL, CABundle: h.ca},
		Rules: ofConfigMaps, SideEffects: new(admissionregistrationv1.SideEffectClassNone), AdmissionReviewVersions: []string{"v1"},
	}
	for _, e := range edit {
		e(&w)
	}
	return &admissionregistrationv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "m"}, Webhooks: []admissionregistrationv1.MutatingWebhook{w}}
}

// validating is a webhook for ConfigMaps.
func (h *hook) validating(edit ...func(*admissionregistrationv1.ValidatingWebhook)) *admissionregistrationv1.ValidatingWebhookConfiguration {
	w := admissionregistrationv1.ValidatingWebhook{
		Name: "validate.hook.example", ClientConfig: admissionregistrationv1.WebhookClientConfig{URL: &h.URL, CABundle: h.ca},
		Rules: ofConfigMaps, SideEffects: new(admissionregistrationv1.SideEffectClassNone), AdmissionReviewVersions: []string{"v1"},
	}
	for _, e := range edit {
		e(&w)
	}
	return &admissionregistrationv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "v"}, Webhooks: []admissionregistrationv1.ValidatingWebhook{w}}
}

var ofConfigMaps = []admissionregistrationv1.RuleWithOperations{{
	Operations: []admissionregistrationv1.OperationType{"*"},
	Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}},
}}

// in stores an object by the API until the test ends.
func in(t *testing.T, s *apitest.Server, obj object.Object) {
	t.Helper()
	client := kubernetes.NewForConfigOrDie(s.Config).AdmissionregistrationV1().RESTClient()
	k, _ := scheme.ForObject(obj)
	root := "/apis/" + k.GroupVersion().String()
	if err := client.Post().AbsPath(root).Resource(k.Plural).Body(obj).Do(t.Context()).Error(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Delete().AbsPath(root).Resource(k.Plural).Name(obj.GetName()).Do(context.Background()).Error(); err != nil {
			t.Errorf("delete %s: %v", obj.GetName(), err)
		}
	})
}

// told collects the warnings of a client.
type told struct{ list []string }

// HandleWarningHeader implements rest.WarningHandler.
func (w *told) HandleWarningHeader(_ int, _, text string) { w.list = append(w.list, text) }

func configMap(name string, labels ...string) *corev1.ConfigMap {
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
	for _, l := range labels {
		metav1.SetMetaDataLabel(&cm.ObjectMeta, l, "yes")
	}
	return cm
}

func TestWebhooks(t *testing.T) {
	s := apitest.Start(t)
	warned := &told{}
	cfg := rest.CopyConfig(s.Config)
	cfg.WarningHandler = warned
	maps := kubernetes.NewForConfigOrDie(cfg).CoreV1().ConfigMaps("default")
	inside := func(c change.Change) error {
		_, err := s.Writer.Commit(t.Context(), change.Tx{Changes: []change.Change{c}})
		return err
	}
	key := func(name string) object.Key {
		return object.Key{GroupKind: schema.GroupKind{Kind: "ConfigMap"}, Namespace: "default", Name: name}
	}

	t.Run("refused for everybody, in Kubernetes' words", func(t *testing.T) {
		h := newHook(t, func(r *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
			return &admissionv1.AdmissionResponse{Allowed: r.Name != "bad", Warnings: []string{"look at " + r.Name}, Result: &metav1.Status{Message: "not this one", Code: 403}}
		})
		in(t, s, h.validating())
		const want = `admission webhook "validate.hook.example" denied the request: not this one`
		if _, err := maps.Create(t.Context(), configMap("bad"), metav1.CreateOptions{}); err == nil || err.Error() != want || !apierrors.IsForbidden(err) {
			t.Errorf("a request: %v, want %s", err, want)
		}
		if err := inside(change.Create(configMap("bad"), time.Now())); err == nil || err.Error() != want {
			t.Errorf("inside the process: %v, want %s", err, want)
		}
		if r := h.last(t); r.UserInfo.Username != "system:serviceaccount:kube-system:test-controller" || r.Operation != admissionv1.Create || r.Kind.Kind != "ConfigMap" || len(r.Object.Raw) == 0 {
			t.Errorf("the webhook was asked %+v", r)
		}
		if _, err := maps.Create(t.Context(), configMap("good"), metav1.CreateOptions{}); err != nil || !slices.Contains(warned.list, "look at good") {
			t.Errorf("another object: %v, warnings %q", err, warned.list)
		}
		if _, errOut, err := s.Kubectl(t, "", "-n", "default", "create", "configmap", "bad"); err == nil || !strings.Contains(errOut, want) {
			t.Errorf("kubectl: %v: %s", err, errOut)
		}
		// A deletion is asked about, too, and has no new object.
		if err := inside(change.Delete(key("good"), metav1.DeleteOptions{}, time.Now())); err != nil {
			t.Error(err)
		}
		if r := h.last(t); r.Operation != admissionv1.Delete || len(r.Object.Raw) != 0 || len(r.OldObject.Raw) == 0 {
			t.Errorf("the webhook was asked %+v", r)
		}
		// What is not its matter is not told to it.
		asked := len(h.names())
		if err := inside(change.Create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "s"}}, time.Now())); err != nil || len(h.names()) != asked {
			t.Errorf("a Secret: %v, the webhook was asked about %q", err, h.names()[asked:])
		}
	})

	t.Run("changed for everybody, and valid afterwards", func(t *testing.T) {
		h := newHook(t, patch(`[{"op": "add", "path": "/data", "value": {"by": "hook"}}]`))
		in(t, s, h.mutating())
		cm, err := maps.Create(t.Context(), configMap("changed"), metav1.CreateOptions{})
		if err != nil || cm.Data["by"] != "hook" {
			t.Errorf("a request: %v, %v", err, cm.Data)
		}
		if err := inside(change.Create(configMap("changed-inside"), time.Now())); err != nil {
			t.Error(err)
		}
		if cm, ok := s.Store.Get(key("changed-inside")).(*corev1.ConfigMap); !ok || cm.Data["by"] != "hook" {
			t.Errorf("inside the process: %+v", cm)
		}
	})

	t.Run("invalid changes are refused", func(t *testing.T) {
		in(t, s, newHook(t, patch(`[{"op": "add", "path": "/data", "value": {"a b": "c"}}]`)).mutating())
		_, err := maps.Create(t.Context(), configMap("invalid"), metav1.CreateOptions{})
		inner := inside(change.Create(configMap("invalid"), time.Now()))
		if !apierrors.IsInvalid(err) || inner == nil || inner.Error() != err.Error() {
			t.Errorf("a request: %v\ninside the process: %v", err, inner)
		}
	})

	t.Run("selectors, conditions and dry run", func(t *testing.T) {
		h := newHook(t, allow)
		in(t, s, h.validating(func(w *admissionregistrationv1.ValidatingWebhook) {
			w.ObjectSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"hook": "yes"}}
			w.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": "default"}}
			w.MatchConditions = []admissionregistrationv1.MatchCondition{{Name: "skip", Expression: "!object.metadata.name.startsWith('skip')"}}
		}))
		for _, cm := range []*corev1.ConfigMap{configMap("unlabelled"), configMap("skip", "hook"), configMap("asked", "hook")} {
			if err := inside(change.Create(cm, time.Now())); err != nil {
				t.Fatal(err)
			}
		}
		s.Namespace(t, "other")
		other := configMap("other", "hook")
		other.Namespace = "other"
		if err := inside(change.Create(other, time.Now())); err != nil {
			t.Fatal(err)
		}
		if names := h.names(); !slices.Equal(names, []string{"asked"}) {
			t.Errorf("the webhook was asked about %q", names)
		}
		if _, err := maps.Create(t.Context(), configMap("dry", "hook"), metav1.CreateOptions{DryRun: []string{"All"}}); err != nil || !*h.last(t).DryRun {
			t.Errorf("a dry run: %v, asked %+v", err, h.last(t))
		}
		plan := s.Writer.Foresee(t.Context(), admission.Ask{View: s.Store, Object: configMap("planned", "hook")})
		if r := h.last(t); plan.Refused != nil || r.Name != "planned" || !*r.DryRun {
			t.Errorf("a plan: %v, asked %+v", plan.Refused, r)
		}
	})

	t.Run("asked again about what a later one changed", func(t *testing.T) {
		var seen []string
		first := newHook(t, func(r *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
			var cm corev1.ConfigMap
			if err := json.Unmarshal(r.Object.Raw, &cm); err != nil {
				t.Error(err)
			}
			seen = append(seen, cm.Data["second"])
			return allow(r)
		})
		second := newHook(t, patch(`[{"op": "add", "path": "/data", "value": {"second": "was here"}}]`))
		c := first.mutating(func(w *admissionregistrationv1.MutatingWebhook) {
			w.ReinvocationPolicy = new(admissionregistrationv1.IfNeededReinvocationPolicy)
		})
		c.Webhooks = append(c.Webhooks, second.mutating(func(w *admissionregistrationv1.MutatingWebhook) { w.Name = "second.hook.example" }).Webhooks...)
		in(t, s, c)
		if err := inside(change.Create(configMap("again"), time.Now())); err != nil || !slices.Equal(seen, []string{"", "was here"}) {
			t.Errorf("%v, the first webhook saw %q", err, seen)
		}
	})

	t.Run("reached by a Service", func(t *testing.T) {
		h := newHook(t, allow)
		_, port, err := net.SplitHostPort(h.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		number, err := strconv.Atoi(port)
		if err != nil {
			t.Fatal(err)
		}
		in(t, s, h.validating(func(w *admissionregistrationv1.ValidatingWebhook) {
			w.ClientConfig.URL = nil
			w.ClientConfig.Service = &admissionregistrationv1.ServiceReference{Namespace: "default", Name: "hook", Path: new("/")}
		}))
		if err := inside(change.Create(configMap("unserved"), time.Now())); err == nil || !strings.Contains(err.Error(), `failed calling webhook "validate.hook.example"`) || !strings.Contains(err.Error(), `services "hook" not found`) {
			t.Errorf("without a Service: %v", err)
		}
		// A process of this machine stands for a pod.
		if _, err := s.Store.Commit(t.Context(), change.Tx{Changes: []change.Change{
			change.Create(&corev1.Service{
				ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "hook"},
				Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "https", Port: 443, TargetPort: intstr.FromInt(number)}}},
			}, time.Now()),
			change.Create(&discoveryv1.EndpointSlice{
				ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "hook", Labels: map[string]string{discoveryv1.LabelServiceName: "hook"}}, AddressType: "IPv4",
				Ports:     []discoveryv1.EndpointPort{{Name: new("https"), Port: new(int32(number))}},
				Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"127.0.0.1"}}},
			}, time.Now()),
		}}); err != nil {
			t.Fatal(err)
		}
		if err := inside(change.Create(configMap("served"), time.Now())); err != nil || !slices.Equal(h.names(), []string{"served"}) {
			t.Errorf("%v, the webhook was asked about %q", err, h.names())
		}
	})

	t.Run("what is stored together is judged together", func(t *testing.T) {
		h := newHook(t, allow)
		in(t, s, h.validating(func(w *admissionregistrationv1.ValidatingWebhook) {
			w.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": "fresh"}}
		}))
		cm := configMap("resident")
		cm.Namespace = "fresh"
		if _, err := s.Writer.Commit(t.Context(), change.Tx{Changes: []change.Change{
			change.Create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "fresh"}}, time.Now()), change.Create(cm, time.Now()),
		}}); err != nil || !slices.Contains(h.names(), "resident") {
			t.Errorf("%v, the webhook was asked about %q", err, h.names())
		}
	})
}
