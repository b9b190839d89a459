package encryption

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"k8s.io/apiserver/pkg/storage/value"
	"k8s.io/apiserver/pkg/storage/value/encrypt/aes"

	"headway.dev/engine/pki"
	"headway.dev/engine/store/record"
)

// ownPrefix begins what is encrypted with a key of the key file; the key's id and
// a colon follow.
const ownPrefix = record.Encrypted + "headway:v1:"

// maxKeyFile bounds what is read of a key file.
const maxKeyFile = 64 << 10

const keyFileHead = `# Headway encrypts the Secrets in store.db with the first of these keys. Keep a
# copy, but not with those of store.db: without this file they cannot be read.
`

// key is one of the key file.
type key struct {
	id          string
	seed        []byte
	transformer value.Transformer
}

// newKey makes the key of a seed. Its id follows from the seed, so that a file
// with another key is told from a record that was tampered with.
func newKey(seed []byte) (key, error) {
	// Each encryption has a key of its own, derived from the seed, so that no
	// number of writes wears it out, and authenticates what the object is.
	transformer, err := aes.NewHKDFExtendedNonceGCMTransformer(seed)
	if err != nil {
		return key{}, err
	}
	sum := sha256.Sum256(append([]byte("headway key "), seed...))
	return key{id: hex.EncodeToString(sum[:6]), seed: seed, transformer: transformer}, nil
}

func generateKey() (key, error) {
	seed, err := aes.GenerateKey(aes.MinSeedSizeExtendedNonceGCM)
	if err != nil {
		return key{}, fmt.Errorf("make a key: %w", err)
	}
	return newKey(seed)
}

func (k key) encrypt(ctx context.Context, data []byte, about value.Context) ([]byte, error) {
	out, err := k.transformer.TransformToStorage(ctx, data, about)
	if err != nil {
		return nil, err
	}
	return slices.Concat([]byte(ownPrefix), []byte(k.id+":"), out), nil
}

// keyID splits what a key of the key file encrypted.
func keyID(data []byte) (id string, encrypted []byte, ok bool) {
	rest, ok := bytes.CutPrefix(data, []byte(ownPrefix))
	if !ok {
		return "", nil, false
	}
	name, encrypted, ok := bytes.Cut(rest, []byte(":"))
	return string(name), encrypted, ok
}

// removeLeftovers removes what was written of key files by processes that ended
// before it took the file's place: it has keys, too.
func removeLeftovers(path string) error {
	left, err := filepath.Glob(filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+"-*"))
	for _, name := range left {
		err = errors.Join(err, os.Remove(name))
	}
	if err != nil {
		return fmt.Errorf("remove an unfinished key file of Secrets: %w", err)
	}
	return nil
}

// readKeys reads a key file; without one it returns none.
func readKeys(path string) ([]key, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a FIFO would be waited for
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("key file of Secrets: %w", err)
	}
	defer file.Close()
	if err := checkKeyFile(path, file); err != nil {
		return nil, fmt.Errorf("key file of Secrets: %w", err)
	}
	data, err := io.ReadAll(io.LimitReader(file, maxKeyFile+1))
	if err != nil {
		return nil, fmt.Errorf("key file of Secrets: %w", err)
	}
	keys, err := parseKeys(data)
	if err != nil {
		return nil, fmt.Errorf("key file of Secrets %s: %w; put it back from a backup", path, err)
	}
	return keys, nil
}

// checkKeyFile refuses a file that others may read or have written.
func checkKeyFile(path string, file *os.File) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", path)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("%s is open to other users (mode %04o): run `chmod 600 %s`; if others may have read it, run `headway secrets rotate` after that", path, mode, path)
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok && int(owner.Uid) != os.Geteuid() {
		return fmt.Errorf("%s belongs to the user %d: run `chown %d %s`", path, owner.Uid, os.Geteuid(), path)
	}
	return nil
}

// parseKeys reads a key a line, in base64. Errors quote nothing of it.
func parseKeys(data []byte) ([]key, error) {
	if len(data) > maxKeyFile {
		return nil, fmt.Errorf("it has more than %d bytes", maxKeyFile)
	}
	var keys []key
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, maxKeyFile+1)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		seed, err := base64.StdEncoding.DecodeString(line)
		if err != nil || len(seed) != aes.MinSeedSizeExtendedNonceGCM {
			return nil, fmt.Errorf("line %d is not a key: %d bytes in base64", n, aes.MinSeedSizeExtendedNonceGCM)
		}
		k, err := newKey(seed)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		keys = append(keys, k)
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if len(keys) == 0 {
		return nil, errors.New("it has no key")
	}
	return keys, nil
}

func writeKeys(path string, keys []key) error {
	text := bytes.NewBufferString(keyFileHead)
	for _, k := range keys {
		fmt.Fprintln(text, base64.StdEncoding.EncodeToString(k.seed))
	}
	if err := pki.WriteFile(path, text.Bytes(), 0o600); err != nil {
		return fmt.Errorf("write the key file of Secrets: %w", err)
	}
	return nil
}
