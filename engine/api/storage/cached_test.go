package storage

import (
	"io"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"headway.dev/manifests/model/object"
)

// The encodings that are kept for further watchers stay within their bytes,
// however large objects are. A watcher that is behind encodes for itself what
// is no longer kept, and keeps nothing of it.
func TestEncodingsKept(t *testing.T) {
	const size = 1 << 20
	event := func(revision uint64) object.Event {
		return object.Event{Revision: revision, Object: &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Data: map[string]string{"data": strings.Repeat("x", size)}}}
	}
	encoded := 0
	encode := func(obj runtime.Object, w io.Writer) error {
		encoded++
		_, err := io.WriteString(w, obj.(*corev1.ConfigMap).Data["data"])
		return err
	}
	send := func(c *cached) {
		t.Helper()
		var out strings.Builder
		if err := c.CacheEncode("json", encode, &out); err != nil || out.Len() != size {
			t.Fatalf("sent %d bytes, %v", out.Len(), err)
		}
	}
	var objects encodedObjects
	first := objects.get(event(1))
	send(first)
	send(objects.get(event(1)))
	if encoded != 1 {
		t.Errorf("one object was encoded %d times for two watchers", encoded)
	}
	for revision := range uint64(100) {
		send(objects.get(event(2 + revision)))
	}
	kept := 0
	for _, k := range objects.byKey {
		for _, e := range k.encodings {
			kept += len(e.data)
		}
	}
	if kept > encodedBytes || kept < encodedBytes/2 || kept != objects.size {
		t.Errorf("kept %d bytes, accounted %d, want at most %d", kept, objects.size, encodedBytes)
	}
	encoded = 0
	send(first)
	send(first)
	if encoded != 2 || len(first.encodings) != 0 {
		t.Errorf("an object that is no longer kept was encoded %d times and keeps %d encodings", encoded, len(first.encodings))
	}
}

// An encoder that panics is an error for every watcher of the object, and
// never an empty encoding.
func TestEncoderThatPanics(t *testing.T) {
	c := newCached(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "a"}})
	for i := range 2 {
		var out strings.Builder
		err := c.CacheEncode("json", func(runtime.Object, io.Writer) error { panic("poisonous object") }, &out)
		if err == nil || !strings.Contains(err.Error(), "poisonous object") || out.Len() > 0 {
			t.Errorf("watcher %d: %q, %v", i+1, out.String(), err)
		}
	}
}
