package signature_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"

	"headway.dev/syncer/git"
	"headway.dev/syncer/git/signature"
	"headway.dev/syncer/internal/gitserver"
	"headway.dev/syncer/internal/gittest"
)

// hashObject writes an object as it is.
func hashObject(tb testing.TB, bare, kind, raw string) string {
	tb.Helper()
	cmd := exec.CommandContext(context.Background(), "git", "hash-object", "-t", kind, "-w", "--literally", "--stdin")
	cmd.Dir, cmd.Stdin = bare, strings.NewReader(raw)
	out, err := cmd.Output()
	if err != nil {
		tb.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// embed puts a signature into a commit.
func embed(raw, sig string) string {
	header, body, _ := strings.Cut(raw, "\n\n")
	return header + "\ngpgsig " + strings.ReplaceAll(strings.TrimSpace(sig), "\n", "\n ") + "\n\n" + body
}

func pgpSign(tb testing.TB, key *openpgp.Entity, text string, cfg *packet.Config) string {
	tb.Helper()
	var sig bytes.Buffer
	if err := openpgp.ArmoredDetachSign(&sig, key, strings.NewReader(text), cfg); err != nil {
		tb.Fatal(err)
	}
	return sig.String()
}

func pgpKey(tb testing.TB, name string, cfg *packet.Config) (*openpgp.Entity, []byte) {
	tb.Helper()
	key, err := openpgp.NewEntity(name, "", strings.ToLower(name)+"@example.com", cfg)
	if err != nil {
		tb.Fatal(err)
	}
	var buf bytes.Buffer
	w, err := armor.Encode(&buf, openpgp.PublicKeyType, nil)
	if err == nil {
		err = errors.Join(key.Serialize(w), w.Close())
	}
	if err != nil {
		tb.Fatal(err)
	}
	return key, buf.Bytes()
}

// sshIdentity is an SSH key that the git program can sign with.
type sshIdentity struct {
	file   string
	signer ssh.Signer
	public string // as in authorized_keys
}

func sshKey(tb testing.TB, comment string) sshIdentity {
	tb.Helper()
	private, public := gitserver.Keys(tb)
	file := filepath.Join(tb.TempDir(), "key")
	line := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(public))) + " " + comment + "\n"
	if err := errors.Join(os.WriteFile(file, private, 0o600), os.WriteFile(file+".pub", []byte(line), 0o600)); err != nil {
		tb.Fatal(err)
	}
	signer, err := ssh.ParsePrivateKey(private)
	if err != nil {
		tb.Fatal(err)
	}
	return sshIdentity{file: file, signer: signer, public: line}
}

func (k sshIdentity) sign(tb testing.TB, text, namespace string) string {
	tb.Helper()
	sig, err := sshsig.Sign(strings.NewReader(text), k.signer, sshsig.HashSHA512, namespace)
	if err != nil {
		tb.Fatal(err)
	}
	return string(sshsig.Armor(sig))
}

// git runs the git program so that it signs with the key.
func (k sshIdentity) git(tb testing.TB, dir string, args ...string) {
	tb.Helper()
	gittest.Git(tb, dir, append([]string{"-c", "gpg.format=ssh", "-c", "user.signingkey=" + k.file + ".pub"}, args...)...)
}

// commit makes an empty commit, signed by the key, and pushes it.
func (k sshIdentity) commit(tb testing.TB, work, subject string) string {
	tb.Helper()
	k.git(tb, work, "commit", "-q", "-S", "--allow-empty", "-m", subject)
	gittest.Git(tb, work, "push", "-q", "-f", "origin", "HEAD:main")
	return gittest.Git(tb, work, "rev-parse", "HEAD")
}

