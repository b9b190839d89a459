package remote

import (
	"cmp"
	"encoding/base64"
	"net/url"
	"slices"
	"strings"
)

// redacted stands for a secret in an error.
const redacted = "(hidden)"

// minSecret is the length in bytes from which on a secret is looked for: a
// shorter one would be found in the words of every error, and hides nothing.
const minSecret = 4

// secrets are what a server could repeat of what it is sent.
func (a *Auth) secrets() []string {
	if a == nil {
		return nil
	}
	list := append(basic(a.Username, a.Password), a.BearerToken)
	if a.Proxy != nil {
		password, _ := a.Proxy.User.Password()
		list = append(list, basic(a.Proxy.User.Username(), password)...)
	}
	return list
}

// basic is a password, and how it is sent.
func basic(user, password string) []string {
	if password == "" {
		return nil
	}
	return []string{password, url.QueryEscape(password), base64.StdEncoding.EncodeToString([]byte(user + ":" + password))}
}

// learn remembers what is sent to the remote.
func (l *link) learn(secrets ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent = secrets
}

// redact takes what was sent to the remote out of what it says: servers and
// proxies that are set up to help with debugging repeat whole requests, and
// errors are shown to many.
func (l *link) redact(text string) string {
	l.mu.Lock()
	secrets := slices.Clone(l.sent)
	l.mu.Unlock()
	// The longest first: one may be a part of another.
	slices.SortFunc(secrets, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	for _, s := range secrets {
		if len(s) >= minSecret {
			text = strings.ReplaceAll(text, s, redacted)
		}
	}
	return text
}
