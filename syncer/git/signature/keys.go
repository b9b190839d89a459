package signature

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"
)

// signatureNamespace is what Git gives ssh-keygen as the purpose of its
// signatures: one made for a file or an e-mail is none of a commit.
const signatureNamespace = "git"

// Keys are the public keys whose signatures are trusted.
type Keys struct {
	pgp openpgp.EntityList
	ssh []sshKey
}

// sshKey is one trusted SSH key, and between which times it is.
type sshKey struct {
	key           ssh.PublicKey
	name          string
	after, before time.Time // zero: no bound
}

// Signer is the owner of a valid signature.
type Signer struct {
	// Key is the long ID of an OpenPGP key, or the SHA256 fingerprint of an
	// SSH key.
	Key string
	// Name is the OpenPGP key's identity, or the SSH key's comment or
	// principals. It may be empty.
	Name string
}

func (s Signer) String() string {
	if s.Name == "" {
		return s.Key
	}
	return fmt.Sprintf("%s (%s)", s.Name, s.Key)
}

// ParseKeys reads the data of a Secret: armored OpenPGP public keys under
// names that end in .asc, SSH public keys under names that end in .sshpub, as
// lines of an authorized_keys or of an allowed signers file. As in older
// versions of Flux an OpenPGP key may have any other name. It fails for keys
// that cannot be read, and if there is none.
func ParseKeys(data map[string][]byte) (*Keys, error) {
	k := &Keys{}
	for _, name := range slices.Sorted(maps.Keys(data)) {
		var err error
		switch value := data[name]; {
		case strings.HasSuffix(name, ".sshpub"), name == "allowed_signers":
			err = k.addSSH(value)
		case strings.HasSuffix(name, ".asc"), bytes.Contains(value, []byte("-----BEGIN PGP PUBLIC KEY BLOCK-----")):
			err = k.addPGP(value)
		}
		if err != nil {
			return nil, fmt.Errorf("read the secret's %s: %w", name, err)
		}
	}
	if len(k.pgp)+len(k.ssh) == 0 {
		return nil, errors.New("the secret holds no public keys: put OpenPGP keys under names that end in .asc, SSH keys under names that end in .sshpub")
	}
	return k, nil
}

func (k *Keys) addPGP(value []byte) error {
	list, err := openpgp.ReadArmoredKeyRing(bytes.NewReader(value))
	if err != nil {
		return fmt.Errorf("not an armored OpenPGP public key: %w", err)
	}
	k.pgp = append(k.pgp, list...)
	return nil
}

func (k *Keys) addSSH(value []byte) error {
	n := 0
	for line := range strings.Lines(string(value)) {
		n++
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, trusted, err := parseSSH(line)
		if err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		if trusted {
			k.ssh = append(k.ssh, key)
		}
	}
	return nil
}

// parseSSH reads "keytype key comment" or "principals options keytype key". It
// reports false for a key whose options exclude Git's signatures.
func parseSSH(line string) (sshKey, bool, error) {
	var out sshKey
	if key, comment, options, _, err := ssh.ParseAuthorizedKey([]byte(line)); err == nil && len(options) == 0 {
		out.key, out.name = key, comment
		return out, true, nil
	}
	// The library takes what stands before the key for options: principals
	// make it one field longer.
	principals, rest, found := cutField(line)
	if !found {
		return out, false, errors.New("not an SSH public key")
	}
	if strings.Contains(principals, "=") || principals == "cert-authority" {
		return out, false, fmt.Errorf("%s stands where the principals of an allowed signers file belong", principals)
	}
	key, comment, options, _, err := ssh.ParseAuthorizedKey([]byte(rest))
	if err != nil {
		return out, false, errors.New("not an SSH public key")
	}
	out.key, out.name = key, cmp.Or(comment, strings.Trim(principals, `"`))
	trusted := true
	for _, option := range options {
		name, value, _ := strings.Cut(option, "=")
		value = strings.Trim(value, `"`)
		switch strings.ToLower(name) {
		case "namespaces":
			trusted = slices.Contains(strings.Split(value, ","), signatureNamespace)
		case "valid-after":
			out.after, err = parseTime(value)
		case "valid-before":
			out.before, err = parseTime(value)
		default:
			// cert-authority above all: a certificate's key is another one.
			err = errors.New("not supported")
		}
		if err != nil {
			return out, false, fmt.Errorf("option %s: %w", name, err)
		}
	}
	return out, trusted, nil
}

