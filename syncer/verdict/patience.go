package verdict

import (
	"cmp"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"

	"headway.dev/syncer/flux"
)

const (
	// DefaultSettle is a container's first back-off: by then a container that
	// exits at once has been noticed.
	DefaultSettle = 10 * time.Second
	// Steady is how long a container must run that has ended since the commit.
	Steady = time.Minute
)

// Patience is how long containers must run, and commits must stay healthy.
type Patience struct{ Settle, Steady, Probation time.Duration }

// PatienceOf reads the annotations; settle is the default of that part. No
// commit can fail only because its timeout is shorter than the time that has to
// pass.
func PatienceOf(ks *kustomizev1.Kustomization, settle time.Duration) (Patience, error) {
	set := flux.Of(ks)
	p := Patience{Settle: settle, Steady: Steady, Probation: set.Probation.Value}
	if set.Settle.Set && set.Settle.Err() == nil {
		p.Settle = set.Settle.Value
	}
	if err := cmp.Or(set.Settle.Err(), set.Probation.Err()); err != nil {
		return p, err
	}
	p.Settle, p.Steady = min(p.Settle, ks.GetTimeout()/2), min(p.Steady, ks.GetTimeout()/2)
	return p, nil
}
