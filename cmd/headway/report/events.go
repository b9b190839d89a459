package report

import (
	"fmt"
	"strings"

	"headway.dev/syncer/wire"
)

// Naming selects whether a line names its source or Kustomization, when there
// are several.
type Naming struct{ Sources, Kustomizations bool }

// Line returns the text for one step of progress; empty for steps that are not
// shown.
func (n Naming) Line(e wire.Event) string {
	line := Screen(eventLine(e))
	switch {
	case line == "":
	case n.Kustomizations && e.Kustomization != "":
		return e.Kustomization + ": " + line
	case n.Sources && e.Source != "" && e.Kustomization == "":
		return e.Source + ": " + line
	}
	return line
}

// eventLine returns the text for one step of progress; empty for steps that are
// not shown.
func eventLine(e wire.Event) string {
	switch e.Phase {
	case wire.PhaseFetch:
		if e.Commit != nil {
			return fmt.Sprintf("commit %s %q by %s", ShortSHA(e.Commit.SHA), e.Commit.Subject, e.Commit.Author.Name)
		}
	case wire.PhaseCommit:
		line := actionsLine(e.Actions)
		switch {
		case line == "":
			return "nothing to change"
		case e.Message != "": // who changed it
			return "put back " + line + " (" + e.Message + ")"
		}
		return "applied " + line
	case wire.PhaseHealth:
		return e.Message
	case wire.PhasePlan: // what holds the commit back is in its status
	case wire.PhaseVerdict:
		switch {
		case e.Verdict == wire.VerdictHealthy && e.Revision != "":
			return string(e.Verdict) + ": " + ShortRevision(e.Revision)
		case e.Message != "" && e.Verdict != "":
			return string(e.Verdict) + ": " + e.Message
		}
		return string(e.Verdict) + e.Message
	case wire.PhaseError:
		return "error: " + e.Message
	}
	return ""
}

// actionsLine names the first objects that a commit changed, and counts the
// rest.
func actionsLine(actions []wire.Action) string {
	const most = 5
	var names []string
	for _, a := range actions {
		if a.Action == "Unchanged" || a.Action == "Skip" {
			continue
		}
		name := a.Kind + "/" + a.Name
		if a.Action == "Delete" {
			name += " (deleted)"
		}
		names = append(names, name)
	}
	if len(names) == 0 {
		return ""
	}
	line := CountObjects(len(names)) + ": "
	if len(names) > most {
		return line + strings.Join(names[:most], ", ") + fmt.Sprintf(" and %d more", len(names)-most)
	}
	return line + strings.Join(names, ", ")
}
