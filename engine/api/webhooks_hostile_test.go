package api_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"headway.dev/engine/api/apitest"
	"headway.dev/manifests/model/change"
)

// Webhooks that lie, hang or lead elsewhere: the write fails with the webhook's
// name and the reason, other writes are not held up, and the webhook can be
// deleted. If its failures are to be ignored, so they are.
func TestHostileWebhooks(t *testing.T) {
	s := apitest.Start(t)
	client := kubernetes.NewForConfigOrDie(s.Config).CoreV1()
	var reached atomic.Int32
	elsewhere := (&hook{}).start(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	raw := func(handle http.HandlerFunc) *hook { return (&hook{}).start(t, handle) }
	url := func(to string) func() *hook {
		return func() *hook {
			h := newHook(t, allow)
			h.URL = to
			return h
		}
	}
	for name, tc := range map[string]struct {
		hook func() *hook
		want string
	}{
		"hangs": {func() *hook {
			return raw(func(_ http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body) // or the server does not notice that the client is gone
				abandoned(r)
			})
		}, "context deadline exceeded"},
		"redirects": {func() *hook {
			return raw(func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
			})
		}, "answered with a redirect (307 Temporary Redirect), which is not followed"},
		"answers without end": {func() *hook {
			return raw(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				for chunk := make([]byte, 1<<16); r.Context().Err() == nil; {
					if _, err := w.Write(chunk); err != nil {
						return
					}
				}
			})
		}, "the webhook's answer is larger than 3145728 bytes"},
		"is no webhook": {func() *hook {
			return raw(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) })
		}, "failed to call webhook"},
		"answers another question": {func() *hook {
			return newHook(t, func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
				return &admissionv1.AdmissionResponse{UID: "another", Allowed: true}
			})
		}, "received invalid webhook response"},
		"answers with another kind": {func() *hook {
			return raw(func(w http.ResponseWriter, _ *http.Request) {
				_, _ = w.Write([]byte(`{"kind": "Pod", "apiVersion": "v1", "response": {"allowed": true}}`))
			})
		}, "failed to call webhook"},
		"sends no patch": {func() *hook { return newHook(t, patch(`{"data": 1}`)) }, "received undecodable patch in webhook response"},
		"changes what is not there": {func() *hook {
			return newHook(t, patch(`[{"op": "replace", "path": "/spec/x", "value": 1}]`))
		}, "doc is missing"},
		"makes another object": {func() *hook {
			return newHook(t, patch(`[{"op": "replace", "path": "/metadata/namespace", "value": "kube-system"}]`))
		}, "namespace"},
		"copies without end": {func() *hook {
			ops := []string{`{"op": "add", "path": "/data", "value": {"a": "` + strings.Repeat("x", 1<<10) + `"}}`}
			for i := range 25 { // each doubles it
				ops = append(ops, fmt.Sprintf(`{"op": "copy", "from": "/data", "path": "/data/%d"}`, i))
			}
			return newHook(t, patch("["+strings.Join(ops, ",")+"]"))
		}, "Unable to complete the copy, the accumulated size increase of copy is"},
		"makes it too large": {func() *hook {
			return newHook(t, patch(`[{"op": "add", "path": "/data", "value": {"a": "`+strings.Repeat("x", 2<<20)+`"}}]`))
		}, "Too long: may not be more than 1048576 bytes"},
		"makes another kind": {func() *hook {
			return newHook(t, patch(`[{"op": "replace", "path": "/kind", "value": "Secret"}]`))
		}, "unknown conversion"},
		"has no name for it": {func() *hook {
			return newHook(t, patch(`[{"op": "remove", "path": "/metadata/name"}]`))
		}, "name or generateName is required"},
		"ends in the middle": {func() *hook {
			return raw(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Length", "1000")
				_, _ = w.Write([]byte(`{"kind":`))
			})
		}, "failed to call webhook"},
		"answers bit by bit": {func() *hook {
			return raw(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				_, _ = w.Write([]byte(`{"kind":`))
				_ = http.NewResponseController(w).Flush()
				abandoned(r)
			})
		}, "failed to call webhook"},
		"is a metadata service":   {url("https://169.254.169.254/latest"), "the address 169.254.169.254 is not reached: --deny-addresses has link-local"},
		"is on a link-local name": {url("https://[fe80::1]/"), "the address fe80::1 is not reached: --deny-addresses has link-local"},
	} {
		t.Run(name, func(t *testing.T) {
			h := tc.hook()
			short := func(w *admissionregistrationv1.MutatingWebhook) { w.TimeoutSeconds = new(int32(1)) }
			in(t, s, h.mutating(short))
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			_, err := client.ConfigMaps("default").Create(ctx, configMap("x"), metav1.CreateOptions{})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("a request: %.300v, want %q", err, tc.want)
			}
			if len(err.Error()) > 2000 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
		})
	}
	t.Run("failures are ignored", func(t *testing.T) {
		h := url("https://169.254.169.254/")()
		in(t, s, h.mutating(func(w *admissionregistrationv1.MutatingWebhook) {
			w.FailurePolicy = new(admissionregistrationv1.Ignore)
		}))
		if _, err := client.ConfigMaps("default").Create(t.Context(), configMap("ignored"), metav1.CreateOptions{}); err != nil {
			t.Error(err)
		}
	})
	t.Run("updates", func(t *testing.T) {
		made, err := client.ConfigMaps("default").Create(t.Context(), configMap("made"), metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for name, operation := range map[string]string{
			"name": `"replace", "path": "/metadata/name", "value": "other"`, "uid": `"replace", "path": "/metadata/uid", "value": "other"`,
			"namespace": `"replace", "path": "/metadata/namespace", "value": "kube-system"`, "deletion": `"add", "path": "/metadata/deletionTimestamp", "value": "2020-01-01T00:00:00Z"`,
		} {
			t.Run(name, func(t *testing.T) {
				in(t, s, newHook(t, patch(`[{"op": `+operation+`}]`)).mutating())
				_, err := client.ConfigMaps("default").Patch(t.Context(), "made", types.MergePatchType, []byte(`{"metadata":{"labels":{"touched":"`+name+`"}}}`), metav1.PatchOptions{})
				got, getErr := client.ConfigMaps("default").Get(t.Context(), "made", metav1.GetOptions{})
				if getErr != nil || got.UID != made.UID || got.DeletionTimestamp != nil || err == nil && got.Labels["touched"] != name {
					t.Errorf("answered %v, and it is %+v, %v", err, got, getErr)
				}
			})
		}
	})
	t.Run("of what Headway writes itself", func(t *testing.T) {
		asked := make(chan struct{}, 100)
		h := raw(func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			asked <- struct{}{}
			abandoned(r)
		})
		in(t, s, h.mutating(func(w *admissionregistrationv1.MutatingWebhook) {
			w.TimeoutSeconds, w.FailurePolicy = new(int32(1)), new(admissionregistrationv1.Ignore)
		}))
		// Each object of a commit would wait for it anew.
		var changes []change.Change
		for i := range 60 {
			changes = append(changes, change.Create(configMap(fmt.Sprint("own-", i)), time.Now()))
		}
		if _, err := s.Writer.Commit(t.Context(), change.Tx{Changes: changes}); err != nil {
			t.Errorf("a webhook whose failures are ignored: %v", err)
		}
		if n := len(asked); n != 1 {
			t.Errorf("a webhook that does not answer was asked %d times about one commit, want once", n)
		}
		if _, err := client.ConfigMaps("default").Create(t.Context(), configMap("asked"), metav1.CreateOptions{}); err != nil {
			t.Error(err)
		}
		if n := len(asked); n != 2 {
			t.Errorf("it was asked %d times, want once more for a request", n)
		}
	})
	if reached.Load() != 0 {
		t.Error("the redirect was followed")
	}
}

// abandoned waits until nobody waits for the answer, and does not answer then either:
// a client that has not looked yet could take an empty answer for one in time.
func abandoned(r *http.Request) {
	<-r.Context().Done()
	panic(http.ErrAbortHandler)
}
