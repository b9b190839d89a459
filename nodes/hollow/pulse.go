package hollow

import (
	"context"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	coordinationv1client "k8s.io/client-go/kubernetes/typed/coordination/v1"

	"headway.dev/manifests/guard"
)

// beat is how long a renewal of a lease waits for others at most. One that is a
// little later costs nobody anything: a server waits for four.
const beat = 500 * time.Millisecond

// pulse lets the renewals of many leases leave together: then one packet, one
// turn of each end's loops and one write to the server's disk serve many.
type pulse struct {
	mu   sync.Mutex
	next chan struct{} // closed at the next beat; nil while nobody waits
}

// wait returns at the next beat, or when ctx ends.
func (p *pulse) wait(ctx context.Context) {
	p.mu.Lock()
	if p.next == nil {
		p.next = make(chan struct{})
		time.AfterFunc(beat, func() { guard.Do(context.WithoutCancel(ctx), "renew leases", p.beat) })
	}
	next := p.next
	p.mu.Unlock()
	select {
	case <-next:
	case <-ctx.Done():
	}
}

func (p *pulse) beat() {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.next)
	p.next = nil
}

// together is a client whose updates of leases wait for the pulse.
type together struct {
	kubernetes.Interface
	pulse *pulse
}

// CoordinationV1 implements kubernetes.Interface.
func (t together) CoordinationV1() coordinationv1client.CoordinationV1Interface {
	return leasesTogether{t.Interface.CoordinationV1(), t.pulse}
}

type leasesTogether struct {
	coordinationv1client.CoordinationV1Interface
	pulse *pulse
}

// Leases implements coordinationv1client.LeasesGetter.
func (t leasesTogether) Leases(namespace string) coordinationv1client.LeaseInterface {
	return leaseTogether{t.CoordinationV1Interface.Leases(namespace), t.pulse}
}

type leaseTogether struct {
	coordinationv1client.LeaseInterface
	pulse *pulse
}

// Update implements coordinationv1client.LeaseInterface.
func (t leaseTogether) Update(ctx context.Context, lease *coordinationv1.Lease, opts metav1.UpdateOptions) (*coordinationv1.Lease, error) {
	t.pulse.wait(ctx)
	lease.Spec.RenewTime = &metav1.MicroTime{Time: time.Now()} // it is renewed now
	return t.LeaseInterface.Update(ctx, lease, opts)
}
