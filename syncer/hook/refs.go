package hook

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
)

// Push is the content of a verified webhook.
type Push struct {
	// Ping reports that the webhook is only a test whether the server is
	// reachable.
	Ping bool
	// Refs are the full names of the references that were pushed. None means
	// that the body does not name any.
	Refs []string
}

// payload has the fields in which servers name references: ref GitHub, GitLab,
// Gitea and Forgejo, changes Bitbucket Server, push Bitbucket Cloud.
type payload struct {
	Ref     string `json:"ref"`
	Changes []struct {
		Ref struct {
			ID string `json:"id"`
		} `json:"ref"`
	} `json:"changes"`
	Push struct {
		Changes []struct {
			New, Old *target
		} `json:"changes"`
	} `json:"push"`
}

type target struct {
	Type string `json:"type"`
	Name string `json:"name"`
}

// Read reads a webhook whose sender was verified. A body that it does not
// understand counts as a push of any reference.
func Read(header http.Header, body []byte) Push {
	p := Push{Ping: header.Get("X-GitHub-Event") == "ping" || header.Get("X-Event-Key") == "diagnostics:ping"}
	if strings.HasPrefix(header.Get("Content-Type"), "application/x-www-form-urlencoded") {
		form, err := url.ParseQuery(string(body))
		if err != nil {
			return p
		}
		body = []byte(form.Get("payload"))
	}
	var in payload
	if json.Unmarshal(body, &in) != nil {
		return p
	}
	add := func(ref string) {
		if strings.HasPrefix(ref, "refs/") {
			p.Refs = append(p.Refs, ref)
		}
	}
	add(in.Ref)
	for _, c := range in.Changes {
		add(c.Ref.ID)
	}
	for _, c := range in.Push.Changes {
		for _, t := range []*target{c.New, c.Old} {
			switch {
			case t == nil:
			case t.Type == "branch":
				add("refs/heads/" + t.Name)
			case t.Type == "tag":
				add("refs/tags/" + t.Name)
			}
		}
	}
	return p
}
