package journal

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
	"headway.dev/syncer/wire"
)

// logName is the store's log that the journal is kept in, headLog the one
// that says how it begins and ends.
const (
	logName  = "journal"
	headName = "journal-head"
)

const (
	// maxEntry bounds an entry, in bytes; what is over is left out of it.
	maxEntry = 4 << 20
	// maxReason bounds an entry's reason, in bytes.
	maxReason = 32 << 10
)

// Store is what the journal needs of the store.
type Store interface {
	Commit(ctx context.Context, tx change.Tx) ([]object.Object, error)
	Records(log string, from int64, limit int) ([][]byte, error)
}

// Journal appends hash-chained entries, each in the transaction that it is
// about.
type Journal struct {
	// Kinds are those by which users name objects; nil are Headway's own.
	Kinds *scheme.Registry

	store Store
	// keep is how many entries stay, roughly; 0 is all.
	keep int64
	// mu spans making an entry and storing it: two loops must not chain onto
	// the same predecessor.
	mu     sync.Mutex
	loaded bool
	head   head
	index  index
}

// New returns the journal in a store; keep is roughly how many entries are
// kept: 0 is all.
func New(store Store, keep int) *Journal { return &Journal{store: store, keep: int64(keep)} }

// head is kept beside the journal and written with each entry: what is
// cut off the journal's end does not fit it any more, and what was removed from
// its beginning on purpose leaves the hash that the rest is chained to.
type head struct {
	// First and Next are the sequence numbers of the oldest entry that is kept
	// and of the next one. They are equal in an empty journal.
	First int64 `json:"first"`
	Next  int64 `json:"next"`
	// Anchor is the hash of the entry before First, Last that of the newest.
	Anchor string `json:"anchor,omitempty"`
	Last   string `json:"last"`
}

// Commit stores a transaction, with those of the entries that are not nil.
func (j *Journal) Commit(ctx context.Context, tx change.Tx, entries ...*wire.Entry) ([]object.Object, error) {
	entries = slices.DeleteFunc(slices.Clone(entries), func(e *wire.Entry) bool { return e == nil })
	if len(entries) == 0 {
		return j.store.Commit(ctx, tx)
	}
	seal := func(tx change.Tx) (change.Tx, func(error), error) { return j.seal(tx, entries) }
	if w, ok := j.store.(admitting); ok {
		return w.CommitWith(ctx, tx, seal)
	}
	sealed, done, err := seal(tx)
	if err != nil {
		return nil, err
	}
	err = errAborted // by a panic
	defer func() { done(err) }()
	var states []object.Object
	states, err = j.store.Commit(ctx, sealed)
	return states, err
}

// errAborted is what becomes of a transaction whose writer panicked.
var errAborted = errors.New("journal: the transaction was not finished")

// admitting is implemented by stores that ask others about a transaction before
// they store it, which may take its time: last is called when that is over, and
// done with the outcome.
type admitting interface {
	CommitWith(ctx context.Context, tx change.Tx, last func(change.Tx) (sealed change.Tx, done func(error), err error)) ([]object.Object, error)
}

// seal adds entries to a transaction, and keeps others from adding theirs until
// done is called.
func (j *Journal) seal(tx change.Tx, entries []*wire.Entry) (sealed change.Tx, done func(error), err error) {
	j.mu.Lock()
	defer func() {
		if done == nil {
			j.mu.Unlock()
		}
	}()
	if !j.loaded {
		if err := j.load(); err != nil {
			return tx, nil, err
		}
	}
	tx.Append = slices.Clone(tx.Append)
	next := j.head
	for _, entry := range entries {
		data, err := next.seal(entry)
		if err != nil {
			return tx, nil, err
		}
		tx.Append = append(tx.Append, change.Record{Log: logName, Data: data})
	}
	// A tenth more than is kept, so that it is not done each time.
	if j.keep > 0 && next.Next-next.First > j.keep+j.keep/10 {
		tx.Append[len(tx.Append)-1].Keep = j.keep
		next.First = next.Next - j.keep
		if next.Anchor, err = j.hashOf(next.First-1, entries); err != nil {
			return tx, nil, err
		}
	}
	head, err := json.Marshal(next)
	if err != nil {
		return tx, nil, fmt.Errorf("write the journal's head: %w", err)
	}
	tx.Append = append(tx.Append, change.Record{Log: headName, Data: head, Keep: 1})
	return tx, func(err error) {
		defer j.mu.Unlock()
		if err != nil {
			// Whether it was stored is not known if the context ended meanwhile.
			j.loaded = false
			return
		}
		j.head = next
	}, nil
}

// load reads how the journal ends.
func (j *Journal) load() error {
	head, _, err := readHead(j.store)
	if err != nil {
		return err
	}
	records, err := j.store.Records(logName, -1, 1)
	if err != nil {
		return fmt.Errorf("read the journal: %w", err)
	}
	if len(records) == 1 {
		var e wire.Entry
		if err := json.Unmarshal(records[0], &e); err != nil {
			return fmt.Errorf("read the journal: %w", err)
		}
		// The log goes on where it ends; if that is not where the head says,
		// the gap in the chain remains for Verify to find.
		head.Last, head.Next = e.Hash, max(head.Next, e.Seq+1)
	}
	j.head, j.loaded = head, true
	return nil
}

