package verdict

import (
	"fmt"

	"headway.dev/syncer/flux"
)

// RevertsPerHour limits the automatic reverts on one branch.
const RevertsPerHour = 3

// response is what follows a failed verdict.
type response string

const (
	// RespondNot leaves everything as it is.
	RespondNot response = "leave"
	// RespondHold puts the commit in quarantine and goes back to the last good
	// one.
	RespondHold response = "hold"
	// RespondRevert writes a revert commit on the branch.
	RespondRevert response = "revert"
)

// Failing is a commit with a failed verdict, and what the response depends on.
type Failing struct {
	Mode  string // headway.dev/on-failure
	State State
	// Contained reports whether the branch contains the commit, and the commit
	// the last healthy one; reverts, that there were only reverts since that
	// one.
	Contained, Reverts bool
	// TakenBack is the later commit of the branch that takes the commit back, and is
	// not applied, if there is one.
	TakenBack string
	// Denied is the reason why the Kustomization may not write to the branch.
	Denied error
	// Recent counts the automatic reverts of the last hour.
	Recent int
}

// Respond decides what follows a failed verdict, and why it is not more.
//
// A commit is reverted only if it, or one since the last healthy one, can be
// blamed: everything was healthy before them, and they changed something. All
// of them are taken back together, which is known to be enough. Reverts are not
// reverted, and their number is bounded, or they could answer each other. A
// commit that may be to blame but is not reverted is held; nothing is done about
// one that is not to blame, nor if there is nothing good to go back to.
func (f Failing) Respond() (response, string) {
	switch {
	case f.Mode != flux.OnFailureRevert && f.Mode != flux.OnFailureHold:
		return RespondNot, ""
	case f.State.before == flux.BeforeNothing:
		return RespondNot, "it is the first commit that is applied"
	case f.State.before == flux.BeforeUnchanged:
		return RespondNot, "it changed nothing"
	case f.State.before == flux.BeforeUnhealthy:
		return RespondNot, "it was not healthy before the commit either"
	case f.State.Healthy == f.State.Revision:
		return RespondNot, "it was healthy once, so that the commit is not to blame"
	case f.State.Healthy == "":
		return RespondNot, "no earlier commit is known to be healthy"
	}
	why := ""
	switch {
	case f.Mode == flux.OnFailureHold:
	case f.Denied != nil:
		why = f.Denied.Error()
	case f.TakenBack != "":
		why = "commit " + f.TakenBack + " takes it back already and is not applied yet"
	case f.Reverts:
		why = "the commit is itself a revert"
	case !f.Contained:
		why = "the branch does not contain it any more, or not what was healthy before it"
	case f.Recent >= RevertsPerHour:
		why = TooManyReverts(f.Recent).Error()
	default:
		return RespondRevert, ""
	}
	return RespondHold, why
}

// TooManyReverts refuses one more revert within the hour.
func TooManyReverts(n int) error {
	return fmt.Errorf("%d commits were reverted within the last hour", n)
}
