package editors

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer/env"
	"headway.dev/syncer/git"
	"headway.dev/syncer/history"
	"headway.dev/syncer/plan"
	"headway.dev/syncer/wire"
)

const (
	// maxWrites bounds the writes that are remembered; maxAge is for how long one
	// is: what is put back later was changed by another.
	maxWrites = 1024
	maxAge    = time.Minute
	// maxNamed bounds the names in a message.
	maxNamed = 5
)

// Editors remembers who wrote what Git declares, and who suspended something.
type Editors struct {
	env *env.Env
	// writers are those whose writes were let through, suspenders those who
	// suspended something a moment ago.
	writers, suspenders writes
}

// New remembers nobody yet.
func New(e *env.Env) *Editors { return &Editors{env: e} }

// writes remembers who wrote each object last, until that is asked for.
type writes struct {
	mu   sync.Mutex
	last map[object.Key]wire.Changer
}

// note remembers a write.
func (w *writes) note(key object.Key, req change.Request, now time.Time) {
	if req.DryRun {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.last == nil || len(w.last) >= maxWrites {
		w.last = map[object.Key]wire.Changer{}
	}
	w.last[key] = wire.Changer{User: git.OneLine(req.User), Manager: git.OneLine(req.Manager), Time: now}
}

// take is who wrote an object last, if that is known and was a moment ago, and
// forgets it.
func (w *writes) take(key object.Key, now time.Time) (wire.Changer, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	c, ok := w.last[key]
	delete(w.last, key)
	return c, ok && now.Sub(c.Time) <= maxAge
}

// NoteWrite remembers who wrote an object that Git declares.
func (e *Editors) NoteWrite(key object.Key, req change.Request) {
	e.writers.note(key, req, e.env.Now())
}

// changers are those who changed what an action puts back: the managers of the
// fields, the one of the last write with its user. It may be asked once.
func (e *Editors) changers(a plan.Action) []wire.Changer {
	var list []wire.Changer
	if a.Live != nil {
		for _, m := range history.ManagersOf(a.Live) {
			owns := func(path string) bool { return m.Owns(path) }
			if m.Name != plan.Manager && slices.ContainsFunc(a.FieldPaths(), owns) {
				list = append(list, wire.Changer{Manager: git.OneLine(m.Name), Time: m.Time.UTC()})
			}
		}
	}
	last, ok := e.writers.take(a.Key, e.env.Now())
	if !ok {
		return list
	}
	for i := range list {
		if list[i].Manager == last.Manager || last.Manager == "" && len(list) == 1 {
			list[i].User = last.User
			return list
		}
	}
	return append(list, last)
}

// NameIn notes in the results of a plan that puts things back who changed them.
// It returns a sentence about that, or nothing if nobody is known.
func (e *Editors) NameIn(res plan.Result, results []wire.ObjectResult) string {
	byKey := map[object.Key][]wire.Changer{}
	for _, a := range res.Actions {
		if a.Writes() && a.Type != plan.Unchanged {
			byKey[a.Key] = e.changers(a)
		}
	}
	var names []string
	for i, r := range results {
		key := object.Key{Namespace: r.Namespace, Name: r.Name}
		key.Group, key.Kind = r.Group, r.Kind
		results[i].ChangedBy = byKey[key]
		for _, c := range byKey[key] {
			if name := c.String(); !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	if len(names) == 0 {
		return ""
	}
	if n := len(names); n > maxNamed {
		names = append(names[:maxNamed], fmt.Sprintf("%d more", n-maxNamed))
	}
	return "changed by " + strings.Join(names, ", ")
}
