package encryption

import "slices"

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
	if next.route(secretKind).own {
		k, err := generateKey()
		if err == nil {
			next.keys, next.saved = slices.Concat([]key{k}, s.keys), true
			err = writeKeys(c.cfg.KeyFile, next.keys)
		}
		if err != nil {
			next.stop()
			return err
		}
	}
	c.current.Store(next)
	s.stop()
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
