package syncer_test

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"

	"headway.dev/syncer"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/git/signature"
)

// pgpKey makes an OpenPGP key, in its private and its public form.
func pgpKey(t *testing.T) (private []byte, public string) {
	t.Helper()
	e, err := openpgp.NewEntity("headway", "", "headway@localhost", nil)
	if err != nil {
		t.Fatal(err)
	}
	text := func(typ string, serialize func(*bytes.Buffer) error) string {
		var raw, out bytes.Buffer
		if err := serialize(&raw); err != nil {
			t.Fatal(err)
		}
		w, err := armor.Encode(&out, typ, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(raw.Bytes()); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	return []byte(text(openpgp.PrivateKeyType, func(b *bytes.Buffer) error { return e.SerializePrivate(b, nil) })),
		text(openpgp.PublicKeyType, func(b *bytes.Buffer) error { return e.Serialize(b) })
}

// A source that verifies every head takes Headway's own commits, the automatic
// revert and a write by hand, if they are signed with a key that it trusts, of
// either kind; the git program agrees about the signature of SSH.
func TestSignedCommitsOfHeadway(t *testing.T) {
	ada, adaPublic := signingKey(t)
	sshKey, sshPublic := signingKey(t)
	pgp, pgpPublic := pgpKey(t)
	for _, tt := range []struct {
		name         string
		key          []byte
		file, public string
	}{
		{"ssh", read(t, sshKey), "headway.sshpub", sshPublic},
		{"openpgp", pgp, "headway.asc", pgpPublic},
	} {
		t.Run(tt.name, func(t *testing.T) {
			key, err := signature.ParseSigningKey(tt.key)
			if err != nil {
				t.Fatal(err)
			}
			w := newWorldWith(t, map[string]string{"d.yaml": deployment("web:1"), "a.yaml": configMap("a", "one")}, func(src *sourcev1.GitRepository, ks *kustomizev1.Kustomization) {
				onFailure("revert")(src, ks)
				ks.Annotations[flux.GitWrites] = "commit"
				src.Spec.Verification = &sourcev1.GitRepositoryVerification{Mode: "HEAD", SecretRef: meta.LocalObjectReference{Name: "keys"}}
			}, func(c *syncer.Config) { c.SigningKey = key })
			w.create(secret("keys", map[string]string{"ada.sshpub": adaPublic, tt.file: tt.public}))
			first := w.signed(ada, "signed")
			w.eventually("it is stored", func() bool { return w.deployment() != nil })
			w.rollout()
			w.applied(first)
			w.write(map[string]string{"d.yaml": deployment("web:broken")})
			bad := w.signed(ada, "break it")
			w.eventually("it is applied", func() bool { return w.image() == "web:broken" })
			w.fail()
			w.eventually("it is reverted", func() bool { return w.image() == "web:1" })
			w.rollout()
			revert := w.main()
			w.applied(revert)
			if got := git(t, w.bare, "log", "-1", "--format=%B", "main"); !strings.Contains(got, "This reverts commit "+bad) {
				t.Errorf("main says %q", got)
			}
			if err := w.set("a", "two"); err != nil || w.configMap("a")["key"] != "two" {
				t.Errorf("a write by hand: %v, a is %v", err, w.configMap("a"))
			}
			if tt.name != "ssh" {
				return
			}
			allowed := t.TempDir() + "/allowed"
			writeFile(t, allowed, "headway@localhost "+tt.public)
			for _, sha := range []string{revert, w.main()} {
				git(t, w.bare, "-c", "gpg.ssh.allowedSignersFile="+allowed, "verify-commit", sha)
			}
		})
	}
}

// A key that cannot be used is refused without saying anything of it.
func TestSigningKeysAreChecked(t *testing.T) {
	for _, data := range []string{"", "nothing", "-----BEGIN PGP PRIVATE KEY BLOCK-----\nCANARY\n-----END PGP PRIVATE KEY BLOCK-----\n", "-----BEGIN OPENSSH PRIVATE KEY-----\nCANARY\n-----END OPENSSH PRIVATE KEY-----\n"} {
		if _, err := signature.ParseSigningKey([]byte(data)); err == nil || strings.Contains(err.Error(), "CANARY") {
			t.Errorf("ParseSigningKey(%q): %v", data, err)
		}
	}
}

func writeFile(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
