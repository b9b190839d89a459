package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/object"
)

// What a record says about its key.
const (
	recordPut    byte = 'P'
	recordDelete byte = 'D'
)

const checksumSize = 4

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// record is the value of one entry of the objects bucket:
//
//	op (1 byte) · group · kind · namespace · name · data · CRC-32C of all before (4 bytes)
//
// where the four names are each a length (uvarint) and its bytes, and data is
// what the kind's codec wrote; a deletion has none.
type record struct {
	op   byte
	key  object.Key
	data []byte
}

func (r record) encode() []byte {
	names := [4]string{r.key.Group, r.key.Kind, r.key.Namespace, r.key.Name}
	size := 1 + len(r.data) + checksumSize
	for _, name := range names {
		size += binary.MaxVarintLen32 + len(name)
	}
	b := append(make([]byte, 0, size), r.op)
	for _, name := range names {
		b = binary.AppendUvarint(b, uint64(len(name)))
		b = append(b, name...)
	}
	b = append(b, r.data...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// decodeRecord checks and takes apart what encode wrote. The data of the
// result is a part of b.
func decodeRecord(b []byte) (record, error) {
	if len(b) < 1+checksumSize {
		return record{}, errors.New("too short")
	}
	body, sum := b[:len(b)-checksumSize], binary.BigEndian.Uint32(b[len(b)-checksumSize:])
	if crc32.Checksum(body, castagnoli) != sum {
		return record{}, errors.New("checksum mismatch")
	}
	r := record{op: body[0]}
	if r.op != recordPut && r.op != recordDelete {
		return record{}, fmt.Errorf("unknown operation %q", r.op)
	}
	rest := body[1:]
	var names [4]string
	for i := range names {
		length, n := binary.Uvarint(rest)
		if n <= 0 || length > uint64(len(rest)-n) {
			return record{}, errors.New("bad length of a name")
		}
		names[i] = string(rest[n : n+int(length)])
		rest = rest[n+int(length):]
	}
	r.key = object.Key{GroupKind: schema.GroupKind{Group: names[0], Kind: names[1]}, Namespace: names[2], Name: names[3]}
	r.data = rest
	if r.op == recordDelete && len(rest) > 0 {
		return record{}, errors.New("data after a deletion")
	}
	return r, nil
}

func revisionKey(revision uint64) []byte {
	return binary.BigEndian.AppendUint64(make([]byte, 0, 8), revision)
}
