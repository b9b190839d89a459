package git

import "strings"

// OneLine keeps a name from adding headers to a commit.
func OneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == '<' || r == '>' {
			return -1
		}
		return r
	}, s)
}
