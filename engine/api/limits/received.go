package limits

import (
	"bytes"
	"errors"
	"io"
	"sync"
)

// ReceivedBytes is how much of bodies may be in memory at the same time; one user may
// have a quarter. It is a variable only for tests.
var ReceivedBytes int64 = 128 << 20

// smallBody is what of a body comes in even if others have taken all memory, as far
// as the user's own is left: few requests are larger.
const smallBody = 64 << 10

// budget bounds the bodies that have come in.
type budget struct {
	mu    sync.Mutex
	taken int64
	users map[string]*account
}

// account is what of it one user has, in a number of requests.
type account struct {
	taken    int64
	requests int
}

// charge is what of it one request has.
type charge struct {
	of   *budget
	key  string
	mine *account
	// alone says that others do not count.
	alone bool
	taken int64
}

// of begins a request.
func (b *budget) of(key string, alone bool) *charge {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.users == nil {
		b.users = map[string]*account{}
	}
	mine := b.users[key]
	if mine == nil {
		mine = &account{}
		b.users[key] = mine
	}
	mine.requests++
	return &charge{of: b, key: key, mine: mine, alone: alone}
}

// take reports whether n more bytes may come in.
func (c *charge) take(n int64) bool {
	if c == nil {
		return true
	}
	c.of.mu.Lock()
	defer c.of.mu.Unlock()
	// Small bodies come in while large ones fill the place, but not without end.
	full := c.taken+n > smallBody && c.of.taken+n > ReceivedBytes || c.of.taken+n > 2*ReceivedBytes
	if c.mine.taken+n > ReceivedBytes/4 || !c.alone && full {
		return false
	}
	c.taken += n
	c.mine.taken += n
	if !c.alone {
		c.of.taken += n
	}
	return true
}

// end ends the request.
func (c *charge) end() {
	c.of.mu.Lock()
	defer c.of.mu.Unlock()
	c.mine.taken -= c.taken
	if !c.alone {
		c.of.taken -= c.taken
	}
	if c.mine.requests--; c.mine.requests == 0 {
		delete(c.of.users, c.key)
	}
}

// received is a body of which a part is there.
type received struct {
	io.Reader
	io.Closer
}

var errTaken = errors.New("the bodies of other requests have taken all memory")

// receive reads a body up to its end, its error or limit. Whoever reads what it
// returns gets the same bytes and the same error. ok is false if there is no memory
// for it.
func receive(body io.ReadCloser, limit int64, c *charge) (_ io.ReadCloser, ok bool) {
	var there bytes.Buffer
	_, err := there.ReadFrom(charged{io.LimitReader(body, limit), c})
	switch {
	case errors.Is(err, errTaken):
		return nil, false
	case err != nil:
		return received{io.MultiReader(&there, failed{err}), body}, true
	}
	return received{io.MultiReader(&there, body), body}, true
}

// charged is a body whose bytes are counted.
type charged struct {
	io.Reader
	*charge
}

// Read implements io.Reader.
func (c charged) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	if !c.take(int64(n)) {
		return n, errTaken
	}
	return n, err
}

// failed is the rest of a body that did not come in.
type failed struct{ err error }

// Read implements io.Reader.
func (f failed) Read([]byte) (int, error) { return 0, f.err }
