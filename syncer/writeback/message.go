package writeback

import (
	"cmp"
	"fmt"
	"strings"

	"headway.dev/syncer/flux"
	"headway.dev/syncer/git"
)

// emailExtra is the user's extra value that has the e-mail address of their
// commits, and goes before flux.Settings.AuthorDomain.
const emailExtra = "headway.dev/email"

// author is the user, in whose name the commit is.
func (u *userWrite) author() git.Signature {
	name := cmp.Or(git.OneLine(u.request.User), "unknown")
	email := name
	if extra := u.request.Extra[emailExtra]; len(extra) > 0 {
		email = git.OneLine(extra[0])
	} else if !strings.Contains(name, "@") {
		email = strings.NewReplacer(":", ".", " ", ".").Replace(name) + "@" + flux.Of(u.ks).AuthorDomain.Value
	}
	return git.Signature{Name: name, Email: email, When: u.s.Env.Now()}
}

func (u *userWrite) subject() string {
	name := flux.Describe(u.key)
	switch {
	case u.request.Next == nil:
		return "Delete " + name
	case len(u.named) == 1 && u.named[0].removed:
		return "Remove " + u.named[0].path + " of " + name
	case len(u.named) == 1:
		return "Set " + u.named[0].path + " of " + name
	}
	return fmt.Sprintf("Change %d fields of %s", len(u.named), name)
}

// message names the fields, never their values: they may be secret.
func (u *userWrite) message() string {
	lines := []string{u.subject(), ""}
	if len(u.named) > 1 {
		for _, c := range u.named {
			verb := "set "
			if c.removed {
				verb = "remove "
			}
			lines = append(lines, "- "+verb+c.path)
		}
		lines = append(lines, "")
	}
	by := "Written through the API by " + git.OneLine(u.request.User)
	if u.request.Manager != "" {
		by += " with " + git.OneLine(u.request.Manager)
	}
	return strings.Join(append(lines, by+".", ""), "\n")
}
