package encryption_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	mock "k8s.io/apiserver/pkg/storage/value/encrypt/envelope/testing/v2"

	"headway.dev/engine/encryption"
	"headway.dev/engine/store"
	"headway.dev/engine/store/file"
	"headway.dev/engine/store/record"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

// What Secrets and ConfigMaps contain, and nothing else does.
const secretText, openText = "correct-horse-battery", "everybody-may-know"

// home is a data directory, which a test opens again and again.
type home struct {
	t      *testing.T
	dir    string
	config string
}

func newHome(t *testing.T) *home {
	t.Helper()
	return &home{t: t, dir: t.TempDir()}
}

func (h *home) db() string      { return filepath.Join(h.dir, "store.db") }
func (h *home) keyFile() string { return filepath.Join(h.dir, "secrets.key") }

// providers writes an EncryptionConfiguration of which this is the list of
// resources.
func (h *home) providers(resources string) {
	h.t.Helper()
	h.config = filepath.Join(h.dir, "providers.yaml")
	text := "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n" + resources
	if err := os.WriteFile(h.config, []byte(text), 0o600); err != nil {
		h.t.Fatal(err)
	}
}

// open opens the store as the engine does, but for what is stale.
func (h *home) open() (*store.Store, *encryption.Cipher, error) {
	h.t.Helper()
	c, err := encryption.Open(encryption.Config{KeyFile: h.keyFile(), ProviderConfig: h.config})
	if err != nil {
		return nil, nil, err
	}
	h.t.Cleanup(c.Close)
	s, err := store.Open(store.Options{Path: h.db(), Cipher: c})
	if err == nil {
		err = c.Save()
	}
	return s, c, err
}

func (h *home) mustOpen() (*store.Store, *encryption.Cipher) {
	h.t.Helper()
	s, c, err := h.open()
	if err != nil {
		h.t.Fatal(err)
	}
	return s, c
}

// with opens the store for a moment.
func (h *home) with(f func(*store.Store, *encryption.Cipher)) {
	h.t.Helper()
	s, c := h.mustOpen()
	f(s, c)
	h.close(s)
}

func (h *home) close(s *store.Store) {
	h.t.Helper()
	if err := s.Close(); err != nil {
		h.t.Fatal(err)
	}
}

// plainly makes a store as one without encryption does.
func (h *home) plainly(secrets int) {
	h.t.Helper()
	s, err := store.Open(store.Options{Path: h.db()})
	if err != nil {
		h.t.Fatal(err)
	}
	fill(h.t, s, secrets)
	h.close(s)
}

// contains reports whether any file of the data directory has these bytes.
func (h *home) contains(text string) bool {
	h.t.Helper()
	entries, err := os.ReadDir(h.dir)
	if err != nil || len(entries) == 0 {
		h.t.Fatalf("read %s: %v", h.dir, err)
	}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(h.dir, e.Name()))
		if err != nil {
			h.t.Fatal(err)
		}
		if bytes.Contains(data, []byte(text)) {
			return true
		}
	}
	return false
}

var secretKind = schema.GroupKind{Kind: "Secret"}

func secretKey(name string) object.Key {
	return object.Key{GroupKind: secretKind, Namespace: "default", Name: name}
}

func put(obj object.Object) change.Change {
	kind := schema.GroupKind{Kind: "ConfigMap"}
	if _, ok := obj.(*corev1.Secret); ok {
		kind = secretKind
	}
	return change.Change{Key: object.KeyOf(kind, obj), Mutate: func(object.Object) (object.Object, error) { return obj, nil }}
}

func secret(name, value string) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Annotations: map[string]string{corev1.LastAppliedConfigAnnotation: value}},
		Data:       map[string][]byte{"password": []byte(value)},
	}
}

func commit(t *testing.T, s *store.Store, changes ...change.Change) {
	t.Helper()
	if _, err := s.Commit(t.Context(), change.Tx{Changes: changes}); err != nil {
		t.Fatal(err)
	}
}

