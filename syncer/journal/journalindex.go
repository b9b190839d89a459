package journal

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"headway.dev/syncer/wire"
)

// maxIndexed bounds the references of the index; beyond them a log is read
// from the journal itself.
const maxIndexed = 4_000_000

// index knows which entries are about an object, and which entry tells
// what came of another. It is built when it is first asked, and goes on from
// where it was.
type index struct {
	mu   sync.Mutex
	next int64 // sequence number of the first entry that is not in it
	refs int
	full bool
	// all are the entries that are no verdicts, byObject those about an
	// object, by its kind and name in lower case.
	all      []int64
	byObject map[string][]int64
	// verdicts are the newest verdict on each applied entry, applied the entry
	// that applied a revision last.
	verdicts map[int64]int64
	applied  map[string]int64
}

func objectName(kind, name string) string { return strings.ToLower(kind) + "/" + name }

// update takes in what the journal got since. It reports false if the journal
// is too large for it.
func (x *index) update(store Store) (bool, error) {
	const page = 512
	if x.byObject == nil && !x.full {
		x.byObject, x.verdicts, x.applied = map[string][]int64{}, map[int64]int64{}, map[string]int64{}
	}
	for !x.full {
		records, err := store.Records(logName, x.next, page)
		if err != nil {
			return false, fmt.Errorf("read the journal: %w", err)
		}
		for _, r := range records {
			var e wire.Entry
			if err := json.Unmarshal(r, &e); err != nil {
				return false, fmt.Errorf("read the journal: %w", err)
			}
			if x.add(e); x.full {
				return false, nil
			}
		}
		if len(records) < page {
			break
		}
	}
	return !x.full, nil
}

func (x *index) add(e wire.Entry) {
	x.next = e.Seq + 1
	at := e.Kustomization + " " + e.Revision
	if e.Type == wire.EntryVerdict {
		if applied, ok := x.applied[at]; ok {
			x.verdicts[applied] = e.Seq
		}
		return
	}
	if e.Type == wire.EntryApplied {
		x.applied[at] = e.Seq
	}
	x.all = append(x.all, e.Seq)
	for _, o := range e.Objects {
		name := objectName(o.Kind, o.Name)
		if have := x.byObject[name]; len(have) == 0 || have[len(have)-1] != e.Seq {
			x.byObject[name] = append(have, e.Seq)
			x.refs++
		}
	}
	if x.refs > maxIndexed {
		x.full = true
		x.all, x.byObject, x.verdicts, x.applied = nil, nil, nil, nil
	}
}

// find returns the newest entries about an object (all, without a kind) that
// fit, from before a sequence number unless that is negative, each with its
// outcome. It reports false if the journal is too large to tell.
func (j *Journal) find(kind, name string, before int64, limit int, fits func(wire.Entry) bool) ([]wire.LogEntry, bool, error) {
	x := &j.index
	x.mu.Lock()
	defer x.mu.Unlock()
	if ok, err := x.update(j.store); err != nil || !ok {
		return nil, false, err
	}
	seqs := x.all
	if kind != "" {
		seqs = x.byObject[objectName(kind, name)]
	}
	var list []wire.LogEntry
	for _, seq := range slices.Backward(seqs) {
		if len(list) >= limit {
			break
		}
		if before >= 0 && seq >= before {
			continue
		}
		e, err := j.entry(seq)
		if errors.Is(err, errRemoved) {
			break // and all older ones
		}
		if err != nil {
			return nil, false, err
		}
		if !fits(e) {
			continue
		}
		l := wire.LogEntry{Entry: e}
		if at, judged := x.verdicts[seq]; judged {
			v, err := j.entry(at)
			if err != nil {
				return nil, false, err
			}
			l.Verdict, l.Reason, l.VerdictTime = v.Verdict, v.Reason, v.Time
		}
		list = append(list, l)
	}
	return list, true, nil
}

// errRemoved says that an entry is no longer kept.
var errRemoved = errors.New("it is not there any more")

// entry reads one entry.
func (j *Journal) entry(seq int64) (wire.Entry, error) {
	records, err := j.store.Records(logName, seq, 1)
	if err != nil {
		return wire.Entry{}, fmt.Errorf("read the journal: %w", err)
	}
	var e wire.Entry
	if len(records) == 1 {
		if err := json.Unmarshal(records[0], &e); err != nil {
			return wire.Entry{}, fmt.Errorf("read the journal: %w", err)
		}
	}
	if len(records) == 0 || e.Seq != seq {
		return wire.Entry{}, fmt.Errorf("entry %d of the journal: %w", seq, errRemoved)
	}
	return e, nil
}
