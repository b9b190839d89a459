package sops

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"filippo.io/age"
	"filippo.io/age/agessh"
	"filippo.io/age/armor"
	"github.com/ProtonMail/go-crypto/openpgp"
	pgparmor "github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// Names of a Secret's entries that hold private keys.
const (
	ageSuffix = ".agekey"
	pgpSuffix = ".asc"
)

// Bounds of what is tried to get at a file's data key: each try costs the
// decryption with a private key, and who wrote the file says how many there are.
const (
	// maxWrapped bounds an encrypted data key, in bytes.
	maxWrapped = 8 << 10
	// maxRecipients bounds how often a file has its data key.
	maxRecipients = 100
)

// Keys are private keys. A nil *Keys has none.
type Keys struct {
	age []age.Identity
	pgp openpgp.EntityList
	id  string
}

// ParseKeys reads the entries of a Secret: *.agekey with age identities or an
// SSH private key, *.asc with armored PGP private keys. Other entries are
// ignored. Errors only name the entry.
func ParseKeys(entries map[string][]byte) (*Keys, error) {
	k := &Keys{}
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		data := entries[name]
		switch {
		case strings.HasSuffix(name, ageSuffix):
			ids, err := ageIdentities(data)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			k.age = append(k.age, ids...)
		case strings.HasSuffix(name, pgpSuffix):
			ring, err := openpgp.ReadArmoredKeyRing(bytes.NewReader(data))
			if err != nil {
				return nil, fmt.Errorf("%s: is not an armored PGP private key", name)
			}
			if err := usable(ring); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			k.pgp = append(k.pgp, ring...)
		default:
			continue
		}
		fmt.Fprintf(h, "%q %d\n%s", name, len(data), data)
	}
	k.id = hex.EncodeToString(h.Sum(nil))
	return k, nil
}

func usable(ring openpgp.EntityList) error {
	for _, e := range ring {
		keys := []*packet.PrivateKey{e.PrivateKey}
		for _, s := range e.Subkeys {
			keys = append(keys, s.PrivateKey)
		}
		keys = slices.DeleteFunc(keys, func(key *packet.PrivateKey) bool { return key == nil })
		if len(keys) == 0 {
			return errors.New("is a public key: a private key is needed to decrypt")
		}
		if slices.ContainsFunc(keys, func(key *packet.PrivateKey) bool { return key.Encrypted }) {
			return errors.New("the private key is locked by a passphrase: export it without one")
		}
	}
	return nil
}

// ageIdentities reads identities of age. Those of plugins are refused: a
// plugin is a program.
func ageIdentities(data []byte) ([]age.Identity, error) {
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte("-----BEGIN")) {
		id, err := agessh.ParseIdentity(data)
		if err != nil {
			return nil, errors.New("is not an SSH private key without passphrase")
		}
		return []age.Identity{id}, nil
	}
	if bytes.Contains(data, []byte("AGE-PLUGIN-")) {
		return nil, errors.New("age plugins are not run")
	}
	ids, err := age.ParseIdentities(bytes.NewReader(data))
	if err != nil {
		return nil, errors.New("is not an age identity file")
	}
	return ids, nil
}

// ID is different for different keys.
func (k *Keys) ID() string {
	if k == nil {
		return ""
	}
	return k.id
}

// dataKey decrypts the file's data key with the first key that can.
func (k *Keys) dataKey(m *metadata) ([]byte, error) {
	groups := m.groups()
	if len(groups) > 1 {
		return nil, errors.New("sops: data keys that are split into several key groups are not supported")
	}
	if n := len(groups[0].Age) + len(groups[0].PGP); n > maxRecipients {
		return nil, fmt.Errorf("sops: the data key is encrypted %d times, more than %d", n, maxRecipients)
	}
	if k == nil {
		k = &Keys{}
	}
	for _, r := range groups[0].Age {
		if key, ok := k.unwrapAge(r.Encrypted); ok {
			return key, nil
		}
	}
	for _, r := range groups[0].PGP {
		if key, ok := k.unwrapPGP(r.Encrypted); ok {
			return key, nil
		}
	}
	return nil, fmt.Errorf("cannot get sops data key: none of the decryption keys is of its recipients (%s)", groups[0].describe())
}

func (k *Keys) unwrapAge(wrapped string) ([]byte, bool) {
	if len(k.age) == 0 || len(wrapped) > maxWrapped {
		return nil, false
	}
	r, err := age.Decrypt(armor.NewReader(strings.NewReader(wrapped)), k.age...)
	if err != nil {
		return nil, false
	}
	return readKey(r)
}

func (k *Keys) unwrapPGP(wrapped string) ([]byte, bool) {
	if len(k.pgp) == 0 || len(wrapped) > maxWrapped {
		return nil, false
	}
	block, err := pgparmor.Decode(strings.NewReader(wrapped))
	if err != nil {
		return nil, false
	}
	msg, err := openpgp.ReadMessage(block.Body, k.pgp, nil, nil)
	if err != nil {
		return nil, false
	}
	return readKey(msg.UnverifiedBody)
}

// readKey reads to the end, where the message's own integrity is checked.
func readKey(r io.Reader) ([]byte, bool) {
	const size = 32 // of a key of AES-256
	key, err := io.ReadAll(io.LimitReader(r, size+1))
	return key, err == nil && len(key) == size
}
