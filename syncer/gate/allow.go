package gate

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"headway.dev/syncer/git"
	"headway.dev/syncer/git/write"
)

// allowTrailer is the trailer of a signed commit's message that lets the
// commit do more than the annotations allow:
//
//	Headway-Allow: deletes=40, restarts=12
//	Headway-Allow: freeze
const allowTrailer = "Headway-Allow"

// allowance is what commits ask for by trailers.
type allowance struct {
	deletes, restarts int
	freeze            bool
	// ignored says why something that was asked for does not count.
	ignored []string
}

// add adds the trailers of a message. Commits are applied together, so that
// the largest number counts.
func (a *allowance) add(message string) {
	for _, value := range write.Trailers(message, allowTrailer) {
		for word := range strings.FieldsFuncSeq(value, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' }) {
			name, number, counts := strings.Cut(word, "=")
			n, err := strconv.Atoi(number)
			switch {
			case name == "freeze" && !counts:
				a.freeze = true
			case name == "deletes" && counts && err == nil && n >= 0:
				a.deletes = max(a.deletes, n)
			case name == "restarts" && counts && err == nil && n >= 0:
				a.restarts = max(a.restarts, n)
			default:
				a.ignored = append(a.ignored, fmt.Sprintf("%s: %q is not understood: use deletes=N, restarts=N or freeze", allowTrailer, word))
			}
		}
	}
}

// ErrNoVerify reports that a source checks no signatures.
var ErrNoVerify = errors.New("it counts only in a signed commit, and the source checks no signatures: set spec.verify on the GitRepository")

// allowed is what the commits allow, in the order given. signed fails for a
// commit that is not signed by an allowed key, whose trailers do not count.
func allowed(commits []git.Commit, signed func(sha string) error) allowance {
	var all allowance
	for _, c := range commits {
		var own allowance
		if own.add(c.Message); own.deletes == 0 && own.restarts == 0 && !own.freeze {
			all.ignored = append(all.ignored, own.ignored...)
			continue
		}
		if err := signed(c.SHA); err != nil {
			all.ignored = append(all.ignored, fmt.Sprintf("the trailer %s of commit %.12s is ignored: %v", allowTrailer, c.SHA, err))
			continue
		}
		all.deletes, all.restarts = max(all.deletes, own.deletes), max(all.restarts, own.restarts)
		all.freeze = all.freeze || own.freeze
		all.ignored = append(all.ignored, own.ignored...)
	}
	return all
}
