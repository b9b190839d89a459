package journal

import (
	"strings"
	"testing"

	"headway.dev/manifests/model/change"
	"headway.dev/syncer/internal/memstore"
	"headway.dev/syncer/wire"
)

// An entry about very many objects, or with a very long reason, is cut to its
// bound, says so, and is chained like any other.
func TestEntriesAreBounded(t *testing.T) {
	store := memstore.New()
	j := New(store, 0)
	const objects = 60_000
	big := &wire.Entry{Type: wire.EntryApplied, Kustomization: "a/b", Revision: "main@sha1:1", Reason: strings.Repeat("é", maxReason)}
	for range objects {
		big.Objects = append(big.Objects, wire.ObjectResult{Action: "Update", Kind: "ConfigMap", Namespace: strings.Repeat("n", 63), Name: strings.Repeat("x", 63), Fields: []string{"data.key"}})
	}
	for _, e := range []*wire.Entry{big, {Type: wire.EntryVerdict, Kustomization: "a/b", Revision: "main@sha1:1"}} {
		if _, err := j.Commit(t.Context(), change.Tx{}, e); err != nil {
			t.Fatal(err)
		}
	}
	records, err := store.Records(logName, 0, 10)
	if err != nil || len(records) != 2 {
		t.Fatal(len(records), err)
	}
	if n := len(records[0]); n > maxEntry || n < maxEntry/2 {
		t.Errorf("the entry has %d bytes, want less than %d and not much less", n, maxEntry)
	}
	e, err := j.entry(0)
	if err != nil || e.Omitted == 0 || len(e.Objects)+e.Omitted != objects || len(e.Reason) > maxReason {
		t.Errorf("the entry has %d objects, %d omitted, a reason of %d bytes, %v", len(e.Objects), e.Omitted, len(e.Reason), err)
	}
	if n, err := j.Verify(); n != 2 || err != nil {
		t.Errorf("Verify() = %d, %v", n, err)
	}
}
