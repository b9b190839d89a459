package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"k8s.io/client-go/util/keyutil"
)

// AccountKey loads the key that signs the tokens of service accounts from dir
// (sa.key), creating it if it is missing. A key that exists but cannot be read
// is an error and is not replaced, because every token depends on it.
func AccountKey(dir string) (*ecdsa.PrivateKey, error) {
	file := filepath.Join(dir, "sa.key")
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, fmt.Errorf("make the key of service accounts: %w", err)
		}
		if data, err = keyutil.MarshalPrivateKeyToPEM(key); err != nil {
			return nil, fmt.Errorf("make the key of service accounts: %w", err)
		}
		if err := WriteFile(file, data, 0o600); err != nil {
			return nil, fmt.Errorf("make the key of service accounts: %w", err)
		}
		return key, nil
	}
	if err != nil {
		return nil, fmt.Errorf("key of service accounts: %w", err)
	}
	parsed, err := keyutil.ParsePrivateKeyPEM(data)
	if err != nil {
		return nil, fmt.Errorf("key of service accounts %s: %w", file, err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, fmt.Errorf("key of service accounts %s: not an ECDSA key on P-256", file)
	}
	return key, nil
}
