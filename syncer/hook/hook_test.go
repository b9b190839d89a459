package hook_test

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"hash"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"headway.dev/syncer/hook"
)

func mac(h func() hash.Hash, secret, body string) string {
	m := hmac.New(h, []byte(secret))
	m.Write([]byte(body))
	return hex.EncodeToString(m.Sum(nil))
}

func TestVerify(t *testing.T) {
	const body, secret = `{"ref":"refs/heads/main"}`, "s3cret"
	good := mac(sha256.New, secret, body)
	for _, c := range []struct {
		name, header, value string
		want                bool
	}{
		{"GitHub", "X-Hub-Signature-256", "sha256=" + good, true},
		{"GitHub, digest of another hash", "X-Hub-Signature-256", "sha1=" + mac(sha1.New, secret, body), false},
		{"GitHub, without the hash's name", "X-Hub-Signature-256", good, false},
		{"GitHub, another secret", "X-Hub-Signature-256", "sha256=" + mac(sha256.New, "other", body), false},
		{"GitHub, another body", "X-Hub-Signature-256", "sha256=" + mac(sha256.New, secret, body+" "), false},
		{"GitHub, cut short", "X-Hub-Signature-256", "sha256=" + good[:32], false},
		{"GitHub, an odd number of digits", "X-Hub-Signature-256", "sha256=" + good[:63], false},
		{"GitHub, nothing", "X-Hub-Signature-256", "", false},
		{"GitLab", "X-Gitlab-Token", secret, true},
		{"GitLab, a prefix", "X-Gitlab-Token", secret[:5], false},
		{"GitLab, nothing", "X-Gitlab-Token", "", false},
		{"Gitea", "X-Gitea-Signature", good, true},
		{"Gitea, wrong", "X-Gitea-Signature", strings.Repeat("0", 64), false},
		{"Forgejo", "X-Forgejo-Signature", good, true},
		{"Bitbucket", "X-Hub-Signature", "sha256=" + good, true},
		{"Bitbucket, wrong", "X-Hub-Signature", "sha256=" + strings.Repeat("0", 64), false},
		{"generic, sha1", "X-Signature", "sha1=" + mac(sha1.New, secret, body), true},
		{"generic, sha256", "X-Signature", "sha256=" + good, true},
		{"generic, sha512", "X-Signature", "sha512=" + mac(sha512.New, secret, body), true},
		{"generic, unknown hash", "X-Signature", "md5=" + good, false},
		{"no proof", "Authorization", "Bearer " + secret, false},
	} {
		header := http.Header{}
		header.Set(c.header, c.value)
		if got := hook.Verify(header, []byte(body), []byte(secret)); got != c.want {
			t.Errorf("%s: Verify = %v, want %v", c.name, got, c.want)
		}
	}
	twice := http.Header{"X-Signature": {"sha256=" + good, "sha256=" + good}}
	if hook.Verify(twice, []byte(body), []byte(secret)) {
		t.Error("a header that is there twice was accepted")
	}
	// A weaker proof does not stand in for a stronger one that is wrong.
	both := http.Header{"X-Hub-Signature-256": {"sha256=" + strings.Repeat("0", 64)}, "X-Hub-Signature": {"sha1=" + mac(sha1.New, secret, body)}}
	if hook.Verify(both, []byte(body), []byte(secret)) {
		t.Error("the older header was accepted where the newer one is wrong")
	}
	empty := http.Header{"X-Gitlab-Token": {""}, "X-Signature": {"sha256=" + mac(sha256.New, "", body)}}
	if hook.Verify(empty, []byte(body), nil) {
		t.Error("an empty secret was accepted")
	}
}

func TestRead(t *testing.T) {
	for _, c := range []struct {
		name, header, body string
		want               hook.Push
	}{
		{"GitHub, GitLab, Gitea", "", `{"ref":"refs/heads/main","before":"1"}`, hook.Push{Refs: []string{"refs/heads/main"}}},
		{"GitHub's ping", "X-GitHub-Event=ping", `{"zen":"x"}`, hook.Push{Ping: true}},
		{"GitHub as a form", "Content-Type=application/x-www-form-urlencoded", "payload=" + url.QueryEscape(`{"ref":"refs/tags/v1"}`), hook.Push{Refs: []string{"refs/tags/v1"}}},
		{"Bitbucket Server", "", `{"changes":[{"ref":{"id":"refs/heads/a"}},{"ref":{"id":"refs/heads/b"}}]}`, hook.Push{Refs: []string{"refs/heads/a", "refs/heads/b"}}},
		{"Bitbucket Cloud", "", `{"push":{"changes":[{"new":{"type":"branch","name":"main"}},{"new":null,"old":{"type":"tag","name":"v1"}}]}}`, hook.Push{Refs: []string{"refs/heads/main", "refs/tags/v1"}}},
		{"something else", "", `{"ref":"main"}`, hook.Push{}},
		{"no JSON", "", `hello`, hook.Push{}},
	} {
		header := http.Header{}
		if name, value, found := strings.Cut(c.header, "="); found {
			header.Set(name, value)
		}
		if diff := cmp.Diff(c.want, hook.Read(header, []byte(c.body))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

// Nobody who does not know the secret is let in, and no body of one who does
// makes trouble.
func FuzzWebhook(f *testing.F) {
	f.Add("X-Hub-Signature-256", "sha256=00", []byte(`{"ref":"refs/heads/main"}`))
	f.Add("X-Gitlab-Token", "x", []byte(`{"push":{"changes":[{"new":{"type":"branch"}}]}}`))
	f.Add("X-Signature", "sha1==", []byte(`{"changes":[{"ref":null}]}`))
	f.Add("Content-Type", "application/x-www-form-urlencoded", []byte(`payload=%zz`))
	f.Fuzz(func(t *testing.T, name, value string, body []byte) {
		header := http.Header{}
		header.Set(name, value)
		if hook.Verify(header, body, []byte("6f2a1d1c7a5e4d0f")) {
			t.Errorf("%s: %q was accepted", name, value)
		}
		for _, ref := range hook.Read(header, body).Refs {
			if !strings.HasPrefix(ref, "refs/") {
				t.Errorf("reference %q", ref)
			}
		}
	})
}
