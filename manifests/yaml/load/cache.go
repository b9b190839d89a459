package load

import (
	"crypto/sha256"
	"slices"
)

// keepLoads is for how many loads a Cache keeps what none of them used.
const keepLoads = 100

// Cache remembers what earlier loads made of their files: decoded files by
// their contents, rendered kustomizations by those of every file that the build
// looked at. Where the tree has a method Hash(name string) (string, error) that
// identifies the contents of a file, as that of Git's trees does, a file that
// is remembered is not read again. A load through it costs little for what has
// not changed. It is for one tree and its later versions, and for one load at a
// time; the zero value is ready to use. Loads hand out the objects in it, the
// same ones for what has not changed: nobody may change them.
type Cache struct {
	loads  int
	made   int
	files  map[string]*remembered
	builds map[string]*remembered
}

// remembered is the result of decoding one file or rendering one directory.
type remembered struct {
	sum   string          // of a file
	looks map[string]look // of a build
	// inputs are those of the load that made it, any if it does not vary.
	inputs string
	varies bool
	items  []Item
	used   int // the number of the last load that used it
}

// valid reports whether the same would come of the same files now.
func (r *remembered) valid(inputs string) bool { return r != nil && (!r.varies || r.inputs == inputs) }

// look is what a build found at a path. sum is empty if it did not read it.
type look struct {
	kind entryKind
	sum  string
}

// hasher is a tree that knows its files' hashes.
type hasher interface {
	Hash(name string) (string, error)
}

// sum identifies the contents of a file, which it reads if it has to.
func (t *treeFS) sum(p string) (string, error) {
	if h, ok := t.tree.(hasher); ok {
		return h.Hash(p)
	}
	data, err := t.read(p)
	return sumOf(data), err
}

// sumOfRead is sum of a file that was read already.
func (t *treeFS) sumOfRead(p string, data []byte) string {
	if h, ok := t.tree.(hasher); ok {
		if sum, err := h.Hash(p); err == nil && sum != "" {
			return sum
		}
	}
	return sumOf(data)
}

func sumOf(data []byte) string {
	sum := sha256.Sum256(data)
	return string(sum[:])
}

// Clone returns a Cache with the same knowledge, for loads beside those through
// c.
func (c *Cache) Clone() Cache {
	clone := func(m map[string]*remembered) map[string]*remembered {
		dup := make(map[string]*remembered, len(m))
		for k, r := range m {
			entry := *r // the number of the load that used it is each one's own
			dup[k] = &entry
		}
		return dup
	}
	return Cache{loads: c.loads, files: clone(c.files), builds: clone(c.builds)}
}

// Made is the number of objects that the last load had to decode or render.
func (c *Cache) Made() int { return c.made }

// begin starts a load, and forgets what was not used for long.
func (c *Cache) begin() {
	c.loads++
	c.made = 0
	for _, m := range []*map[string]*remembered{&c.files, &c.builds} {
		if *m == nil {
			*m = map[string]*remembered{}
		}
		for k, r := range *m {
			if r.used < c.loads-keepLoads {
				delete(*m, k)
			}
		}
	}
}

// cachedFile decodes a file unless the cache has it.
func (l *loader) cachedFile(name string, data []byte) {
	c := l.tree.opts.Cache
	if c == nil {
		l.file(name, data)
		return
	}
	sum := l.tree.sumOfRead(name, data)
	hit := c.files[name]
	if !hit.valid(l.tree.opts.Inputs) || hit.sum != sum {
		hit = l.remember(func() { l.file(name, data) })
		if hit == nil {
			return
		}
		hit.sum = sum
		c.files[name] = hit
	}
	l.reuse(hit)
}

// knownFile takes a file from the cache without reading it, if that can be.
func (l *loader) knownFile(name string) bool {
	c := l.tree.opts.Cache
	if c == nil || !c.files[name].valid(l.tree.opts.Inputs) {
		return false
	}
	h, ok := l.tree.tree.(hasher)
	if !ok {
		return false
	}
	sum, err := h.Hash(name)
	if err != nil || sum != c.files[name].sum {
		return false
	}
	l.reuse(c.files[name])
	return true
}

// cachedBuild renders what key stands for unless the cache has it and every
// path that it looked at is as it was.
func (l *loader) cachedBuild(key string, render func()) {
	c := l.tree.opts.Cache
	if c == nil {
		render()
		return
	}
	hit := c.builds[key]
	if !hit.valid(l.tree.opts.Inputs) || !l.tree.unchanged(hit.looks) {
		l.tree.looks = map[string]look{}
		hit = l.remember(render)
		looks := l.tree.looks
		l.tree.looks = nil
		if hit == nil {
			return
		}
		hit.looks = looks
		c.builds[key] = hit
	}
	l.reuse(hit)
}

// remember runs a part of the load and takes its items out again; nil if there
// were faults, which have to be found anew each time.
func (l *loader) remember(part func()) *remembered {
	items, faults := len(l.items), len(l.errs)
	l.varies = false
	part()
	if len(l.errs) > faults || l.full { // full: items were dropped
		return nil
	}
	r := &remembered{items: slices.Clone(l.items[items:]), inputs: l.tree.opts.Inputs, varies: l.varies}
	l.items = l.items[:items]
	l.tree.opts.Cache.made += len(r.items)
	return r
}

// reuse adds what is remembered.
func (l *loader) reuse(r *remembered) {
	r.used = l.tree.opts.Cache.loads
	for _, it := range r.items {
		l.add(it)
	}
}

// unchanged looks again at what a build looked at.
func (t *treeFS) unchanged(looks map[string]look) bool {
	for p, was := range looks {
		if t.kind(p) != was.kind {
			return false
		}
		if was.sum == "" {
			continue
		}
		if sum, err := t.sum(p); err != nil || sum != was.sum {
			return false
		}
	}
	return true
}
