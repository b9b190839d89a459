package syncer_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"golang.org/x/crypto/ssh"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer/flux"
)

// signingKey makes an SSH key; it returns its file for the git program and
// its public half.
func signingKey(tb testing.TB) (file, public string) {
	tb.Helper()
	pub, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		tb.Fatal(err)
	}
	key, err := ssh.NewPublicKey(pub)
	if err != nil {
		tb.Fatal(err)
	}
	file, public = filepath.Join(tb.TempDir(), "key"), string(ssh.MarshalAuthorizedKey(key))
	if err := errors.Join(os.WriteFile(file, pem.EncodeToMemory(block), 0o600), os.WriteFile(file+".pub", []byte(public), 0o600)); err != nil {
		tb.Fatal(err)
	}
	return file, public
}

// signed commits everything with a signature of the key, and pushes it.
func (w *world) signed(key, subject string) string {
	w.t.Helper()
	git(w.t, w.work, "add", "-A")
	git(w.t, w.work, "-c", "gpg.format=ssh", "-c", "user.signingkey="+key+".pub", "commit", "-q", "-S", "--allow-empty", "-m", subject)
	git(w.t, w.work, "push", "-q", "origin", "HEAD:main")
	return git(w.t, w.work, "rev-parse", "HEAD")
}

func secret(name string, data map[string]string) *corev1.Secret {
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "headway-system", Name: name}, Data: map[string][]byte{}}
	for k, v := range data {
		s.Data[k] = []byte(v)
	}
	return s
}

// sourceCondition is "status reason message" of a condition of the source.
func (w *world) sourceCondition(typ string) string {
	src, ok := w.store.Get(key("GitRepository", "headway-system", "cluster")).(*sourcev1.GitRepository)
	if !ok {
		return "no source"
	}
	c := apimeta.FindStatusCondition(src.Status.Conditions, typ)
	if c == nil {
		return "none"
	}
	return string(c.Status) + " " + c.Reason + " " + c.Message
}

func (w *world) editSource(edit func(*sourcev1.GitRepository)) {
	w.t.Helper()
	w.commit(change.Patch(key("GitRepository", "headway-system", "cluster"), func(o object.Object) bool {
		src, ok := o.(*sourcev1.GitRepository)
		if ok {
			edit(src)
			src.Generation++
		}
		return ok
	}))
}

func TestVerifiedSource(t *testing.T) {
	ada, adaPublic := signingKey(t)
	eve, _ := signingKey(t)
	w := newWorld(t, map[string]string{"a.yaml": configMap("a", "one")}, func(src *sourcev1.GitRepository, _ *kustomizev1.Kustomization) {
		src.Spec.Verification = &sourcev1.GitRepositoryVerification{Mode: "head", SecretRef: meta.LocalObjectReference{Name: "keys"}}
	})
	w.eventually("the missing secret is told", func() bool {
		return w.sourceCondition(sourcev1.SourceVerifiedCondition) == `False VerificationError PGP public keys secret error: secrets "keys" not found`
	})
	w.create(secret("keys", map[string]string{"ada.sshpub": adaPublic}))
	w.eventually("the unsigned commit is refused", func() bool {
		c := w.sourceCondition(sourcev1.SourceVerifiedCondition)
		return strings.HasPrefix(c, "False InvalidCommitSignature signature verification of commit '") && strings.Contains(c, "it has no signature")
	})
	if w.configMap("a") != nil {
		t.Error("an unsigned commit was applied")
	}
	first := w.signed(ada, "signed")
	w.applied(first)
	signer, err := ssh.ParsePrivateKey(read(t, ada))
	if err != nil {
		t.Fatal(err)
	}
	want := "True Succeeded verified signature of\n\t- commit '" + first + "' with key '" + ssh.FingerprintSHA256(signer.PublicKey()) + "'"
	if got := w.sourceCondition(sourcev1.SourceVerifiedCondition); got != want {
		t.Errorf("SourceVerified is %q, want %q", got, want)
	}

	list, err := w.sync.Log("", "", "", -1, 10)
	if err != nil || len(list) == 0 || list[0].Commit == nil || !strings.Contains(list[0].Commit.Signer, ssh.FingerprintSHA256(signer.PublicKey())) {
		t.Errorf("the journal does not tell the signer: %+v, %v", list, err)
	}

	// A commit of a stranger's changes nothing, and the next of Ada's does.
	w.write(map[string]string{"a.yaml": configMap("a", "evil")})
	second := w.signed(eve, "signed by eve")
	w.eventually("the stranger's commit is refused", func() bool {
		return strings.HasPrefix(w.sourceCondition(sourcev1.SourceVerifiedCondition), "False InvalidCommitSignature signature verification of commit '"+second+"' failed: commit "+second+" by Ada <ada@example.com>: not signed by a trusted key: the secret does not hold its key SHA256:")
	})
	if got := w.configMap("a")["key"]; got != "one" {
		t.Errorf("a.data.key = %q after a stranger's commit", got)
	}
	if got := w.ks().Status.LastAppliedRevision; got != "main@sha1:"+first {
		t.Errorf("applied is %s, want %s", got, first)
	}
	w.applied(w.signed(ada, "signed again"))
	w.editSource(func(src *sourcev1.GitRepository) { src.Spec.Verification.Mode = sourcev1.ModeGitTag })
	w.eventually("a branch has no tag to verify", func() bool {
		return w.sourceCondition(meta.StalledCondition) == "True InvalidVerificationMode cannot verify tag object's signature if a tag reference is not specified"
	})
}

