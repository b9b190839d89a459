package record

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/object"
)

func seeds() []Record {
	key := object.Key{GroupKind: schema.GroupKind{Group: "apps", Kind: "Deployment"}, Namespace: "default", Name: "web"}
	return []Record{
		{Op: Put, Key: key, Data: []byte("data")},
		{Op: Delete, Key: key, Data: []byte{}},
		{Op: Put, Key: object.Key{GroupKind: schema.GroupKind{Kind: "Node"}, Name: "n"}, Data: bytes.Repeat([]byte{7}, 300)},
	}
}

func TestRecord(t *testing.T) {
	for _, want := range seeds() {
		b := want.Encode()
		got, err := Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("record (-want +got):\n%s", diff)
		}
		// No single changed or missing byte goes unnoticed.
		for i := range b {
			bad := bytes.Clone(b)
			bad[i] ^= 0x40
			if _, err := Decode(bad); err == nil {
				t.Errorf("byte %d changed: no error", i)
			}
			if _, err := Decode(b[:i]); err == nil {
				t.Errorf("cut to %d bytes: no error", i)
			}
		}
	}
}

// Nothing in a file makes decoding panic, and what decodes encodes to the same
// bytes.
func FuzzRecord(f *testing.F) {
	for _, r := range seeds() {
		f.Add(r.Encode())
		f.Add(r.Encode()[:5])
	}
	codec := Served(schema.GroupKind{Kind: "Pod"})
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := Decode(b); err == nil {
			if again, err := Decode(r.Encode()); err != nil || !cmp.Equal(r, again) {
				t.Errorf("record %v became %v, %v", r, again, err)
			}
		}
		// With a valid checksum, to get past it.
		r := Record{Op: Put, Data: b}
		if _, err := Decode(r.Encode()); err != nil {
			t.Errorf("own record: %v", err)
		}
		_, _ = Record{Op: Put, Data: b}.Object(codec)
		_, _ = Record{Op: Put, Data: append([]byte{encodedProtobuf}, b...)}.Object(codec)
	})
}
