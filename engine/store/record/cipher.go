package record

import (
	"bytes"
	"errors"
	"fmt"

	"headway.dev/manifests/model/object"
)

// Encrypted begins all data that a cipher has encrypted, as in Kubernetes. What
// a codec writes begins otherwise.
const Encrypted = "k8s:enc:"

// ErrKey reports data that was encrypted with a key that is not at hand. A store
// with such a record is not opened: the object would be missing, and written
// over.
var ErrKey = errors.New("the key for it is missing")

// Cipher encrypts the data of records on its way from the codec to the file.
// Several goroutines may call it.
type Cipher interface {
	// Encrypt returns data, the encoded object of a key, as the file is to
	// contain it: as it is, if the kind is not encrypted.
	Encrypt(key object.Key, data []byte) ([]byte, error)
	// Decrypt undoes Encrypt, also of earlier keys, and returns what is not
	// encrypted as it is. stale reports that Encrypt would do otherwise now. An
	// error wraps ErrKey, or is about this record alone.
	Decrypt(key object.Key, data []byte) (plain []byte, stale bool, err error)
}

// Plain is the cipher that encrypts nothing.
type Plain struct{}

// Encrypt implements Cipher.
func (Plain) Encrypt(_ object.Key, data []byte) ([]byte, error) { return data, nil }

// Decrypt implements Cipher.
func (Plain) Decrypt(_ object.Key, data []byte) (plain []byte, stale bool, err error) {
	if bytes.HasPrefix(data, []byte(Encrypted)) {
		return nil, false, fmt.Errorf("it is encrypted: %w", ErrKey)
	}
	return data, false, nil
}
