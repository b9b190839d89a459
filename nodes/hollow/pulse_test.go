package hollow

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordinationv1client "k8s.io/client-go/kubernetes/typed/coordination/v1"
)

// takes is an API that takes all leases as they are.
type takes struct {
	coordinationv1client.LeaseInterface
}

func (takes) Update(_ context.Context, lease *coordinationv1.Lease, _ metav1.UpdateOptions) (*coordinationv1.Lease, error) {
	return lease, nil
}

// Renewals that are asked for one after the other are done at one moment, with that
// moment as their time.
func TestLeasesAreRenewedTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p pulse
		leases := leaseTogether{takes{}, &p}
		for range 2 { // a second beat is as the first
			start := time.Now()
			got := make(chan time.Time)
			for i := range 3 {
				go func() {
					<-time.After(time.Duration(i) * beat / 10)
					renewed, err := leases.Update(t.Context(), &coordinationv1.Lease{}, metav1.UpdateOptions{})
					if err != nil {
						t.Error(err)
					}
					got <- renewed.Spec.RenewTime.Time
				}()
			}
			for range 3 {
				if at := (<-got).Sub(start); at != beat {
					t.Errorf("a lease is renewed after %s, want %s", at, beat)
				}
			}
		}

		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		start := time.Now()
		p.wait(ctx)
		if waited := time.Since(start); waited != 0 {
			t.Errorf("it waits for %s after the end", waited)
		}
		<-time.After(beat) // the timer of that
	})
}