// fill writes n Secrets, most of them twice, deletes some, and writes a ConfigMap.
func fill(t *testing.T, s *store.Store, n int) {
	t.Helper()
	for round := range 2 {
		var changes []change.Change
		for i := round; i < n; i++ {
			changes = append(changes, put(secret(fmt.Sprint("s", i), secretText)))
		}
		commit(t, s, changes...)
	}
	commit(t, s, put(secret("gone", secretText)))
	commit(t, s, change.Change{Key: secretKey("gone"), Mutate: func(object.Object) (object.Object, error) { return nil, nil }})
	commit(t, s, put(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "open"}, Data: map[string]string{"text": openText}}))
}

// check wants n Secrets with their text.
func check(t *testing.T, s *store.Store, n int) {
	t.Helper()
	list, _ := s.List(secretKind, "default")
	if len(list) != n {
		t.Errorf("%d Secrets, want %d", len(list), n)
	}
	for _, o := range list {
		if got := string(o.(*corev1.Secret).Data["password"]); got != secretText {
			t.Errorf("Secret %s has %q", o.GetName(), got)
		}
	}
}

// By default Secrets, and what is left of their earlier states, are nowhere in
// the files in clear; what is no Secret is. The key file is closed to others.
func TestSecretsAreEncrypted(t *testing.T) {
	h := newHome(t)
	h.with(func(s *store.Store, _ *encryption.Cipher) {
		fill(t, s, 10)
		behind := change.Tx{Durability: change.Behind, Changes: []change.Change{put(secret("behind", secretText))}}
		if _, err := s.Commit(t.Context(), behind); err != nil {
			t.Fatal(err)
		}
	})
	if h.contains(secretText) || h.contains(base64.StdEncoding.EncodeToString([]byte(secretText))) {
		t.Error("a file has a Secret in clear")
	}
	if !h.contains(openText) {
		t.Error("no file has the ConfigMap in clear: what was searched?")
	}
	info, err := os.Stat(h.keyFile())
	if err != nil || info.Mode() != 0o600 {
		t.Fatalf("the key file: %v, %v, want mode 0600", info, err)
	}
	h.with(func(s *store.Store, _ *encryption.Cipher) {
		check(t, s, 11)
		if s.Stale() {
			t.Error("what was written with the newest key is stale")
		}
	})
}

// A store from before encryption is read. Once it was encrypted, no file has a
// plain byte of what it had, and no object has another version.
func TestPlainStoreBecomesEncrypted(t *testing.T) {
	h := newHome(t)
	h.plainly(1500) // several parts
	if !h.contains(secretText) {
		t.Fatal("the plain store has no Secret in clear")
	}
	var versions map[string]string
	h.with(func(s *store.Store, _ *encryption.Cipher) {
		check(t, s, 1500)
		versions = versionsOf(s)
		if !s.Stale() {
			t.Error("a plain store counts as encrypted")
		}
		watched := s.Revision()
		var last, total int
		if err := s.Reencrypt(t.Context(), func(done, of int) { last, total = done, of }); err != nil {
			t.Fatal(err)
		}
		if last != total || total < 1500 {
			t.Errorf("the progress ended at %d of %d", last, total)
		}
		if s.Revision() != watched || s.Stale() {
			t.Errorf("the revision went from %d to %d; stale %v", watched, s.Revision(), s.Stale())
		}
		// The file that has taken the place of the first goes on.
		commit(t, s, put(secret("later", secretText)))
	})
	if h.contains(secretText) {
		t.Error("a file still has a Secret in clear")
	}
	h.with(func(s *store.Store, _ *encryption.Cipher) {
		check(t, s, 1501)
		now := versionsOf(s)
		for name, version := range versions {
			if now[name] != version {
				t.Errorf("Secret %s went from version %s to %s", name, version, now[name])
			}
		}
	})
}