// readHead reads the head; there is none before the first entry.
func readHead(store Store) (head, bool, error) {
	var head head
	records, err := store.Records(headName, -1, 1)
	if err == nil && len(records) == 1 {
		err = json.Unmarshal(records[0], &head)
	}
	if err != nil {
		return head, false, fmt.Errorf("read the journal's head: %w", err)
	}
	return head, len(records) == 1, nil
}

// seal chains an entry to the journal, and encodes it within its bounds. The
// head is then the one after it.
func (h *head) seal(entry *wire.Entry) ([]byte, error) {
	entry.Prev, entry.Seq = h.Last, h.Next
	data, err := encodeEntry(entry)
	h.Last, h.Next = entry.Hash, entry.Seq+1
	return data, err
}

// encodeEntry encodes an entry within its bounds, with its hash.
func encodeEntry(entry *wire.Entry) ([]byte, error) {
	entry.Time = entry.Time.UTC()
	if len(entry.Reason) > maxReason {
		entry.Reason = strings.ToValidUTF8(entry.Reason[:maxReason-3], "") + "..."
	}
	encode := func() ([]byte, error) {
		hash, err := entryHash(*entry)
		if err != nil {
			return nil, err
		}
		entry.Hash = hash
		data, err := json.Marshal(entry)
		if err != nil {
			return nil, fmt.Errorf("write the journal: %w", err)
		}
		return data, nil
	}
	data, err := encode()
	if err != nil || len(data) <= maxEntry {
		return data, err
	}
	for i := range entry.Objects {
		entry.Objects[i].Fields, entry.Objects[i].ChangedBy = nil, nil
	}
	for {
		if data, err = encode(); err != nil || len(data) <= maxEntry || len(entry.Objects) == 0 {
			return data, err
		}
		left := len(entry.Objects) * maxEntry / len(data) * 9 / 10
		entry.Omitted += len(entry.Objects) - left
		entry.Objects = entry.Objects[:left]
	}
}

// hashOf is the hash of an entry, which may be one of those that are being
// written.
func (j *Journal) hashOf(seq int64, writing []*wire.Entry) (string, error) {
	if i := seq - writing[0].Seq; i >= 0 && i < int64(len(writing)) {
		return writing[i].Hash, nil
	}
	e, err := j.entry(seq)
	return e.Hash, err
}

func entryHash(e wire.Entry) (string, error) {
	e.Hash = ""
	data, err := json.Marshal(e)
	if err != nil {
		return "", fmt.Errorf("hash the journal entry: %w", err)
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:]), nil
}

// Verify reads the whole journal and checks its chain of hashes, from the
// oldest entry that is kept. It returns how many entries are sound, and fails
// at the first that was changed, removed or inserted later, and if entries are
// missing at its end.
func (j *Journal) Verify() (int, error) {
	for {
		head, there, err := readHead(j.store)
		if err != nil {
			return 0, err
		}
		n, err := j.verifyFrom(head, there)
		if err == nil {
			return n, nil
		}
		// Entries may have been removed at the beginning meanwhile.
		if now, _, herr := readHead(j.store); herr != nil || now.First == head.First {
			return n, err
		}
	}
}

func (j *Journal) verifyFrom(head head, there bool) (int, error) {
	const page = 256
	prev, next, n := head.Anchor, head.First, 0
	for {
		records, err := j.store.Records(logName, next, page)
		if err != nil {
			return n, fmt.Errorf("read the journal: %w", err)
		}
		for _, r := range records {
			var e wire.Entry
			if err := json.Unmarshal(r, &e); err != nil {
				return n, fmt.Errorf("journal entry %d: %w", next, err)
			}
			if e.Prev != prev || e.Seq != next {
				return n, fmt.Errorf("journal entry %d does not follow the one before it: an entry was changed, removed or inserted", next)
			}
			hash, err := entryHash(e)
			if err != nil {
				return n, err
			}
			if hash != e.Hash || next == head.Next-1 && hash != head.Last {
				return n, fmt.Errorf("journal entry %d was changed after it was written", next)
			}
			prev = e.Hash
			next++
			n++
		}
		if len(records) < page {
			break
		}
	}
	switch {
	case next < head.Next:
		return n, fmt.Errorf("the journal ends before entry %d, and %d were written: entries were cut off its end", next, head.Next)
	case n > 0 && !there:
		return n, errors.New("the record of where the journal ends is gone: entries may have been cut off its end")
	}
	return n, nil
}

// Backwards calls f with the entries, newest first, until it returns false.
func (j *Journal) Backwards(f func(wire.Entry) bool) error {
	const page = 64
	newest := int64(math.MaxInt64)
	records, err := j.store.Records(logName, -1, 1)
	for err == nil && len(records) > 0 {
		oldest := newest
		for _, record := range slices.Backward(records) {
			var e wire.Entry
			if err := json.Unmarshal(record, &e); err != nil {
				return fmt.Errorf("read the journal: %w", err)
			}
			if e.Seq >= newest {
				continue // where older ones were removed, newer ones are read again
			}
			if oldest = e.Seq; !f(e) {
				return nil
			}
		}
		if oldest == newest || oldest == 0 {
			return nil
		}
		newest = oldest
		from := max(0, newest-page)
		records, err = j.store.Records(logName, from, int(newest-from))
	}
	if err != nil {
		return fmt.Errorf("read the journal: %w", err)
	}
	return nil
}