func trust(tb testing.TB, data map[string]string) *signature.Keys {
	tb.Helper()
	secret := map[string][]byte{}
	for name, value := range data {
		secret[name] = []byte(value)
	}
	k, err := signature.ParseKeys(secret)
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

func TestVerifyCommit(t *testing.T) {
	bare, work := gittest.Repository(t)
	unsigned := gittest.Push(t, work, "first", map[string]string{"a": "1"})
	long := time.Now().Add(-100 * time.Hour)
	then := &packet.Config{KeyLifetimeSecs: 3600, Time: func() time.Time { return long }}
	ada, adaPGP := pgpKey(t, "Ada", nil)
	_, evePGP := pgpKey(t, "Eve", nil)
	old, oldPGP := pgpKey(t, "Old", then)
	adaSSH, eveSSH := sshKey(t, "ada@example.com"), sshKey(t, "eve@example.com")
	both := map[string]string{"ada.asc": string(adaPGP), "ada.sshpub": adaSSH.public}
	eve := map[string]string{"eve.asc": string(evePGP), "eve.sshpub": eveSSH.public}
	raw := gittest.Git(t, bare, "cat-file", "commit", unsigned) + "\n"
	object := func(text string) string { return hashObject(t, bare, "commit", text) }
	pgp := object(embed(raw, pgpSign(t, ada, raw, nil)))
	byGit := adaSSH.commit(t, work, "signed by git")
	signed := gittest.Git(t, bare, "cat-file", "commit", byGit) + "\n"
	key := strings.TrimSpace(adaSSH.public)
	bare64 := strings.Join(strings.Fields(key)[:2], " ")
	r := gittest.Open(t, bare)
	for _, c := range []struct {
		name string
		sha  string
		keys map[string]string
		who  string // of a good signature
		err  string
	}{
		{name: "OpenPGP", sha: pgp, keys: both, who: "Ada <ada@example.com>"},
		{name: "OpenPGP under any name", sha: pgp, keys: map[string]string{"keyring": string(adaPGP)}, who: "Ada <ada@example.com>"},
		{name: "SSH", sha: byGit, keys: both, who: "ada@example.com"},
		{name: "allowed signers", sha: byGit, keys: map[string]string{"allowed_signers": "# team\nada,*@example.org namespaces=\"file,git\" " + bare64 + "\n"}, who: "ada,*@example.org"},
		{name: "not before", sha: byGit, keys: map[string]string{"allowed_signers": "ada valid-after=\"20200101\" " + key}, who: "ada@example.com"},
		{name: "no signature", sha: unsigned, keys: both, err: "it has no signature"},
		{name: "another's OpenPGP key", sha: pgp, keys: eve, err: "unknown entity"},
		{name: "another's SSH key", sha: byGit, keys: eve, err: "does not hold its key SHA256:"},
		{name: "no key of the kind", sha: pgp, keys: map[string]string{"ada.sshpub": adaSSH.public}, err: "holds no OpenPGP keys"},
		{name: "key for another purpose", sha: byGit, keys: map[string]string{"allowed_signers": "ada namespaces=\"file\" " + key, "eve.asc": string(evePGP)}, err: "does not hold its key"},
		{name: "SSH key that has expired", sha: byGit, keys: map[string]string{"allowed_signers": "ada valid-before=\"20200101\" " + key}, err: "has expired"},
		{name: "SSH key that is not valid yet", sha: byGit, keys: map[string]string{"allowed_signers": "ada valid-after=\"29990101Z\" " + key}, err: "not valid yet"},
		{name: "OpenPGP key that has expired", sha: object(embed(raw, pgpSign(t, old, raw, then))), keys: map[string]string{"old.asc": string(oldPGP)}, err: "expired"},
		{name: "OpenPGP, changed since", sha: object(strings.Replace(embed(raw, pgpSign(t, ada, raw, nil)), "first", "worst", 1)), keys: both, err: "invalid signature"},
		{name: "SSH, changed since", sha: object(strings.Replace(signed, "signed by git", "signed by eve", 1)), keys: both, err: "signature did not verify"},
		{name: "a header added since", sha: object(strings.Replace(signed, "\n\n", "\nHG:extra evil\n\n", 1)), keys: both, err: "signature did not verify"},
		{name: "made for a file", sha: object(embed(raw, adaSSH.sign(t, raw, "file"))), keys: both, err: "namespace does not match"},
		{name: "two signatures", sha: object(embed(embed(raw, eveSSH.sign(t, raw, "git")), adaSSH.sign(t, raw, "git"))), keys: both, err: "more than one signature"},
		{name: "x509", sha: object(embed(raw, "-----BEGIN SIGNED MESSAGE-----\nMII=\n-----END SIGNED MESSAGE-----")), keys: both, err: "neither OpenPGP's nor SSH's"},
		{name: "garbage", sha: object(embed(raw, "-----BEGIN SSH SIGNATURE-----\nU1NIU0lH\n-----END SSH SIGNATURE-----")), keys: both, err: "read its SSH signature"},
	} {
		who, err := signature.VerifyCommit(r, c.sha, trust(t, c.keys), time.Now())
		switch {
		case c.err == "" && (err != nil || who.Name != c.who || who.Key == ""):
			t.Errorf("%s: signer = %+v, %v, want %s", c.name, who, err, c.who)
		case c.err != "" && (!errors.Is(err, signature.ErrUnsigned) || !strings.Contains(err.Error(), c.err) || !strings.Contains(err.Error(), "by Ada <ada@example.com>")):
			t.Errorf("%s: signer = %+v, error = %v, want one with %q", c.name, who, err, c.err)
		}
	}
}

func TestParseKeys(t *testing.T) {
	line := strings.TrimSpace(sshKey(t, "ada").public)
	for name, data := range map[string]map[string][]byte{
		"nothing":                    nil,
		"only what is not a key":     {"README": []byte("hello")},
		"an .asc that is not a key":  {"ada.asc": []byte("hello")},
		"a private key":              {"ada.sshpub": []byte("-----BEGIN OPENSSH PRIVATE KEY-----")},
		"options without principals": {"ada.sshpub": []byte(`namespaces="file" ` + line)},
		"a certificate authority":    {"allowed_signers": []byte("* cert-authority " + line)},
		"the same without anyone":    {"allowed_signers": []byte("cert-authority " + line)},
		"a time that is none":        {"allowed_signers": []byte(`ada valid-before="soon" ` + line)},
	} {
		if _, err := signature.ParseKeys(data); err == nil {
			t.Errorf("%s: accepted", name)
		} else if strings.Contains(err.Error(), line) {
			t.Errorf("%s: the error quotes the key: %v", name, err)
		}
	}
}

func TestVerifyTag(t *testing.T) {
	bare, work := gittest.Repository(t)
	gittest.Push(t, work, "first", map[string]string{"a": "1"})
	ada, eve := sshKey(t, "ada@example.com"), sshKey(t, "eve@example.com")
	pgp, pgpPublic := pgpKey(t, "Ada", nil)
	ada.git(t, work, "tag", "-s", "-m", "release", "v1.0.0")
	eve.git(t, work, "tag", "-s", "-m", "release", "v1.1.0")
	gittest.Git(t, work, "tag", "-a", "-m", "release", "v1.2.0")
	gittest.Git(t, work, "tag", "v1.3.0")
	// An old release under a new name.
	gittest.Git(t, work, "update-ref", "refs/tags/v2.0.0", gittest.Git(t, work, "rev-parse", "refs/tags/v1.0.0"))
	gittest.Git(t, work, "push", "-q", "--tags", "origin")
	raw := strings.ReplaceAll(gittest.Git(t, bare, "cat-file", "tag", "v1.2.0"), "v1.2.0", "v1.4.0") + "\n"
	gittest.Git(t, bare, "update-ref", "refs/tags/v1.4.0", hashObject(t, bare, "tag", raw+pgpSign(t, pgp, raw, nil)+"\n"))
	changed := strings.Replace(raw, "release", "malware", 1)
	gittest.Git(t, bare, "update-ref", "refs/tags/v1.5.0", hashObject(t, bare, "tag", strings.ReplaceAll(changed, "v1.4.0", "v1.5.0")+pgpSign(t, pgp, raw, nil)+"\n"))
	trusted := trust(t, map[string]string{"ada.sshpub": ada.public, "ada.asc": string(pgpPublic)})
	srv := gittest.Serve(t, filepath.Dir(bare), "", "")
	for where, r := range map[string]*git.Repository{"local": gittest.Open(t, bare), "http": gittest.Mirror(t, srv.URL+"/repo.git")} {
		for tag, want := range map[string]string{
			"v1.0.0": "", "v1.1.0": "does not hold its key", "v1.2.0": "unsigned", "v1.3.0": "unsigned",
			"v1.4.0": "", "v1.5.0": "invalid signature", "v2.0.0": `made as the tag "v1.0.0"`,
		} {
			for _, ref := range []git.Ref{{Tag: tag}, {SemVer: tag}, {Name: "refs/tags/" + tag}} {
				h := gittest.Fetch(t, r, ref, nil)
				if h.Tag.Name != tag || h.Commit != gittest.Git(t, bare, "rev-parse", "main") {
					t.Errorf("%s: Fetch(%+v) = %+v", where, ref, h)
				}
				isSigned, err := signature.IsSigned(r, h.Tag)
				if isSigned == (want == "unsigned") || err != nil {
					t.Errorf("%s: IsSigned(%s) = %v, %v", where, tag, isSigned, err)
				}
				if want == "unsigned" {
					continue
				}
				_, err = signature.VerifyTag(r, h.Tag, trusted, time.Now())
				if want == "" && err != nil || want != "" && (!errors.Is(err, signature.ErrUnsigned) || !strings.Contains(err.Error(), want)) {
					t.Errorf("%s: VerifyTag(%s): %v, want %q", where, tag, err, want)
				}
			}
		}
	}
}

func TestVerifyBetween(t *testing.T) {
	bare, work := gittest.Repository(t)
	ada := sshKey(t, "ada@example.com")
	trusted := trust(t, map[string]string{"ada.sshpub": ada.public})
	gittest.Push(t, work, "unsigned, before", map[string]string{"a": "1"})
	base := ada.commit(t, work, "base")
	second := ada.commit(t, work, "second")
	r := gittest.Open(t, bare)
	check := func(what, old, new, unsigned string) {
		t.Helper()
		err := signature.VerifyBetween(t.Context(), r, old, new, trusted, time.Now())
		if unsigned == "" && err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if unsigned != "" && (!errors.Is(err, signature.ErrUnsigned) || !strings.Contains(err.Error(), "commit "+unsigned+" by Ada <ada@example.com>")) {
			t.Errorf("%s: %v, want one of %s", what, err, unsigned)
		}
	}
	check("all signed", base, second, "")
	check("the same", second, second, "")

	gittest.Git(t, work, "checkout", "-q", "-b", "side", base)
	gittest.Git(t, work, "commit", "-q", "--allow-empty", "-m", "hidden")
	hidden := gittest.Git(t, work, "rev-parse", "HEAD")
	ada.git(t, work, "commit", "-q", "-S", "--allow-empty", "-m", "tip of the side")
	gittest.Git(t, work, "checkout", "-q", "-B", "main", second)
	ada.git(t, work, "merge", "-q", "-S", "--no-ff", "-m", "merge", "side")
	merge := ada.commit(t, work, "after the merge")
	check("unsigned behind a merge", second, merge, hidden)
	check("accepted with the merge", merge, ada.commit(t, work, "later"), "")

	// Commits that say they are older than what they stand on: a walk by time
	// sees them after it has seen the accepted ones' ancestors.
	old := func(args ...string) string {
		ada.git(t, work, append([]string{"commit", "-q", "--allow-empty"}, args...)...)
		date := time.Now().Add(-1000 * time.Hour).Unix()
		raw := gittest.Git(t, work, "cat-file", "commit", "HEAD")
		header, body, _ := strings.Cut(raw, "\n\n")
		lines := strings.Split(header, "\n")
		var kept []string
		for _, line := range lines {
			switch {
			case strings.HasPrefix(line, "committer "):
				kept = append(kept, fmt.Sprintf("committer Ada <ada@example.com> %d +0000", date))
			case !strings.HasPrefix(line, "gpgsig ") && !strings.HasPrefix(line, " "):
				kept = append(kept, line)
			}
		}
		raw = strings.Join(kept, "\n") + "\n\n" + body + "\n"
		if slices.Contains(args, "-S") {
			raw = embed(raw, ada.sign(t, raw, "git"))
		}
		gittest.Git(t, work, "reset", "-q", "--hard", hashObject(t, work, "commit", raw))
		return gittest.Git(t, work, "rev-parse", "HEAD")
	}
	gittest.Git(t, work, "checkout", "-q", "-B", "main", merge)
	backdated := old("-m", "backdated, unsigned")
	check("backdated", merge, ada.commit(t, work, "on top"), backdated)
	gittest.Git(t, work, "checkout", "-q", "-B", "main", second)
	accepted := old("-S", "-m", "backdated, signed")
	gittest.Git(t, work, "push", "-q", "-f", "origin", "HEAD:main")
	check("an unsigned ancestor that is known", accepted, ada.commit(t, work, "on top of it"), "")

	gittest.Git(t, work, "checkout", "-q", "--orphan", "other")
	gittest.Git(t, work, "commit", "-q", "--allow-empty", "-m", "another root")
	root := gittest.Git(t, work, "rev-parse", "HEAD")
	check("another history", second, ada.commit(t, work, "on another root"), root)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := signature.VerifyBetween(ctx, r, base, second, trusted, time.Now()); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if err := signature.VerifyBetween(t.Context(), r, fmt.Sprintf("%040d", 1), second, trusted, time.Now()); err == nil {
		t.Error("an accepted commit that is not there: verified")
	}
}
