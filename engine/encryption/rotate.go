package encryption

import (
	"fmt"
	"slices"

	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

// Rotate reads the configuration again and, where Secrets are encrypted with the
// key file, makes a new key, which encrypts from now on. The earlier keys stay in
// the file until Retire.
func (c *Cipher) Rotate() error {
	c.changing.Lock()
	defer c.changing.Unlock()
	s := c.current.Load()
	next := &state{keys: s.keys, saved: s.saved}
	var err error
	if next.providers, err = loadProviders(c.cfg); err != nil {
		return err
	}
	own := next.route(secretKind).own
	if own {
		var k key
		if k, err = generateKey(); err == nil {
			next.keys, next.saved = slices.Concat([]key{k}, s.keys), true
		}
	}
	if err == nil {
		err = s.precedes(next, c.cfg.KeyFile)
	}
	if err == nil && own {
		err = writeKeys(c.cfg.KeyFile, next.keys)
	}
	if err != nil {
		next.stop()
		return err
	}
	c.current.Store(next)
	s.stop()
	return nil
}

// precedes fails unless next reads what it encrypts, and what s does: what is stored
// could be read by nobody otherwise.
func (s *state) precedes(next *state, file string) error {
	for _, k := range scheme.Kinds() {
		before, after := s.route(k.GroupKind()), next.route(k.GroupKind())
		if before.provider == nil && !before.own && after.provider == nil && !after.own {
			continue
		}
		key := object.Key{GroupKind: k.GroupKind(), Namespace: "headway-system", Name: "probe"}
		for _, by := range []*state{s, next} {
			data, err := by.encrypt(key, []byte("probe"))
			if err != nil && by == s {
				continue // it does not work any more: nothing is worse than before
			}
			if err == nil {
				_, _, err = next.decrypt(file, key, data)
			}
			if err != nil {
				return fmt.Errorf("the key is not rotated, %s would not be encrypted as they can be read: %w", k.Plural, err)
			}
		}
	}
	return nil
}

// Retire removes all keys but the first from the key file, once nothing in the
// store is encrypted with them.
func (c *Cipher) Retire() error {
	c.changing.Lock()
	defer c.changing.Unlock()
	s := c.current.Load()
	if !c.Unfinished() {
		return nil
	}
	keys := s.keys[:1:1]
	if err := writeKeys(c.cfg.KeyFile, keys); err != nil {
		return err
	}
	c.current.Store(&state{providers: s.providers, keys: keys, saved: true})
	return nil
}

// Unfinished reports that the key file has keys that await Retire.
func (c *Cipher) Unfinished() bool {
	s := c.current.Load()
	return s.saved && len(s.keys) > 1
}

// Key is the id of the key that encrypts Secrets, empty if a configuration says
// how they are encrypted.
func (c *Cipher) Key() string {
	s := c.current.Load()
	if !s.route(secretKind).own {
		return ""
	}
	return s.keys[0].id
}
