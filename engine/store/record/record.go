package record

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/guard"
	"headway.dev/manifests/model/object"
)

// Op is what happened to a record's key.
type Op byte

// All of them.
const (
	Put    Op = 'P'
	Delete Op = 'D'
)

const checksumSize = 4

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Record is what happened to one key, in bytes:
//
//	op (1 byte) · group · kind · namespace · name · data · CRC-32C of all before (4 bytes)
//
// where the four names are each a length (uvarint) and its bytes, and data is
// what the kind's codec wrote; a deletion has none.
type Record struct {
	Op   Op
	Key  object.Key
	Data []byte
}

// Encode returns r as bytes.
func (r Record) Encode() []byte {
	names := [4]string{r.Key.Group, r.Key.Kind, r.Key.Namespace, r.Key.Name}
	size := 1 + len(r.Data) + checksumSize
	for _, name := range names {
		size += binary.MaxVarintLen32 + len(name)
	}
	b := append(make([]byte, 0, size), byte(r.Op))
	for _, name := range names {
		b = binary.AppendUvarint(b, uint64(len(name)))
		b = append(b, name...)
	}
	b = append(b, r.Data...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// Decode checks and parses what Encode wrote. The data of the result is a part
// of b.
func Decode(b []byte) (Record, error) {
	if len(b) < 1+checksumSize {
		return Record{}, errors.New("too short")
	}
	body, sum := b[:len(b)-checksumSize], binary.BigEndian.Uint32(b[len(b)-checksumSize:])
	if crc32.Checksum(body, castagnoli) != sum {
		return Record{}, errors.New("checksum mismatch")
	}
	r := Record{Op: Op(body[0])}
	if r.Op != Put && r.Op != Delete {
		return Record{}, fmt.Errorf("unknown operation %q", r.Op)
	}
	rest := body[1:]
	var names [4]string
	for i := range names {
		length, n := binary.Uvarint(rest)
		if n <= 0 || length > uint64(len(rest)-n) {
			return Record{}, errors.New("bad length of a name")
		}
		names[i] = string(rest[n : n+int(length)])
		rest = rest[n+int(length):]
	}
	r.Key = object.Key{GroupKind: schema.GroupKind{Group: names[0], Kind: names[1]}, Namespace: names[2], Name: names[3]}
	r.Data = rest
	if r.Op == Delete && len(rest) > 0 {
		return Record{}, errors.New("data after a deletion")
	}
	return r, nil
}

// Object decodes the object of r. A panic of the codec is an error.
func (r Record) Object(codec Codec) (obj object.Object, err error) {
	if codec == nil {
		return nil, fmt.Errorf("unknown kind %s", r.Key.GroupKind)
	}
	err = guard.Call(context.Background(), "decode "+r.Key.String(), func() error {
		obj, err = codec.Decode(r.Data)
		return err
	})
	return obj, err
}
