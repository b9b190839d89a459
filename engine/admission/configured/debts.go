package configured

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	chain "headway.dev/engine/admission"
	"headway.dev/manifests/model/change"
)

const (
	// fair is the time that a webhook may take of this process for each question.
	fair = 250 * time.Millisecond
	// mostDebt is how much longer it may take, all in all.
	mostDebt = time.Minute
	// silent is how long it is not asked after it did not answer in time.
	silent = 15 * time.Second
)

// debts is what is known of webhooks that keep this process waiting: a commit
// asks about each of its objects in turn, and nothing else of its source goes on
// meanwhile. One that does not answer, or slowly, is not asked for a while about what
// the process itself writes; its failure policy says what comes of that. Requests
// ask it all the same.
type debts struct {
	mu    sync.Mutex
	hooks map[string]*debt
}

// debt is the time that a webhook has taken beyond what is fair. It is forgiven as
// time goes by.
type debt struct {
	owed  time.Duration
	since time.Time
	quiet time.Time // it is not asked before
}

// ask fails if a webhook is not asked now.
func (p *debts) ask(hook string, now time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	d := p.hooks[hook]
	if d == nil {
		return nil
	}
	d.owed, d.since = max(0, d.owed-now.Sub(d.since)), now
	switch {
	case now.Before(d.quiet):
		return fmt.Errorf("it did not answer in time, and is not asked about what Headway itself writes for %s", d.quiet.Sub(now).Round(time.Second))
	case d.owed > mostDebt:
		d.quiet = now.Add(silent)
		return fmt.Errorf("it answers too slowly, and is not asked about what Headway itself writes for %s", silent)
	case d.owed == 0:
		delete(p.hooks, hook)
	}
	return nil
}

// answered notes how long a webhook took, and whether its time was over.
func (p *debts) answered(hook string, began, now time.Time, late bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	d := p.hooks[hook]
	if d == nil {
		d = &debt{}
	}
	d.owed, d.since = max(0, d.owed+now.Sub(began)-fair), now
	if late {
		d.quiet = now.Add(silent)
	}
	if d.owed == 0 && !late {
		delete(p.hooks, hook)
		return
	}
	if p.hooks == nil {
		p.hooks = map[string]*debt{}
	}
	p.hooks[hook] = d
}

// patient asks webhooks with patience.
type patient struct {
	http.RoundTripper
	debts *debts
}

// RoundTrip implements http.RoundTripper.
func (t patient) RoundTrip(r *http.Request) (*http.Response, error) {
	if !chain.InProcess(r.Context()) {
		return t.RoundTripper.RoundTrip(r)
	}
	hook, began := r.URL.Host+r.URL.Path, time.Now()
	if err := t.debts.ask(hook, began); err != nil {
		return nil, err
	}
	done := sync.OnceFunc(func() {
		change.PatienceIn(r.Context()).Took(hook, time.Since(began))
		t.debts.answered(hook, began, time.Now(), errors.Is(r.Context().Err(), context.DeadlineExceeded))
	})
	res, err := t.RoundTripper.RoundTrip(r)
	if err != nil {
		done()
		return nil, err
	}
	if b, ok := res.Body.(*body); ok {
		b.done = done
	}
	return res, nil
}

// WrappedRoundTripper implements net.RoundTripperWrapper.
func (t patient) WrappedRoundTripper() http.RoundTripper { return t.RoundTripper }
