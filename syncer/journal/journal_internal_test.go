package journal

import (
	"context"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
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

// slow is a store that asks somebody before it stores changes.
type slow struct {
	*memstore.Store
	asked, answer chan struct{}
}

func (s slow) CommitWith(ctx context.Context, tx change.Tx, last func(change.Tx) (change.Tx, func(error), error)) ([]object.Object, error) {
	if len(tx.Changes) > 0 {
		close(s.asked)
		<-s.answer
	}
	sealed, done, err := last(tx)
	if err != nil {
		return nil, err
	}
	states, err := s.Commit(ctx, sealed)
	done(err)
	return states, err
}

// While somebody is asked about one transaction, others are stored, and all
// entries are chained in the order in which they are.
func TestAdmissionHoldsNobodyUp(t *testing.T) {
	store := slow{memstore.New(), make(chan struct{}), make(chan struct{})}
	j := New(store, 0)
	entry := func() *wire.Entry {
		return &wire.Entry{Type: wire.EntryApplied, Kustomization: "a/b", Revision: "main@sha1:1"}
	}
	first := make(chan error, 1)
	go func() {
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "a"}}
		_, err := j.Commit(t.Context(), change.Tx{Changes: []change.Change{change.Create(ns, time.Now())}}, entry())
		first <- err
	}()
	<-store.asked
	if _, err := j.Commit(t.Context(), change.Tx{}, entry()); err != nil {
		t.Fatal(err)
	}
	close(store.answer)
	if err := <-first; err != nil {
		t.Fatal(err)
	}
	if n, err := j.Verify(); n != 2 || err != nil {
		t.Errorf("Verify() = %d, %v", n, err)
	}
}