// cutField splits at the first blank outside of quotes.
func cutField(line string) (first, rest string, found bool) {
	quoted := false
	for i, c := range line {
		switch {
		case c == '"':
			quoted = !quoted
		case !quoted && (c == ' ' || c == '\t'):
			return line[:i], strings.TrimLeft(line[i:], " \t"), true
		}
	}
	return line, "", false
}

// parseTime reads YYYYMMDD, YYYYMMDDHHMM or YYYYMMDDHHMMSS with an optional Z.
// Without it OpenSSH means the local time of the machine that looks, which is
// taken as UTC here: one key must not be valid on one node and not on another.
func parseTime(value string) (time.Time, error) {
	value = strings.TrimSuffix(value, "Z")
	for _, layout := range []string{"20060102", "200601021504", "20060102150405"} {
		if len(value) == len(layout) {
			return time.Parse(layout, value)
		}
	}
	return time.Time{}, fmt.Errorf("%q is not a time as YYYYMMDD[HHMM[SS]]", value)
}

// verify says who made the signature, or fails with ErrUnsigned. A key that is
// not valid at now signs nothing any more, whatever time a commit gives
// itself: whoever steals an old key could name any.
func (k *Keys) verify(o signed, now time.Time) (Signer, error) {
	switch text := bytes.TrimSpace(o.signature); {
	case len(text) == 0:
		return Signer{}, fmt.Errorf("%w: it has no signature", ErrUnsigned)
	case bytes.HasPrefix(text, []byte(pgpSignature)):
		return k.verifyPGP(o, now)
	case bytes.HasPrefix(text, []byte(sshSignature)):
		return k.verifySSH(o, now)
	default:
		return Signer{}, fmt.Errorf("%w: its signature is neither OpenPGP's nor SSH's", ErrUnsigned)
	}
}

func (k *Keys) verifyPGP(o signed, now time.Time) (Signer, error) {
	if len(k.pgp) == 0 {
		return Signer{}, fmt.Errorf("%w: it has an OpenPGP signature, and the secret holds no OpenPGP keys", ErrUnsigned)
	}
	cfg := &packet.Config{Time: func() time.Time { return now }}
	e, err := openpgp.CheckArmoredDetachedSignature(k.pgp, bytes.NewReader(o.payload), bytes.NewReader(o.signature), cfg)
	if err != nil {
		return Signer{}, fmt.Errorf("%w: %w", ErrUnsigned, err)
	}
	s := Signer{Key: e.PrimaryKey.KeyIdString()}
	if id := e.PrimaryIdentity(); id != nil {
		s.Name = id.Name
	}
	return s, nil
}

func (k *Keys) verifySSH(o signed, now time.Time) (Signer, error) {
	sig, err := sshsig.Unarmor(o.signature)
	if err != nil {
		return Signer{}, fmt.Errorf("%w: read its SSH signature: %w", ErrUnsigned, err)
	}
	finger := ssh.FingerprintSHA256(sig.PublicKey)
	err = fmt.Errorf("the secret does not hold its key %s", finger)
	for _, trusted := range k.ssh {
		if !bytes.Equal(trusted.key.Marshal(), sig.PublicKey.Marshal()) {
			continue
		}
		switch {
		case !trusted.after.IsZero() && now.Before(trusted.after):
			err = fmt.Errorf("its key %s is not valid yet", finger)
		case !trusted.before.IsZero() && !now.Before(trusted.before):
			err = fmt.Errorf("its key %s has expired", finger)
		default:
			err = sshsig.Verify(bytes.NewReader(o.payload), sig, trusted.key, sig.HashAlgorithm, signatureNamespace)
		}
		if err == nil {
			return Signer{Key: finger, Name: trusted.name}, nil
		}
	}
	return Signer{}, fmt.Errorf("%w: %w", ErrUnsigned, err)
}
