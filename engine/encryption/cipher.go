package encryption

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/storage/value"

	"headway.dev/engine/store/record"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

// Config of Open.
type Config struct {
	// KeyFile is where the keys are that Secrets are encrypted with.
	KeyFile string
	// ProviderConfig is an EncryptionConfiguration of Kubernetes; what it names
	// is encrypted as it says. It may be empty.
	ProviderConfig string
	// Kinds knows the kinds that definitions define; nil: there are none.
	Kinds *scheme.Registry
}

// Cipher encrypts what the store's file contains. It is a record.Cipher.
type Cipher struct {
	cfg     Config
	current atomic.Pointer[state]
	// changing is held by who replaces current.
	changing sync.Mutex
}

var _ record.Cipher = (*Cipher)(nil)

// state is what the cipher does now. It is not changed, but replaced.
type state struct {
	providers
	// keys are those of the key file; the first one encrypts.
	keys []key
	// saved reports that they are in the file. Nothing is encrypted before.
	saved bool
	// missing reports that there was no key file.
	missing bool
	// routes are remembered by kind.
	routes sync.Map
}

// route is how objects of a kind are encrypted: by a provider, by the key file's
// first key, or not at all.
type route struct {
	provider value.Transformer
	own      bool
	// guessed says that the kind's definition is not known.
	guessed bool
}

var (
	secretKind = schema.GroupKind{Kind: "Secret"}
	errUnsaved = errors.New("the new key is not in the key file yet")
)

// Open reads the key file and the configuration. Without a key file it makes a
// key, which is used after Save.
func Open(cfg Config) (*Cipher, error) {
	if err := removeLeftovers(cfg.KeyFile); err != nil {
		return nil, err
	}
	keys, err := readKeys(cfg.KeyFile)
	if err != nil {
		return nil, err
	}
	s := &state{keys: keys, saved: len(keys) > 0, missing: len(keys) == 0}
	if s.missing {
		k, err := generateKey()
		if err != nil {
			return nil, err
		}
		s.keys = []key{k}
	}
	if s.providers, err = loadProviders(cfg); err != nil {
		return nil, err
	}
	c := &Cipher{cfg: cfg}
	c.current.Store(s)
	return c, nil
}

// Close ends the connections to KMS plugins.
func (c *Cipher) Close() { c.current.Load().stop() }

// Save writes a new key into the key file. It is called once it is certain that
// the store has nothing that a lost key file would be needed for.
func (c *Cipher) Save() error {
	c.changing.Lock()
	defer c.changing.Unlock()
	s := c.current.Load()
	if s.saved || !s.route(secretKind).own {
		return nil
	}
	if err := writeKeys(c.cfg.KeyFile, s.keys); err != nil {
		return err
	}
	c.current.Store(&state{providers: s.providers, keys: s.keys, saved: true})
	return nil
}

// Healthy returns an error if a KMS plugin does not work.
func (c *Cipher) Healthy(ctx context.Context) error { return c.current.Load().healthy(ctx) }

// route finds how a kind is encrypted.
func (s *state) route(kind schema.GroupKind) route {
	if r, ok := s.routes.Load(kind); ok {
		return r.(route)
	}
	k, own := scheme.ForKind(kind)
	if !own {
		return s.custom(kind) // which may be another one tomorrow
	}
	r := route{provider: s.provider(k.Resource().GroupResource())}
	r.own = r.provider == nil && kind == secretKind
	s.routes.Store(kind, r)
	return r
}

// about is what the encryption authenticates besides the data, so that nobody
// makes one object's data another's. No part of a key has a slash in it.
func about(k object.Key) value.Context {
	return value.DefaultContext(strings.Join([]string{k.Group, k.Kind, k.Namespace, k.Name}, "/"))
}

// Encrypt implements record.Cipher.
func (c *Cipher) Encrypt(k object.Key, data []byte) ([]byte, error) {
	return c.current.Load().encrypt(k, data)
}

func (s *state) encrypt(k object.Key, data []byte) ([]byte, error) {
	r := s.route(k.GroupKind)
	switch {
	case r.provider != nil:
		out, err := r.provider.TransformToStorage(context.Background(), data, about(k))
		if err != nil {
			return nil, fmt.Errorf("encrypt as %s says: %w", s.path, err)
		}
		return out, nil
	case r.own && !s.saved:
		return nil, errUnsaved
	case r.own:
		return s.keys[0].encrypt(context.Background(), data, about(k))
	}
	return data, nil
}

// Decrypt implements record.Cipher.
func (c *Cipher) Decrypt(k object.Key, data []byte) (plain []byte, stale bool, err error) {
	return c.current.Load().decrypt(c.cfg.KeyFile, k, data)
}

func (s *state) decrypt(file string, k object.Key, data []byte) (plain []byte, stale bool, err error) {
	r := s.route(k.GroupKind)
	if id, encrypted, ok := keyID(data); ok {
		plain, err := s.decryptOwn(file, id, encrypted, about(k))
		return plain, !r.own || id != s.keys[0].id, err
	}
	switch {
	case r.provider != nil:
		if r.guessed && !bytes.HasPrefix(data, []byte(record.Encrypted)) {
			return data, false, nil
		}
		plain, stale, err := r.provider.TransformFromStorage(context.Background(), data, about(k))
		if err != nil {
			if plain, ok := s.otherwise(k, data); ok {
				return plain, true, nil
			}
			return nil, false, fmt.Errorf("%w: no provider in %s reads it (%w); it must keep the earlier providers and keys until `headway secrets rotate` has been run, and their KMS plugins must answer", record.ErrKey, s.path, err)
		}
		return plain, stale, nil
	case bytes.HasPrefix(data, []byte(record.Encrypted)):
		if plain, ok := s.otherwise(k, data); ok {
			return plain, true, nil
		}
		return nil, false, fmt.Errorf("%w: it is encrypted by the provider %q: start with an --encryption-provider-config that has this provider, after `identity` to be rid of it", record.ErrKey, providerOf(data))
	}
	return data, r.own, nil
}

// decryptOwn decrypts with a key of the key file.
func (s *state) decryptOwn(file, id string, encrypted []byte, about value.Context) ([]byte, error) {
	i := slices.IndexFunc(s.keys, func(k key) bool { return k.id == id })
	if i < 0 {
		what := "does not have"
		if s.missing {
			what = "would have, if it were there"
		}
		return nil, fmt.Errorf("%w: it is encrypted with the key %s, which %s %s: put the key file that belongs to this store back from a backup; if it is lost, so are the Secrets that Git does not declare: move the store's file away and give --new-store once", record.ErrKey, id, file, what)
	}
	plain, _, err := s.keys[i].transformer.TransformFromStorage(context.Background(), encrypted, about)
	if err != nil {
		return nil, fmt.Errorf("it was changed, or moved from another object: %w", err)
	}
	return plain, nil
}

// providerOf is the name of the provider that encrypted data, and of its key.
func providerOf(data []byte) string {
	parts := strings.SplitN(string(data[len(record.Encrypted):min(len(data), 200)]), ":", 4)
	return strings.Join(parts[:len(parts)-1], ":")
}
