package signature

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

const (
	rawHead = "tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\nauthor A <a@example.com> 1 +0000\ncommitter A <a@example.com> 1 +0000\n"
	rawSSH  = "-----BEGIN SSH SIGNATURE-----\nU1NIU0lHAAAAAQ==\n-----END SSH SIGNATURE-----\n"
)

// Whatever a repository holds: nothing that is not signed by the key is taken
// for signed, and nothing of a commit apart from its signature goes unsigned.
func FuzzSignedObjects(f *testing.F) {
	f.Add([]byte(rawHead + "gpgsig " + strings.ReplaceAll(strings.TrimSpace(rawSSH), "\n", "\n ") + "\n\nmessage\n"))
	f.Add([]byte(rawHead + "gpgsig -----BEGIN PGP SIGNATURE-----\n \n wsBc\n -----END PGP SIGNATURE-----\nencoding x\n\nmessage\n"))
	f.Add([]byte(rawHead + "mergetag object 1\n gpgsig x\ngpgsig-sha256 y\n z\n\n"))
	f.Add([]byte("object 1\ntype commit\ntag v1\n\nmessage\n" + rawSSH))
	f.Add([]byte("\n\n"))
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOrvP89uyupCbqyFcCz1nNtKuLT8YIUkj0Vhf/xYamSs"))
	if err != nil {
		f.Fatal(err)
	}
	trusted := &Keys{ssh: []sshKey{{key: key}}}
	f.Fuzz(func(t *testing.T, raw []byte) {
		o, err := splitCommit(raw)
		if err == nil {
			if len(o.signature) == 0 && !bytes.Contains(raw, []byte("gpgsig")) && len(bytes.TrimSuffix(o.payload, []byte("\n"))) < len(bytes.TrimSuffix(raw, []byte("\n"))) {
				t.Errorf("payload %q lacks something of %q", o.payload, raw)
			}
			if _, err := trusted.verify(o, time.Now()); !errors.Is(err, ErrUnsigned) {
				t.Errorf("verify(%q): %v", raw, err)
			}
		}
		tag := splitTag(raw)
		if !bytes.Equal(append(bytes.Clone(tag.payload), tag.signature...), raw) {
			t.Errorf("splitTag(%q) = %q + %q", raw, tag.payload, tag.signature)
		}
		if _, err := trusted.verify(tag, time.Now()); !errors.Is(err, ErrUnsigned) {
			t.Errorf("verify tag %q: %v", raw, err)
		}
	})
}

func FuzzParseKeys(f *testing.F) {
	f.Add([]byte("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOrvP89uyupCbqyFcCz1nNtKuLT8YIUkj0Vhf/xYamSs ada"))
	f.Add([]byte(`"a b",c namespaces="git",valid-before="20300101" ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOrvP89uyupCbqyFcCz1nNtKuLT8YIUkj0Vhf/xYamSs`))
	f.Add([]byte("-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nxsBN\n-----END PGP PUBLIC KEY BLOCK-----"))
	f.Fuzz(func(t *testing.T, value []byte) {
		for _, name := range []string{"a.sshpub", "a.asc"} {
			if k, err := ParseKeys(map[string][]byte{name: value}); err == nil && len(k.pgp)+len(k.ssh) == 0 {
				t.Errorf("%s: no keys and no error", name)
			}
		}
	})
}
