package sops

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"strconv"
	"strings"
	"time"
)

type kind uint8

const (
	kindString kind = iota
	kindInt
	kindFloat
	kindBool
	kindTime
	kindNull
	kindComment
)

// value is a leaf; text is the form in which SOPS encrypts and seals it.
type value struct {
	kind kind
	text string
}

// ciphertext is one encrypted value.
type ciphertext struct {
	data, iv, tag []byte
	kind          kind
}

var errNotCipher = errors.New("expected an encrypted value, ENC[AES256_GCM,…]")

func parseCipher(text string) (ciphertext, error) {
	body, begins := strings.CutPrefix(text, "ENC[AES256_GCM,data:")
	body, ends := strings.CutSuffix(body, "]")
	if !begins || !ends {
		return ciphertext{}, errNotCipher
	}
	var c ciphertext
	data, rest, ok := strings.Cut(body, ",iv:")
	iv, rest, ok2 := strings.Cut(rest, ",tag:")
	tag, typ, ok3 := strings.Cut(rest, ",type:")
	if !ok || !ok2 || !ok3 {
		return c, errNotCipher
	}
	for _, part := range []struct {
		text string
		to   *[]byte
	}{{data, &c.data}, {iv, &c.iv}, {tag, &c.tag}} {
		raw, err := base64.StdEncoding.DecodeString(part.text)
		if err != nil {
			return c, errNotCipher
		}
		*part.to = raw
	}
	if len(c.iv) == 0 || len(c.iv) > 64 || len(c.tag) != 16 {
		return c, errNotCipher
	}
	kinds := map[string]kind{"str": kindString, "bytes": kindString, "int": kindInt, "float": kindFloat, "bool": kindBool, "time": kindTime, "comment": kindComment}
	if c.kind, ok = kinds[typ]; !ok {
		return c, errNotCipher
	}
	return c, nil
}

// open decrypts the value, which is bound to aad.
func (c ciphertext) open(key []byte, aad string) (value, error) {
	fail := errors.New("the value cannot be decrypted: it was changed or moved after it was encrypted")
	block, err := aes.NewCipher(key)
	if err != nil {
		return value{}, fail
	}
	gcm, err := cipher.NewGCMWithNonceSize(block, len(c.iv))
	if err != nil {
		return value{}, fail
	}
	plain, err := gcm.Open(nil, c.iv, append(append([]byte{}, c.data...), c.tag...), []byte(aad))
	if err != nil {
		return value{}, fail
	}
	v, ok := value{kind: c.kind, text: string(plain)}.normal()
	if !ok {
		return value{}, errors.New("the decrypted value is not of the type that it is marked with")
	}
	return v, nil
}

// normal is the value in the one form in which it is sealed, and false if its
// text is none of its kind.
func (v value) normal() (value, bool) {
	var err error
	switch v.kind {
	case kindInt:
		var i int64
		i, err = strconv.ParseInt(v.text, 10, 64)
		v.text = strconv.FormatInt(i, 10)
	case kindFloat:
		var f float64
		f, err = strconv.ParseFloat(v.text, 64)
		v.text = strconv.FormatFloat(f, 'f', -1, 64)
	case kindBool: // as Python writes it
		var b bool
		b, err = strconv.ParseBool(v.text)
		v.text = "False"
		if b {
			v.text = "True"
		}
	case kindTime:
		var t time.Time
		t, err = time.Parse(time.RFC3339Nano, v.text)
		v.text = t.Format(time.RFC3339Nano)
	case kindString, kindNull, kindComment:
	}
	return v, err == nil
}

// placeholder is a value of the same type that says nothing of this one. It
// is valid as a name and as base64.
func (c ciphertext) placeholder() value {
	text := map[kind]string{kindString: "aGlkZGVu", kindInt: "4711", kindFloat: "47.11", kindBool: "True", kindTime: "1970-01-01T00:00:00Z"}[c.kind]
	return value{kind: c.kind, text: text}
}

// otherPlaceholder is like placeholder, and different from it.
func (c ciphertext) otherPlaceholder() value {
	text := map[kind]string{kindString: "b3RoZXJz", kindInt: "1147", kindFloat: "11.47", kindBool: "False", kindTime: "1971-01-01T00:00:00Z"}[c.kind]
	return value{kind: c.kind, text: text}
}

// aad binds a value to the keys above it. Positions in lists do not count.
func aad(path []string) string { return strings.Join(path, ":") + ":" }

func where(path []string) string { return strings.Join(path, ".") }

// seal is the digest over all values of a file.
type seal struct {
	hash          hash.Hash
	onlyEncrypted bool
}

// onlyEncryptedSalt makes the digest of a file that is sealed over its
// encrypted values alone differ from that over all of them.
var onlyEncryptedSalt = []byte{
	0x8a, 0x3f, 0xd2, 0xad, 0x54, 0xce, 0x66, 0x52, 0x7b, 0x10, 0x34, 0xf3, 0xd1, 0x47, 0xbe, 0x0b,
	0x0b, 0x97, 0x5b, 0x3b, 0xf4, 0x4f, 0x72, 0xc6, 0xfd, 0xad, 0xec, 0x81, 0x76, 0xf2, 0x7d, 0x69,
}

func newSeal(onlyEncrypted bool) *seal {
	s := &seal{hash: sha512.New(), onlyEncrypted: onlyEncrypted}
	if onlyEncrypted {
		s.hash.Write(onlyEncryptedSalt)
	}
	return s
}

func (s *seal) add(v value, encrypted bool) {
	if s == nil || v.kind == kindNull || s.onlyEncrypted && !encrypted {
		return
	}
	s.hash.Write([]byte(v.text))
}

func (s *seal) matches(mac string) bool {
	return subtle.ConstantTimeCompare([]byte(mac), fmt.Appendf(nil, "%X", s.hash.Sum(nil))) == 1
}
