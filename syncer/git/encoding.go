package git

import (
	"strings"

	"github.com/go-git/go-git/v5/plumbing/object"
	"golang.org/x/text/encoding/ianaindex"
)

// decoder turns the texts of a commit into UTF-8, as its header encoding says.
// What that does not name, or names an unknown one, is taken as it is.
func decoder(c *object.Commit) func(string) string {
	same := func(s string) string { return s }
	name := strings.TrimSpace(string(c.Encoding))
	if name == "" || strings.EqualFold(name, "utf-8") || strings.EqualFold(name, "utf8") {
		return same
	}
	enc, err := ianaindex.IANA.Encoding(name)
	if err != nil || enc == nil {
		return same
	}
	return func(s string) string {
		out, err := enc.NewDecoder().String(s)
		if err != nil {
			return s
		}
		return out
	}
}
