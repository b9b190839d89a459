package verdict

import (
	"fmt"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"

	"headway.dev/syncer/flux"
)

const (
	// DefaultSettle is a container's first back-off: by then a container that
	// exits at once has been noticed.
	DefaultSettle = 10 * time.Second
	// DefaultProbation leaves time to notice a container that crashes within a
	// minute.
	DefaultProbation = 2 * time.Minute
	// Steady is how long a container must run that has ended since the commit.
	Steady      = time.Minute
	maxPatience = time.Hour
)

// Patience is how long containers must run, and commits must stay healthy.
type Patience struct{ Settle, Steady, Probation time.Duration }

// PatienceOf reads the annotations; settle is the default of that part. No
// commit can fail only because its timeout is shorter than the time that has to
// pass.
func PatienceOf(ks *kustomizev1.Kustomization, settle time.Duration) (Patience, error) {
	p := Patience{Settle: settle, Steady: Steady, Probation: DefaultProbation}
	for name, d := range map[string]*time.Duration{flux.Settle: &p.Settle, flux.Probation: &p.Probation} {
		text, ok := ks.Annotations[name]
		if !ok {
			continue
		}
		v, err := time.ParseDuration(text)
		if err != nil || v < 0 || v > maxPatience {
			return p, fmt.Errorf("annotation %s: %q is not a duration from 0s to %s", name, text, maxPatience)
		}
		*d = v
	}
	p.Settle, p.Steady = min(p.Settle, ks.GetTimeout()/2), min(p.Steady, ks.GetTimeout()/2)
	return p, nil
}
