package git

import (
	"strings"
	"time"
)

// Identity is who writes commits.
type Identity struct{ Name, Email string }

// At is the identity as the author or committer of a commit of that time.
func (i Identity) At(when time.Time) Signature {
	return Signature{Name: i.Name, Email: i.Email, When: when}
}

// OneLine keeps a name from adding headers to a commit.
func OneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == '<' || r == '>' {
			return -1
		}
		return r
	}, s)
}
