package odb

import (
	"container/list"
	"sync"
)

// Bounds of the cache, in bytes: of all objects, and of one.
const (
	cacheSize   = 16 << 20
	cacheObject = 1 << 20
)

// cache keeps objects that were read last: the trees of two commits are
// mostly the same, and deltas share their bases.
type cache struct {
	mu    sync.Mutex
	size  int
	order list.List // of *cached, the last used first
	byKey map[cacheKey]*list.Element
}

type cacheKey struct {
	pack   *pack
	offset int64
}

type cached struct {
	key  cacheKey
	kind Kind
	data []byte
}

func (c *cache) get(p *pack, offset int64) (*cached, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.byKey[cacheKey{p, offset}]
	if e == nil {
		return nil, false
	}
	c.order.MoveToFront(e)
	return e.Value.(*cached), true
}

func (c *cache) put(p *pack, offset int64, kind Kind, data []byte) {
	if len(data) > cacheObject {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	key := cacheKey{p, offset}
	if c.byKey[key] != nil {
		return
	}
	if c.byKey == nil {
		c.byKey = map[cacheKey]*list.Element{}
	}
	c.byKey[key] = c.order.PushFront(&cached{key, kind, data})
	for c.size += len(data); c.size > cacheSize; {
		c.drop(c.order.Back())
	}
}

// forget drops what is of a pack that was closed.
func (c *cache) forget(p *pack) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, e := range c.byKey {
		if key.pack == p {
			c.drop(e)
		}
	}
}

func (c *cache) drop(e *list.Element) {
	old := c.order.Remove(e).(*cached)
	c.size -= len(old.data)
	delete(c.byKey, old.key)
}
