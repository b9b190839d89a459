package store

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/object"
)

// These tests are inside the package: records are not part of its interface.

func seeds() []record {
	key := object.Key{GroupKind: schema.GroupKind{Group: "apps", Kind: "Deployment"}, Namespace: "default", Name: "web"}
	return []record{
		{op: recordPut, key: key, data: []byte("data")},
		{op: recordDelete, key: key, data: []byte{}},
		{op: recordPut, key: object.Key{GroupKind: schema.GroupKind{Kind: "Node"}, Name: "n"}, data: bytes.Repeat([]byte{7}, 300)},
	}
}

func TestRecord(t *testing.T) {
	for _, want := range seeds() {
		b := want.encode()
		got, err := decodeRecord(b)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(record{})); diff != "" {
			t.Errorf("record (-want +got):\n%s", diff)
		}
		// No single changed or missing byte goes unnoticed.
		for i := range b {
			bad := bytes.Clone(b)
			bad[i] ^= 0x40
			if _, err := decodeRecord(bad); err == nil {
				t.Errorf("byte %d changed: no error", i)
			}
			if _, err := decodeRecord(b[:i]); err == nil {
				t.Errorf("cut to %d bytes: no error", i)
			}
		}
	}
}

// Nothing in a file makes decoding panic, and what decodes encodes to the same
// bytes.
func FuzzRecord(f *testing.F) {
	for _, r := range seeds() {
		f.Add(r.encode())
		f.Add(r.encode()[:5])
	}
	codec := ServedCodec(schema.GroupKind{Kind: "Pod"})
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := decodeRecord(b); err == nil {
			if again, err := decodeRecord(r.encode()); err != nil || !cmp.Equal(r, again, cmp.AllowUnexported(record{})) {
				t.Errorf("record %v became %v, %v", r, again, err)
			}
		}
		// With a valid checksum, to get past it.
		r := record{op: recordPut, data: b}
		if _, err := decodeRecord(r.encode()); err != nil {
			t.Errorf("own record: %v", err)
		}
		_, _ = decodeObject(codec, record{op: recordPut, data: b})
		_, _ = decodeObject(codec, record{op: recordPut, data: append([]byte{encodedProtobuf}, b...)})
	})
}
