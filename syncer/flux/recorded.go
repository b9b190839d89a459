package flux

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// What has to survive a restart, and has no field in Flux's types, is recorded in
// the messages of conditions: each such message is the text of one of the types
// below, which is read back by the function beside it, and by nothing else.

// Quarantine is what the message of [QuarantinedCondition] says: a commit that has
// failed and is not tried again.
type Quarantine struct {
	// Revision is the one that failed, and Why why.
	Revision, Why string
	// Pending is why its revert failed, which is tried again; empty: none is.
	Pending string
	// Healthy is the revision that stays applied.
	Healthy string
	// Command is how to try the commit once more.
	Command string
}

const (
	pendingText = "; its revert failed and is tried again: "
	pendingEnd  = " (with back-off)"
	stayText    = " stays applied until a newer commit comes"
	commandText = "; to try this one again run: "
)

// Cause is why the commit failed, and why it is not reverted yet.
func (q Quarantine) Cause() string {
	if q.Pending == "" {
		return q.Why
	}
	return q.Why + pendingText + q.Pending + pendingEnd
}

// String implements fmt.Stringer.
func (q Quarantine) String() string {
	text := q.Revision + ": " + q.Cause()
	if q.Healthy != "" {
		text += "; " + q.Healthy + stayText
	}
	if q.Command != "" {
		text += commandText + q.Command
	}
	return text
}

// ParseQuarantine reads the message of a condition. Of one that was too long, and
// is cut off, what is there counts.
func ParseQuarantine(message string) Quarantine {
	var q Quarantine
	var rest string
	q.Revision, rest, _ = strings.Cut(message, ": ")
	if at := strings.LastIndex(rest, commandText); at >= 0 {
		rest, q.Command = rest[:at], rest[at+len(commandText):]
	}
	if before, ok := strings.CutSuffix(rest, stayText); ok {
		if at := strings.LastIndex(before, "; "); at >= 0 {
			rest, q.Healthy = before[:at], before[at+len("; "):]
		}
	}
	var pending bool
	if q.Why, q.Pending, pending = strings.Cut(rest, pendingText); pending {
		q.Pending = strings.TrimSuffix(q.Pending, pendingEnd)
	}
	return q
}

// Unpruned is what the message of [UnprunedCondition] says: what a revision no
// longer declares and is kept.
type Unpruned struct{ Revision, Kept string }

// String implements fmt.Stringer. It is empty if nothing is kept.
func (u Unpruned) String() string {
	if u.Kept == "" {
		return ""
	}
	return u.Revision + ": " + u.Kept
}

// ParseUnpruned reads the message of a condition.
func ParseUnpruned(message string) Unpruned {
	var u Unpruned
	u.Revision, u.Kept, _ = strings.Cut(message, ": ")
	return u
}

// Overrun is what the message of [OverrunCondition] says: a build that exceeded its
// budget. It is also the error of that build.
type Overrun struct {
	Why string
	// Until is when the build is tried again, Build what identifies it, and Tries
	// how often it was tried.
	Until time.Time
	Build string
	Tries int
}

var overrunMessage = regexp.MustCompile(`(?s)^(.*)\. It is tried again at (\S+), or once something changes \[build (\w+), try (\d+)\]$`)

// Error implements error.
func (o *Overrun) Error() string {
	return fmt.Sprintf("%s. It is tried again at %s, or once something changes [build %s, try %d]", o.Why, o.Until.UTC().Format(time.RFC3339), o.Build, o.Tries)
}

// ParseOverrun reads the message of a condition, and returns nil for one that is
// no [Overrun].
func ParseOverrun(message string) *Overrun {
	m := overrunMessage.FindStringSubmatch(message)
	if m == nil {
		return nil
	}
	o := &Overrun{Why: m[1], Build: m[3]}
	var err error
	if o.Until, err = time.Parse(time.RFC3339, m[2]); err == nil {
		o.Tries, err = strconv.Atoi(m[4])
	}
	if err == nil {
		return o
	}
	return nil // somebody else's message
}

// Suspension is what the message of [SuspendedCondition] says.
type Suspension struct{ By string }

const suspendedBy = "suspended by "

// String implements fmt.Stringer.
func (s Suspension) String() string { return suspendedBy + s.By }

// ParseSuspension reads the message of a condition.
func ParseSuspension(message string) Suspension {
	return Suspension{By: strings.TrimPrefix(message, suspendedBy)}
}
