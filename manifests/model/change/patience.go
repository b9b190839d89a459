package change

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Patience bounds for how long somebody waits, all in all, for what others say of what
// is written: of the admission webhooks each answers in time, but perhaps only just, and
// for each of a thousand objects. What is being asked may finish; then no more is.
type Patience struct {
	limit time.Duration

	mu    sync.Mutex
	spent time.Duration
	asked int
	// whom of those that were asked took how long.
	whom map[string]time.Duration
}

// NewPatience returns a Patience for waits of at most limit in all; 0 is no limit.
func NewPatience(limit time.Duration) *Patience { return &Patience{limit: limit} }

type patienceKey struct{}

// In returns a context in which p is the patience.
func (p *Patience) In(ctx context.Context) context.Context {
	return context.WithValue(ctx, patienceKey{}, p)
}

// PatienceIn is the patience of a context, or nil, which is without end.
func PatienceIn(ctx context.Context) *Patience {
	p, _ := ctx.Value(patienceKey{}).(*Patience)
	return p
}

// Ask calls ask, which waits for an answer, unless the patience is at an end.
func (p *Patience) Ask(ask func()) error {
	if err := p.Over(); err != nil {
		return err
	}
	began := time.Now()
	defer p.add(began)
	ask()
	return nil
}

func (p *Patience) add(began time.Time) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.spent += time.Since(began)
	p.asked++
}

// Took notes how long one of those that are asked took.
func (p *Patience) Took(whom string, d time.Duration) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.whom == nil {
		p.whom = map[string]time.Duration{}
	}
	p.whom[whom] += d
}

// Over returns an ImpatientError if the patience is at an end.
func (p *Patience) Over() error {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.limit == 0 || p.spent < p.limit {
		return nil
	}
	err := &ImpatientError{Limit: p.limit, Asked: p.asked}
	for name, took := range p.whom {
		if took > err.Took || took == err.Took && name < err.Slowest {
			err.Slowest, err.Took = name, took
		}
	}
	return err
}

// ImpatientError says that a Patience is at an end.
type ImpatientError struct {
	Limit time.Duration
	// Asked is about how many objects was asked.
	Asked int
	// Slowest of those that were asked took the most of it; empty if that is not known.
	Slowest string
	Took    time.Duration
}

func (e *ImpatientError) Error() string {
	msg := fmt.Sprintf("admission was asked about %d objects, which took longer than the %s that there are for all", e.Asked, e.Limit)
	if e.Slowest != "" {
		msg += fmt.Sprintf(": %s of it the webhook %s", e.Took.Round(time.Millisecond), e.Slowest)
	}
	return msg + "; make that faster, or the commit smaller"
}