// Also what was deleted before is gone from a file that had no Secret any more.
func TestDeletedPlainSecrets(t *testing.T) {
	h := newHome(t)
	h.plainly(0)
	// As a version that encrypted nothing left it.
	file, err := os.ReadFile(h.db())
	if err != nil || !bytes.Contains(file, []byte("format2")) {
		t.Fatalf("the store has another format: %v", err)
	}
	if err := os.WriteFile(h.db(), bytes.ReplaceAll(file, []byte("format2"), []byte("format1")), 0o600); err != nil {
		t.Fatal(err)
	}
	h.with(func(s *store.Store, _ *encryption.Cipher) {
		if !s.Stale() {
			t.Error("a plain store without Secrets counts as encrypted")
		}
		if err := s.Reencrypt(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		if s.Stale() {
			t.Error("it still is not")
		}
	})
	if h.contains(secretText) {
		t.Error("a file still has a deleted Secret in clear")
	}
}

// A link to the store stays one, and what it leads to is encrypted.
func TestStoreBehindALink(t *testing.T) {
	h, elsewhere := newHome(t), newHome(t)
	elsewhere.plainly(3)
	if err := os.Symlink(elsewhere.db(), h.db()); err != nil {
		t.Fatal(err)
	}
	h.with(func(s *store.Store, _ *encryption.Cipher) {
		check(t, s, 3)
		if err := s.Reencrypt(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
	})
	if info, err := os.Lstat(h.db()); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link is a file now: %v", err)
	}
	if elsewhere.contains(secretText) {
		t.Error("what it leads to still has a Secret in clear")
	}
}

func versionsOf(s *store.Store) map[string]string {
	versions := map[string]string{}
	list, _ := s.List(secretKind, "")
	for _, o := range list {
		versions[o.GetName()] = o.GetResourceVersion()
	}
	return versions
}

// After a rotation nothing in the store needs the old key, also of what is
// written while it proceeds, and the key file has the new one only.
func TestRotate(t *testing.T) {
	h := newHome(t)
	h.with(func(s *store.Store, _ *encryption.Cipher) { fill(t, s, 600) })
	old, err := os.ReadFile(h.keyFile())
	if err != nil {
		t.Fatal(err)
	}
	h.with(func(s *store.Store, c *encryption.Cipher) {
		before := c.Key()
		if err := c.Rotate(); err != nil {
			t.Fatal(err)
		}
		if c.Key() == before || !c.Unfinished() {
			t.Errorf("the key went from %s to %s, unfinished %v", before, c.Key(), c.Unfinished())
		}
		ctx, cancel := context.WithCancel(t.Context())
		var writers sync.WaitGroup
		for i := range 4 {
			writers.Go(func() {
				for n := 0; ctx.Err() == nil; n++ {
					tx := change.Tx{Changes: []change.Change{put(secret(fmt.Sprint("w", i), secretText))}}
					if n%2 == 1 {
						tx.Durability = change.Behind
					}
					if _, err := s.Commit(context.WithoutCancel(ctx), tx); err != nil {
						t.Error(err)
					}
				}
			})
		}
		if err := s.Reencrypt(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		cancel()
		writers.Wait()
		if err := c.Retire(); err != nil {
			t.Fatal(err)
		}
	})
	h.with(func(s *store.Store, _ *encryption.Cipher) {
		check(t, s, 604)
		if s.Stale() {
			t.Error("something is left of the old key")
		}
	})
	if err := os.WriteFile(h.keyFile(), old, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := h.open(); !errors.Is(err, record.ErrKey) {
		t.Errorf("with the old key alone: %v, want that the key is missing", err)
	}
}

// A key file that cannot be used is refused with what to do, and left as it is.
func TestKeyFile(t *testing.T) {
	for name, c := range map[string]struct {
		change func(path string) error
		want   []string
	}{
		"lost":         {os.Remove, []string{"Secret/default/s", "would have, if it were there", "back from a backup", "--new-store"}},
		"open":         {func(path string) error { return os.Chmod(path, 0o640) }, []string{"mode 0640", "chmod 600", "headway secrets rotate"}},
		"another":      {otherKey, []string{"does not have", "back from a backup"}},
		"empty":        {func(path string) error { return os.Truncate(path, 0) }, []string{"has no key", "back from a backup"}},
		"cut off":      {func(path string) error { return os.Truncate(path, 180) }, []string{"line 3 is not a key", "back from a backup"}},
		"a directory":  {func(path string) error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o700)) }, []string{"not a regular file"}},
		"another user": {func(path string) error { return os.Chown(path, 12345, -1) }, []string{"belongs to the user 12345", "chown 0 "}},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHome(t)
			h.with(func(s *store.Store, _ *encryption.Cipher) { fill(t, s, 3) })
			if err := c.change(h.keyFile()); err != nil {
				t.Fatal(err)
			}
			before, _ := os.ReadFile(h.keyFile()) // it may be gone
			_, _, err := h.open()
			for _, want := range c.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("error %v, want %q in it", err, want)
				}
			}
			if after, _ := os.ReadFile(h.keyFile()); !bytes.Equal(before, after) {
				t.Error("the key file was changed")
			}
		})
	}
}

