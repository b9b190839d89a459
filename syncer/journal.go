package syncer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"sync"

	"headway.dev/manifests/change"
	"headway.dev/manifests/object"
	"headway.dev/syncer/wire"
)

// journalLog is the store's log that the journal is kept in.
const journalLog = "journal"

// journal appends hash-chained entries, each in the transaction that it is
// about.
type journal struct {
	store Store
	// mu spans making an entry and storing it: two loops must not chain onto
	// the same predecessor.
	mu     sync.Mutex
	loaded bool
	last   string // hash of the newest entry
	next   int64  // sequence number of the next one
	index  journalIndex
}

// commit stores a transaction, with an entry if there is one.
func (j *journal) commit(ctx context.Context, tx change.Tx, entry *wire.Entry) ([]object.Object, error) {
	if entry == nil {
		return j.store.Commit(ctx, tx)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.loaded {
		records, err := j.store.Records(journalLog, -1, 1)
		if err != nil {
			return nil, fmt.Errorf("read the journal: %w", err)
		}
		if len(records) == 1 {
			var e wire.Entry
			if err := json.Unmarshal(records[0], &e); err != nil {
				return nil, fmt.Errorf("read the journal: %w", err)
			}
			j.last, j.next = e.Hash, e.Seq+1
		}
		j.loaded = true
	}
	entry.Prev, entry.Seq = j.last, j.next
	entry.Time = entry.Time.UTC()
	hash, err := entryHash(*entry)
	if err != nil {
		return nil, err
	}
	entry.Hash = hash
	data, err := json.Marshal(entry)
	if err != nil {
		return nil, fmt.Errorf("write the journal: %w", err)
	}
	tx.Append = append(tx.Append, change.Record{Log: journalLog, Data: data})
	states, err := j.store.Commit(ctx, tx)
	if err != nil {
		// Whether it was stored is not known if the context ended meanwhile.
		j.loaded = false
		return nil, err
	}
	j.last, j.next = hash, j.next+1
	return states, nil
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

// VerifyJournal reads the whole journal and checks its chain of hashes. It
// returns how many entries are sound, and fails at the first that was changed,
// removed or put in afterwards. Entries cut off the end leave no trace in what
// is left; who wants to know keeps the newest hash elsewhere.
func (s *Syncer) VerifyJournal() (int, error) {
	const page = 256
	prev, n := "", 0
	for {
		records, err := s.cfg.Store.Records(journalLog, int64(n), page)
		if err != nil {
			return n, fmt.Errorf("read the journal: %w", err)
		}
		for _, r := range records {
			var e wire.Entry
			if err := json.Unmarshal(r, &e); err != nil {
				return n, fmt.Errorf("journal entry %d: %w", n, err)
			}
			if e.Prev != prev || e.Seq != int64(n) {
				return n, fmt.Errorf("journal entry %d does not follow the one before it: an entry was changed, removed or inserted", n)
			}
			hash, err := entryHash(e)
			if err != nil {
				return n, err
			}
			if hash != e.Hash {
				return n, fmt.Errorf("journal entry %d was changed after it was written", n)
			}
			prev = e.Hash
			n++
		}
		if len(records) < page {
			return n, nil
		}
	}
}

// backwards calls f with the entries, newest first, until it returns false.
func (j *journal) backwards(f func(wire.Entry) bool) error {
	const page = 64
	records, err := j.store.Records(journalLog, -1, 1)
	for err == nil && len(records) > 0 {
		var e wire.Entry
		for _, record := range slices.Backward(records) {
			e = wire.Entry{}
			if err := json.Unmarshal(record, &e); err != nil {
				return fmt.Errorf("read the journal: %w", err)
			}
			if !f(e) {
				return nil
			}
		}
		if e.Seq == 0 {
			return nil
		}
		from := max(0, e.Seq-page)
		records, err = j.store.Records(journalLog, from, int(e.Seq-from))
	}
	if err != nil {
		return fmt.Errorf("read the journal: %w", err)
	}
	return nil
}
