package budget

import (
	"encoding/json"
	"fmt"
	"strings"

	"headway.dev/syncer/flux"
	"headway.dev/syncer/wire"
)

// defaultBytes bounds what an answer says of the values of fields and of new
// objects, and as much again what it says of their names, and of faults.
const defaultBytes = 16 << 20

// Size is what is left of an answer's size. What does not fit is left out, and
// that is said: the summary counts all of it.
type Size struct{ values, names, faults int }

// NewSize is the size of an answer of at most so many bytes (0: the default) of
// each.
func NewSize(most int) *Size {
	if most <= 0 {
		most = defaultBytes
	}
	return &Size{most, most, most}
}

// Fit leaves out of a plan what there is no room for.
func (s *Size) Fit(p *wire.Plan) {
	var left []string
	say := func(n int, noun, what string) {
		if n > 0 {
			left = append(left, fmt.Sprintf(what, wire.Plural(n, noun)))
		}
	}
	bare := 0
	for i := range p.Actions {
		a := &p.Actions[i]
		if len(a.Fields) == 0 && a.Object == nil || take(&s.values, []any{a.Fields, a.Object}) {
			continue
		}
		a.Fields, a.Object = nil, nil
		bare++
	}
	say(bare, "object", "what changes of %s")
	names, dropped := fitting(&s.names, p.Actions, func(a wire.Action) any {
		a.Fields, a.Object = nil, nil
		return a
	})
	p.Actions = names
	say(dropped, "object", "%s altogether")
	p.Rollouts, dropped = fitting(&s.names, p.Rollouts, func(ro wire.Rollout) any { return ro })
	say(dropped, "workload", "how %s would be replaced")
	p.Checks, dropped = fitting(&s.names, p.Checks, func(c wire.Check) any { return c })
	say(dropped, "check", "%s")
	first := len(p.Errors) > 0
	if first { // a plan with faults keeps one, or it would seem to have none
		p.Errors[0].Reason, p.Errors[0].Message = flux.Bounded(p.Errors[0].Reason), flux.Bounded(p.Errors[0].Message)
		rest, n := fitting(&s.faults, p.Errors[1:], func(f wire.Fault) any { return f })
		p.Errors = append(p.Errors[:1:1], rest...)
		say(n, "fault", "%s")
	}
	if len(left) > 0 {
		p.Checks = append(p.Checks, wire.Check{
			Name: "answer", Kustomization: p.Kustomization, Result: wire.CheckWarning,
			Message: "the answer is too large, and leaves out " + strings.Join(left, ", ") + ": plan one directory at a time (headway plan --path DIR), or make the commit smaller",
		})
	}
}

// fitting are the elements of a list that there is room for, and how many others
// there are.
func fitting[T any](room *int, list []T, shown func(T) any) (fit []T, left int) {
	fit = list[:0:0]
	for _, e := range list {
		if take(room, shown(e)) {
			fit = append(fit, e)
		} else {
			left++
		}
	}
	if left == 0 {
		return list, 0
	}
	return fit, left
}

// take reports whether there is room for a value as JSON, and takes it.
func take(room *int, v any) bool {
	data, err := json.Marshal(v)
	if err != nil || len(data) > *room {
		return false
	}
	*room -= len(data)
	return true
}