// otherKey puts the key of another cluster in place of a file.
func otherKey(path string) error {
	other := filepath.Join(filepath.Dir(path), "other")
	c, err := encryption.Open(encryption.Config{KeyFile: other})
	if err != nil {
		return err
	}
	return errors.Join(c.Save(), os.Rename(other, path))
}

// A record that was moved to another name, or changed, is not read as that
// object: it is left out, and a rotation deletes it. The others are there.
func TestMovedRecord(t *testing.T) {
	h := newHome(t)
	h.with(func(s *store.Store, _ *encryption.Cipher) {
		commit(t, s, put(secret("mine", "my own")), put(secret("yours", "not mine")), put(secret("third", "as it was")))
	})
	f, err := file.Open(h.db(), time.Second)
	if err != nil {
		t.Fatal(err)
	}
	err = f.Update(func(tx file.Tx) error {
		records := map[string]record.Record{}
		revisions := map[string]uint64{}
		if err := tx.Objects(func(revision uint64, r record.Record) {
			r.Data = bytes.Clone(r.Data)
			records[r.Key.Name], revisions[r.Key.Name] = r, revision
		}); err != nil {
			return err
		}
		moved := records["mine"]
		moved.Data = records["yours"].Data
		return tx.Put(revisions["mine"], moved)
	})
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	for round := range 2 { // with the record, and after a rotation without it
		h.with(func(s *store.Store, c *encryption.Cipher) {
			if got := s.Get(secretKey("mine")); got != nil {
				t.Errorf("round %d: the moved record is read as %v", round, got)
			}
			for name, want := range map[string]string{"yours": "not mine", "third": "as it was"} {
				if got, ok := s.Get(secretKey(name)).(*corev1.Secret); !ok || string(got.Data["password"]) != want {
					t.Errorf("round %d: Secret %s is %v", round, name, got)
				}
			}
			if err := errors.Join(c.Rotate(), s.Reencrypt(t.Context(), nil), c.Retire()); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// Kubernetes' EncryptionConfiguration decides for what it names; Secrets that it
// does not name keep the key file. Each configuration reads what those before it
// have written, and encrypts it anew.
func TestProviderConfig(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "kms.sock")
	plugin := mock.NewBase64Plugin(t, socket)
	defer plugin.CleanUp()
	const key1, key2 = "c2VjcmV0IGlzIHNlY3VyZSwgb3IgaXMgaXQ/IHllcyE=", "dGhpcyBpcyBwYXNzd29yZCB0b28sIGFuZCBsb25nIDE="
	h := newHome(t)
	h.with(func(s *store.Store, _ *encryption.Cipher) { fill(t, s, 5) })
	keys := func(name, secret string) string { return fmt.Sprintf("{keys: [{name: %s, secret: %s}]}", name, secret) }
	for _, c := range []struct {
		name, resources string
		// These are in the file, and not.
		has, hasNot []string
	}{
		{
			"other resources only", "- resources: [configmaps]\n  providers: [{aesgcm: " + keys("k", key1) + "}, {identity: {}}]\n",
			[]string{"k8s:enc:headway:v1:", "k8s:enc:aesgcm:v1:k:"},
			[]string{secretText, openText},
		},
		{
			"secretbox for all", "- resources: ['*.*']\n  providers: [{secretbox: " + keys("box", key1) + "}, {aesgcm: " + keys("k", key1) + "}, {identity: {}}]\n",
			[]string{"k8s:enc:secretbox:v1:box:"},
			[]string{"k8s:enc:headway", "k8s:enc:aesgcm", secretText, openText},
		},
		{
			"another key first", "- resources: ['*.*']\n  providers: [{aescbc: " + keys("new", key2) + "}, {secretbox: " + keys("box", key1) + "}]\n",
			[]string{"k8s:enc:aescbc:v1:new:"},
			[]string{"k8s:enc:secretbox", secretText, openText},
		},
		{
			"KMS v2", "- resources: [secrets]\n  providers:\n  - kms: {apiVersion: v2, name: plugin, endpoint: 'unix://" + socket + "'}\n  - aescbc: " + keys("new", key2) + "\n" +
				"- resources: [configmaps]\n  providers: [{identity: {}}, {aescbc: " + keys("new", key2) + "}]\n",
			[]string{"k8s:enc:kms:v2:plugin:", openText},
			[]string{"k8s:enc:aescbc", secretText},
		},
		{
			"back to none", "- resources: [secrets]\n  providers: [{identity: {}}, {kms: {apiVersion: v2, name: plugin, endpoint: 'unix://" + socket + "'}}]\n",
			[]string{secretText, openText},
			[]string{"k8s:enc:"},
		},
	} {
		h.providers(c.resources)
		h.with(func(s *store.Store, cipher *encryption.Cipher) {
			check(t, s, 5)
			if !s.Stale() {
				t.Errorf("%s: nothing is stale", c.name)
			}
			if err := cipher.Healthy(t.Context()); err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
			if err := s.Reencrypt(t.Context(), nil); err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
			commit(t, s, put(secret("s0", secretText)))
		})
		data, err := os.ReadFile(h.db())
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range c.has {
			if !bytes.Contains(data, []byte(text)) {
				t.Errorf("%s: the file does not have %q", c.name, text)
			}
		}
		for _, text := range c.hasNot {
			if bytes.Contains(data, []byte(text)) {
				t.Errorf("%s: the file has %q", c.name, text)
			}
		}
	}
	h.config = ""
	h.with(func(s *store.Store, _ *encryption.Cipher) {
		check(t, s, 5)
		if !s.Stale() {
			t.Error("plain Secrets are not stale without a configuration")
		}
	})
}

// What cannot be read is an error that says what to do, and nothing is lost.
func TestProviderConfigErrors(t *testing.T) {
	const key = "c2VjcmV0IGlzIHNlY3VyZSwgb3IgaXMgaXQ/IHllcyE="
	h := newHome(t)
	h.providers("- resources: [secrets]\n  providers: [{aescbc: {keys: [{name: a, secret: " + key + "}]}}]\n")
	h.with(func(s *store.Store, c *encryption.Cipher) {
		fill(t, s, 3)
		// A rotation that would leave all of it unreadable does not begin.
		h.providers("- resources: [secrets]\n  providers: [{secretbox: {keys: [{name: b, secret: " + key + "}]}}]\n")
		if err := c.Rotate(); err == nil || !strings.Contains(err.Error(), "must keep the earlier providers") {
			t.Errorf("rotated to providers without the key: %v", err)
		}
		if _, err := s.Commit(t.Context(), change.Tx{Changes: []change.Change{put(secret("later", secretText))}}); err != nil {
			t.Errorf("after that: %v", err)
		}
		h.providers("- resources: [secrets]\n  providers: [{aescbc: {keys: [{name: a, secret: " + key + "}]}}]\n")
	})
	h.with(func(s *store.Store, _ *encryption.Cipher) {
		if s.Stale() {
			t.Error("something is encrypted otherwise than the providers say")
		}
	})
	before, err := os.ReadFile(h.db())
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ resources, want string }{
		"without the key":  {"- resources: [secrets]\n  providers: [{secretbox: {keys: [{name: b, secret: " + key + "}]}}]\n", "must keep the earlier providers"},
		"not named":        {"- resources: [configmaps]\n  providers: [{identity: {}}]\n", `by the provider "aescbc:v1:a"`},
		"short key":        {"- resources: [secrets]\n  providers: [{aescbc: {keys: [{name: b, secret: c2hvcnQ=}]}}]\n", "--encryption-provider-config " + filepath.Join(h.dir, "providers.yaml")},
		"unknown provider": {"- resources: [secrets]\n  providers: [{rot13: {}}]\n", "rot13"},
		"KMS v1":           {"- resources: [secrets]\n  providers: [{kms: {name: old, endpoint: 'unix:///tmp/no.sock'}}]\n", "KMSv1"},
	} {
		h.providers(c.resources)
		if _, _, err := h.open(); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), key) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	h.config = ""
	if _, _, err := h.open(); !errors.Is(err, record.ErrKey) || !strings.Contains(err.Error(), "--encryption-provider-config") {
		t.Errorf("without the configuration: %v", err)
	}
	if after, err := os.ReadFile(h.db()); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the store was changed: %v", err)
	}
}
