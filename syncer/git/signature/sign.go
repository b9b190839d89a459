package signature

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"
)

// SigningKey signs the commits that Headway writes.
type SigningKey struct {
	pgp *openpgp.Entity
	ssh ssh.Signer
}

// ParseSigningKey reads a private key without a passphrase: an armored OpenPGP
// key, or an SSH key as ssh-keygen writes it.
func ParseSigningKey(data []byte) (*SigningKey, error) {
	if !bytes.Contains(data, []byte("-----BEGIN PGP PRIVATE KEY BLOCK-----")) {
		signer, err := ssh.ParsePrivateKey(data)
		if missing := (*ssh.PassphraseMissingError)(nil); errors.As(err, &missing) {
			return nil, errors.New("the SSH key has a passphrase: give one without")
		}
		if err != nil {
			// What the parser says may quote the key.
			return nil, errors.New("neither an armored OpenPGP private key nor an SSH private key")
		}
		return &SigningKey{ssh: signer}, nil
	}
	list, err := openpgp.ReadArmoredKeyRing(bytes.NewReader(data))
	if err != nil || len(list) != 1 {
		return nil, errors.New("not one armored OpenPGP private key")
	}
	if list[0].PrivateKey == nil || list[0].PrivateKey.Encrypted {
		return nil, errors.New("the OpenPGP key has a passphrase or no private part: give one without")
	}
	return &SigningKey{pgp: list[0]}, nil
}

// Sign returns the armored signature of a commit's content.
func (k *SigningKey) Sign(payload []byte) (string, error) {
	if k.pgp != nil {
		var out bytes.Buffer
		if err := openpgp.ArmoredDetachSign(&out, k.pgp, bytes.NewReader(payload), nil); err != nil {
			return "", fmt.Errorf("sign the commit: %w", err)
		}
		return out.String(), nil
	}
	sig, err := sshsig.Sign(bytes.NewReader(payload), k.ssh, sshsig.HashSHA512, signatureNamespace)
	if err != nil {
		return "", fmt.Errorf("sign the commit: %w", err)
	}
	return string(sshsig.Armor(sig)), nil
}
