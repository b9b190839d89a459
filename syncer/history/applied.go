package history

import (
	"encoding/json"
	"fmt"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/yaml/load"
	"headway.dev/syncer/env"
)

// Rendered is what was applied last, so that a question about it need not render
// it again, and it is put back as it was. Of what was applied before a restart
// there are no Items, which come again of the rest.
type Rendered struct {
	Revision string
	Spec     kustomizev1.KustomizationSpec
	// Ignore is what the source left out of the files.
	Ignore string
	Items  []load.Item
	// Digest identifies Items.
	Digest string
	// Healthy is the same of the commit before that was healthy last, without Items: what
	// is gone back to if this one fails. nil if that is not known.
	Healthy *Rendered
}

// recorded is what outlives a restart.
type recorded struct {
	Revision string                         `json:"revision"`
	Spec     *kustomizev1.KustomizationSpec `json:"spec"`
	Ignore   string                         `json:"ignore,omitempty"`
	Healthy  *recorded                      `json:"healthy,omitempty"`
}

func (r *Rendered) recorded() *recorded {
	if r == nil {
		return nil
	}
	return &recorded{Revision: r.Revision, Spec: &r.Spec, Ignore: r.Ignore, Healthy: r.Healthy.recorded()}
}

func (r *recorded) rendered() *Rendered {
	if r == nil || r.Spec == nil {
		return nil
	}
	return &Rendered{Revision: r.Revision, Spec: *r.Spec, Ignore: r.Ignore, Healthy: r.Healthy.rendered()}
}

// Before returns what is to be known as Healthy of what comes after r, when healthy is
// the revision that was healthy last.
func (r Rendered) Before(next, healthy string) *Rendered {
	switch {
	case r.Revision == next:
		return r.Healthy
	case healthy != "" && r.Revision == healthy:
		return &Rendered{Revision: r.Revision, Spec: r.Spec, Ignore: r.Ignore}
	case r.Healthy != nil && r.Healthy.Revision == healthy:
		return r.Healthy
	}
	return nil
}

func appliedLog(kustomization object.Key) string {
	return "applied/" + kustomization.Namespace + "/" + kustomization.Name
}

// Record is what outlives a restart, to be written in the transaction that applies it:
// by then the stored spec may be that of a newer commit, which is for that commit's
// files.
func (r Rendered) Record(kustomization object.Key) (change.Record, error) {
	data, err := json.Marshal(r.recorded())
	if err != nil {
		return change.Record{}, fmt.Errorf("record what is applied: %w", err)
	}
	return change.Record{Log: appliedLog(kustomization), Data: data, Keep: 1}, nil
}

// Forget is the record of a Kustomization that is gone.
func Forget(kustomization object.Key) change.Record {
	return change.Record{Log: appliedLog(kustomization), Data: []byte("{}"), Keep: 1}
}

// Recorded reads what a Kustomization applied last, and how that is recorded; nothing
// if it never was.
func Recorded(store env.Store, kustomization object.Key) (Rendered, []byte, error) {
	records, err := store.Records(appliedLog(kustomization), -1, 1)
	if err != nil || len(records) == 0 {
		return Rendered{}, nil, err
	}
	var r recorded
	if err := json.Unmarshal(records[0], &r); err != nil {
		return Rendered{}, nil, fmt.Errorf("read what was applied last: %w", err)
	}
	last := r.rendered()
	if last == nil {
		return Rendered{}, nil, nil
	}
	return *last, records[0], nil
}
