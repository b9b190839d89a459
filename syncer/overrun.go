package syncer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	apimeta "k8s.io/apimachinery/pkg/api/meta"

	"headway.dev/manifests/model/object"
	"headway.dev/manifests/yaml/load"
	"headway.dev/syncer/fault"
	"headway.dev/syncer/source"
)

// overrunCondition is on a Kustomization whose build took more than it may. The
// same build is not tried again before the time that it names, also after a
// restart: it would take as much again.
const (
	overrunCondition = "headway.dev/BuildBudgetExceeded"
	overrunReason    = "BuildBudgetExceeded"
	overrunFirst     = 5 * time.Minute
	overrunMost      = 6 * time.Hour
)

// errOverrun is a build that took too much, and when it is tried again.
type errOverrun struct {
	message string
	until   time.Time
}

func (e *errOverrun) Error() string { return e.message }

var overrunMessage = regexp.MustCompile(`(?s)It is tried again at (\S+), or once something changes \[build (\w+), try (\d+)\]$`)

// overrun is what is known of a build that took too much, if it is the last one.
func overrun(ks *kustomizev1.Kustomization, build string) (until time.Time, tries int, message string) {
	c := apimeta.FindStatusCondition(ks.Status.Conditions, overrunCondition)
	if c == nil {
		return time.Time{}, 0, ""
	}
	m := overrunMessage.FindStringSubmatch(c.Message)
	if m == nil || m[2] != build {
		return time.Time{}, 0, ""
	}
	until, err := time.Parse(time.RFC3339, m[1])
	if err != nil {
		return time.Time{}, 0, ""
	}
	tries, err = strconv.Atoi(m[3])
	if err != nil {
		return time.Time{}, 0, ""
	}
	return until, tries, c.Message
}

// sparing makes a build unless it is known to take too much.
func (k *kustomization) sparing(ks *kustomizev1.Kustomization, at source.Head, build func() ([]load.Item, error)) ([]load.Item, error) {
	sum := sha256.Sum256([]byte(k.buildID(ks, at)))
	id := hex.EncodeToString(sum[:6])
	until, tries, message := overrun(ks, id)
	if k.s.env.Now().Before(until) {
		return nil, fault.New(meta.BuildFailedReason, &errOverrun{message, until})
	}
	items, err := build()
	if !errors.Is(err, load.ErrBudget) {
		return items, err
	}
	wait := overrunMost
	if tries < 8 {
		wait = min(wait, overrunFirst<<tries)
	}
	until = k.s.env.Now().Add(wait).UTC().Truncate(time.Second)
	message = fmt.Sprintf("%s. It is tried again at %s, or once something changes [build %s, try %d]", clip(err.Error()), until.Format(time.RFC3339), id, tries+1)
	return nil, fault.New(meta.BuildFailedReason, &errOverrun{message, until})
}

// clip leaves room for what follows in a condition.
func clip(message string) string { return message[:min(len(message), 2000)] }

// interruptible is a context for a build that ends when the Kustomization is
// deleted or suspended meanwhile.
func (k *kustomization) interruptible(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	k.mu.Lock()
	k.interrupt = cancel
	k.mu.Unlock()
	return ctx, func() {
		k.mu.Lock()
		k.interrupt = nil
		k.mu.Unlock()
		cancel(nil)
	}
}

var errInterrupted = errors.New("the Kustomization is deleted or suspended")

// unwanted reports whether a Kustomization is stored and must not be applied.
func unwanted(ks *kustomizev1.Kustomization) bool {
	return ks != nil && (ks.DeletionTimestamp != nil || ks.Spec.Suspend)
}

// interrupt ends the build of a Kustomization that is not wanted any more.
func (s *Syncer) interrupt(ev object.Event) {
	ks, _ := ev.Object.(*kustomizev1.Kustomization)
	if ev.Type != object.Deleted && !unwanted(ks) {
		return
	}
	s.mu.Lock()
	k := s.kustomizations[ev.Key]
	s.mu.Unlock()
	if k == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.interrupt != nil {
		k.interrupt(errInterrupted)
	}
}