func TestEveryCommitIsVerified(t *testing.T) {
	ada, public := signingKey(t)
	w := newWorld(t, map[string]string{"a.yaml": configMap("a", "one")}, func(src *sourcev1.GitRepository, _ *kustomizev1.Kustomization) {
		src.Annotations = map[string]string{flux.Verify: "every-commit"}
		src.Spec.Suspend = true
	})
	w.create(secret("keys", map[string]string{"ada.sshpub": public}))
	// The first fetch judges the head alone: what lies before was never signed.
	first := w.signed(ada, "signed")
	w.editSource(func(src *sourcev1.GitRepository) { src.Spec.Suspend = false })
	w.eventually("keys are asked for", func() bool {
		return strings.HasPrefix(w.sourceCondition(meta.StalledCondition), "True InvalidVerificationMode annotation headway.dev/verify needs spec.verify.secretRef")
	})
	w.editSource(func(src *sourcev1.GitRepository) {
		src.Spec.Verification = &sourcev1.GitRepositoryVerification{SecretRef: meta.LocalObjectReference{Name: "keys"}}
	})
	w.applied(first)

	w.write(map[string]string{"a.yaml": configMap("a", "hidden")})
	git(t, w.work, "add", "-A")
	git(t, w.work, "commit", "-q", "-m", "hidden")
	hidden := git(t, w.work, "rev-parse", "HEAD")
	w.signed(ada, "signed on top")
	refusal := "commit " + hidden + " by Ada <ada@example.com>: not signed by a trusted key: it has no signature"
	w.eventually("the hidden commit is found", func() bool {
		return strings.Contains(w.sourceCondition(sourcev1.SourceVerifiedCondition), refusal)
	})
	// Nor is it forgotten by a restart, or by another signed commit on top.
	w.stop()
	w.start()
	w.signed(ada, "and another")
	w.eventually("the hidden commit is found again", func() bool {
		return strings.Contains(w.sourceCondition(sourcev1.SourceVerifiedCondition), refusal)
	})
	if got := w.configMap("a")["key"]; got != "one" {
		t.Errorf("a.data.key = %q, want that of the last trusted commit", got)
	}
	git(t, w.work, "reset", "-q", "--hard", first)
	git(t, w.work, "push", "-q", "-f", "origin", "HEAD:main")
	w.write(map[string]string{"a.yaml": configMap("a", "two")})
	w.applied(w.signed(ada, "all signed"))
	if got := w.configMap("a")["key"]; got != "two" {
		t.Errorf("a.data.key = %q, want two", got)
	}
}

func read(tb testing.TB, file string) []byte {
	tb.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		tb.Fatal(err)
	}
	return data
}
