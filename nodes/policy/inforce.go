package policy

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// patience is how long the start of a pod waits for its policies before it is told.
const patience = 10 * time.Second

// InForce waits until the rules for a pod with an address are in the kernel, as of the
// pod's binding to the node at least, and fails if that takes long. It is for before the
// first container of a pod starts.
func (a *Agent) InForce(ctx context.Context, uid types.UID, ips []string) error {
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		done, moved, err := a.enforce(ctx, uid, ips)
		if done {
			return err
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		case <-timeout.C:
			if err == nil {
				err = errors.New("the server has not told this node of the NetworkPolicies for the pod yet")
			}
			return err
		}
	}
}

// enforce reports whether the rules for a pod are in force, or cannot be; else moved is
// closed when it is worth another look.
func (a *Agent) enforce(ctx context.Context, uid types.UID, ips []string) (done bool, moved <-chan struct{}, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.unserved {
		return true, nil, nil
	}
	if !a.synced {
		return false, a.moved, a.refusal
	}
	if a.rules == nil {
		p := a.state.Pods[uid]
		if isolates(p) {
			return true, nil, fmt.Errorf("NetworkPolicies isolate the pod, and this node cannot keep to them: %w", a.missing)
		}
		return p != nil, a.moved, nil
	}
	if a.rules.state.Pods[uid] == nil {
		return false, a.moved, a.refusal
	}
	// Most often the network gave the address a moment ago.
	if !a.rules.knows(uid, ips) {
		a.rules.Attach(a.cfg.Attached())
		if !a.rules.knows(uid, ips) {
			return true, nil, fmt.Errorf("the network of this node does not know the pod's address %v", ips)
		}
		a.failed = errPending
	}
	if a.failed != nil || a.unbound != nil {
		a.write(ctx)
	}
	// A kernel that takes no rules does not keep pods from starting that need none.
	if err := errors.Join(a.failed, a.unbound); err != nil && isolates(a.rules.state.Pods[uid]) {
		return false, a.moved, err
	}
	// Nothing passes, so that no policy is broken: but a pod that runs would not tell why.
	return true, nil, a.rules.hindered(a.rules.state.Pods[uid])
}

var errPending = errors.New("the rules are not written yet")

// knows reports whether a pod is attached with one of the addresses.
func (r *Rules) knows(uid types.UID, ips []string) bool {
	a, ok := r.attached[uid]
	return ok && slices.ContainsFunc(ips, func(text string) bool {
		ip, err := netip.ParseAddr(text)
		return err == nil && ip == a.IP
	})
}
