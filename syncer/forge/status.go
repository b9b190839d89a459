package forge

import (
	"context"
	"errors"
	"net/http"
	"regexp"
	"strings"
)

// maxDescription is what GitHub takes, in characters; the others take more.
const maxDescription = 140

var fullHash = regexp.MustCompile(`^[0-9a-f]{40}([0-9a-f]{24})?$`)

// words are the states as the forges call them.
var words = map[Kind]map[State]string{
	GitHub: {Pending: "pending", Running: "pending", Success: "success", Failure: "failure", Canceled: "error"},
	GitLab: {Pending: "pending", Running: "running", Success: "success", Failure: "failed", Canceled: "canceled"},
	Gitea:  {Pending: "pending", Running: "pending", Success: "success", Failure: "failure", Canceled: "error"},
}

// SetStatus sets a commit's status under st.Context.
func (c *Client) SetStatus(ctx context.Context, sha string, st Status) error {
	if !fullHash.MatchString(sha) {
		return errors.New("a status needs the whole hash of a commit")
	}
	body := map[string]string{
		"state":       words[c.kind][st.State],
		"description": shorten(strings.Join(strings.Fields(st.Description), " "), maxDescription),
	}
	if st.Link != "" {
		body["target_url"] = st.Link
	}
	body[map[Kind]string{GitHub: "context", GitLab: "name", Gitea: "context"}[c.kind]] = st.Context
	err := c.call(ctx, http.MethodPost, c.project()+"/statuses/"+sha, body, nil)
	if refused, ok := errors.AsType[*Error](err); ok && c.kind == GitLab && refused.Code == http.StatusBadRequest && strings.Contains(refused.message, "Cannot transition status") {
		return nil // it is in this state already
	}
	return err
}
