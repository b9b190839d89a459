package crash_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/engine"
	"headway.dev/engine/encryption"
	"headway.dev/engine/store"
	"headway.dev/manifests/model/change"
)

// secrets is how many are encrypted anew; secretText is what each of them has.
const (
	secrets    = 40
	secretText = "correct-horse-battery"
)

// openSecrets opens a store as the server does, but for what the server makes of
// what it finds.
func openSecrets(dir string) (*store.Store, *encryption.Cipher, error) {
	cipher, err := encryption.Open(encryption.Config{KeyFile: engine.KeyFile(dir)})
	if err != nil {
		return nil, nil, err
	}
	s, err := store.Open(store.Options{Path: filepath.Join(dir, engine.StoreFile), Cipher: cipher})
	return s, cipher, err
}

// A rotation is killed before each single change that it makes to a file, in the
// key file, in the store and while the store's file is replaced; the Secrets were
// in clear before the first of two. Each time all of them can be read, and the
// next rotation ends with nothing of them, or of a retired key, in any file.
func TestRotationKilledBeforeEachChange(t *testing.T) {
	child := filepath.Join(t.TempDir(), "child")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", child, "headway.dev/cmd/headway/crash/rotate").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	from := t.TempDir()
	if err := os.Mkdir(filepath.Join(from, "pki"), 0o700); err != nil {
		t.Fatal(err)
	}
	plain, err := store.Open(store.Options{Path: filepath.Join(from, engine.StoreFile)})
	if err != nil {
		t.Fatal(err)
	}
	for round := range 2 {
		var tx change.Tx
		for i := range secrets {
			secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("s%03d-%d", i, round*(i%2))}, Data: map[string][]byte{"password": []byte(secretText)}}
			tx.Changes = append(tx.Changes, change.Create(secret, time.Now()))
		}
		if round == 1 {
			tx.Changes = tx.Changes[1:2]
		}
		if _, err := plain.Commit(t.Context(), tx); err != nil {
			t.Fatal(err)
		}
	}
	if err := plain.Close(); err != nil {
		t.Fatal(err)
	}
	kinds := map[string]int{}
	for at, dead := 1, true; dead; at++ {
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
		what, changes, err := run(t.Context(), at, dir, child, "--data-dir", dir)
		if err != nil {
			t.Fatalf("killed at change %d: %v", at, err)
		}
		dead = what != ""
		kinds[strings.TrimSuffix(what, ".next")]++
		when := fmt.Sprintf("killed at change %d, %s", at, what)
		if !dead {
			when = fmt.Sprintf("ended after %d changes", changes)
		}
		readable(t, dir, when)
		if dead {
			var last engine.Rotation
			err := engine.RotateOffline(t.Context(), dir, "", slog.New(slog.DiscardHandler), func(p engine.Rotation) { last = p })
			if err != nil || !last.Finished {
				t.Fatalf("%s: the next rotation: %v, %+v", when, err, last)
			}
			readable(t, dir, when+", rotated again")
		}
		clean(t, dir, when)
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("killed at %v", kinds)
	for _, want := range []string{"renameat", "pwrite64 to store.db"} {
		if kinds[want] == 0 {
			t.Errorf("never killed at %s: %v", want, kinds)
		}
	}
}

// readable wants all Secrets in the store.
func readable(t *testing.T, dir, when string) {
	t.Helper()
	s, cipher, err := openSecrets(dir)
	if err != nil {
		t.Fatalf("%s: %v", when, err)
	}
	defer cipher.Close()
	list, _ := s.List(schema.GroupKind{Kind: "Secret"}, "default")
	if len(list) != secrets+1 {
		t.Errorf("%s: %d Secrets, want %d", when, len(list), secrets+1)
	}
	for _, o := range list {
		if got := string(o.(*corev1.Secret).Data["password"]); got != secretText {
			t.Errorf("%s: Secret %s has %q", when, o.GetName(), got)
		}
	}
	if err := s.Close(); err != nil {
		t.Errorf("%s: %v", when, err)
	}
}

// clean wants nothing in clear, one key, and nothing that another one encrypted.
func clean(t *testing.T, dir, when string) {
	t.Helper()
	s, cipher, err := openSecrets(dir)
	if err != nil {
		t.Fatalf("%s: %v", when, err)
	}
	defer cipher.Close()
	if s.Stale() || cipher.Unfinished() {
		t.Errorf("%s: stale %v, unfinished %v", when, s.Stale(), cipher.Unfinished())
	}
	if err := s.Close(); err != nil {
		t.Errorf("%s: %v", when, err)
	}
	keys, err := os.ReadDir(filepath.Dir(engine.KeyFile(dir)))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range keys {
		if strings.Contains(e.Name(), "secrets.key") && e.Name() != filepath.Base(engine.KeyFile(dir)) {
			t.Errorf("%s: %s is left, with keys", when, e.Name())
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all, own := bytes.Count(data, []byte("k8s:enc:headway:v1:")), bytes.Count(data, []byte("k8s:enc:headway:v1:"+cipher.Key()))
		if bytes.Contains(data, []byte(secretText)) || all != own || e.Name() == engine.StoreFile && own != secrets+1 {
			t.Errorf("%s: %s has %d Secrets with a key, %d with the new one; in clear: %v", when, e.Name(), all, own, bytes.Contains(data, []byte(secretText)))
		}
	}
}
