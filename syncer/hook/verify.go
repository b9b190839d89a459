package hook

import (
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // as HMAC, which needs no collision resistance, and some servers have no other
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/hex"
	"hash"
	"net/http"
	"strings"
)

// scheme is how a server proves that it knows the secret.
type scheme struct {
	header string
	check  func(secret, body []byte, value string) bool
}

// schemes are in the order of preference: GitHub sends its older header along
// with the newer one.
var schemes = []scheme{
	{"X-Hub-Signature-256", func(secret, body []byte, value string) bool {
		return strings.HasPrefix(value, "sha256=") && prefixed(secret, body, value)
	}},
	{"X-Forgejo-Signature", bare},
	{"X-Gitea-Signature", bare},
	{"X-Gitlab-Token", func(secret, _ []byte, value string) bool {
		// Of equal length, so that the time does not tell the secret's.
		a, b := sha256.Sum256(secret), sha256.Sum256([]byte(value))
		return subtle.ConstantTimeCompare(a[:], b[:]) == 1
	}},
	{"X-Hub-Signature", prefixed}, // Bitbucket
	{"X-Signature", prefixed},     // Flux's generic-hmac
}

// Verify reports whether the sender of the body knows the secret. Nobody knows
// an empty secret. If a request has several kinds of proof, only the first
// known one counts.
func Verify(header http.Header, body, secret []byte) bool {
	if len(secret) == 0 {
		return false
	}
	for _, s := range schemes {
		values := header.Values(s.header)
		if len(values) == 0 {
			continue
		}
		return len(values) == 1 && s.check(secret, body, values[0])
	}
	return false
}

var hashes = map[string]func() hash.Hash{"sha1": sha1.New, "sha256": sha256.New, "sha512": sha512.New}

// prefixed checks an HMAC with the name of its hash: sha256=0123…
func prefixed(secret, body []byte, value string) bool {
	name, digest, _ := strings.Cut(value, "=")
	h, ok := hashes[name]
	return ok && matches(h, secret, body, digest)
}

func bare(secret, body []byte, value string) bool { return matches(sha256.New, secret, body, value) }

func matches(h func() hash.Hash, secret, body []byte, digest string) bool {
	got, err := hex.DecodeString(digest)
	if err != nil {
		return false
	}
	mac := hmac.New(h, secret)
	mac.Write(body)
	return hmac.Equal(got, mac.Sum(nil))
}
