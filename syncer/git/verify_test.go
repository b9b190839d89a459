package git_test

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"strings"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"

	"headway.dev/syncer/git"
)

// sign replaces the head of main by a copy that the key signed.
func sign(tb testing.TB, bare string, key *openpgp.Entity) string {
	tb.Helper()
	raw := run(tb, bare, "cat-file", "commit", "main") + "\n"
	var sig bytes.Buffer
	if err := openpgp.ArmoredDetachSign(&sig, key, strings.NewReader(raw), nil); err != nil {
		tb.Fatal(err)
	}
	header, body, _ := strings.Cut(raw, "\n\n")
	signed := header + "\ngpgsig " + strings.ReplaceAll(strings.TrimSpace(sig.String()), "\n", "\n ") + "\n\n" + body
	cmd := exec.CommandContext(context.Background(), "git", "hash-object", "-t", "commit", "-w", "--stdin")
	cmd.Dir, cmd.Stdin = bare, strings.NewReader(signed)
	out, err := cmd.Output()
	if err != nil {
		tb.Fatal(err)
	}
	sha := strings.TrimSpace(string(out))
	run(tb, bare, "update-ref", "refs/heads/main", sha)
	return sha
}

func TestVerify(t *testing.T) {
	bare, work := repository(t)
	unsigned := push(t, work, "first", map[string]string{"a": "1"})
	ada, err := openpgp.NewEntity("Ada", "", "ada@example.com", nil)
	if err != nil {
		t.Fatal(err)
	}
	eve, err := openpgp.NewEntity("Eve", "", "eve@example.com", nil)
	if err != nil {
		t.Fatal(err)
	}
	public := func(e *openpgp.Entity) []byte {
		var buf bytes.Buffer
		w, err := armor.Encode(&buf, openpgp.PublicKeyType, nil)
		if err == nil {
			err = errors.Join(e.Serialize(w), w.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
		return buf.Bytes()
	}
	signed := sign(t, bare, ada)
	r := open(t, bare)
	who, err := r.Verify(signed, map[string][]byte{"eve.asc": public(eve), "ada.asc": public(ada)})
	if err != nil || !strings.Contains(who, "Ada") {
		t.Errorf("Verify = %q, %v", who, err)
	}
	if _, err := r.Verify(signed, map[string][]byte{"eve.asc": public(eve)}); !errors.Is(err, git.ErrUnsigned) {
		t.Errorf("signed by a key that is not trusted: %v", err)
	}
	if _, err := r.Verify(unsigned, map[string][]byte{"ada.asc": public(ada)}); !errors.Is(err, git.ErrUnsigned) {
		t.Errorf("unsigned: %v", err)
	}
	if _, err := r.Verify(signed, nil); err == nil {
		t.Error("no trusted keys, and verified")
	}
}
