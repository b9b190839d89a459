package forge

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// maxPages bounds the comments that are looked through, 100 on each.
const maxPages = 50

// comment is one comment in every forge's API.
type comment struct {
	ID   int64  `json:"id"`
	Body string `json:"body"`
}

// Comment makes body the one comment on pull request n that begins with the
// marker, which is invisible: an existing comment is edited. The result reports
// whether a new one was created.
func (c *Client) Comment(ctx context.Context, n int, marker, body string) (created bool, err error) {
	if n <= 0 {
		return false, fmt.Errorf("pull request %d does not exist", n)
	}
	hidden := "<!-- " + strings.NewReplacer("--", "", ">", "", "<", "").Replace(marker) + " -->"
	body = hidden + "\n" + body
	list := fmt.Sprintf("%s/issues/%d/comments", c.project(), n)
	if c.kind == GitLab {
		list = fmt.Sprintf("%s/merge_requests/%d/notes", c.project(), n)
	}
	for page := 1; page <= maxPages; page++ {
		var found []comment
		at := list
		if c.kind != Gitea { // which lists all comments at once
			at = fmt.Sprintf("%s?per_page=100&page=%d", list, page)
		}
		if err := c.call(ctx, http.MethodGet, at, nil, &found); err != nil {
			return false, fmt.Errorf("list the comments: %w", err)
		}
		for _, one := range found {
			if !strings.HasPrefix(one.Body, hidden) {
				continue
			}
			if one.Body == body {
				return false, nil
			}
			err := c.edit(ctx, list, one.ID, body)
			if refused, ok := errors.AsType[*Error](err); ok && refused.Code == http.StatusForbidden {
				continue // somebody else copied the marker
			}
			return false, err
		}
		if c.kind == Gitea || len(found) < 100 {
			break
		}
	}
	if err := c.call(ctx, http.MethodPost, list, map[string]string{"body": body}, nil); err != nil {
		return false, fmt.Errorf("write the comment: %w", err)
	}
	return true, nil
}

func (c *Client) edit(ctx context.Context, list string, id int64, body string) error {
	method, path := http.MethodPatch, fmt.Sprintf("%s/issues/comments/%d", c.project(), id)
	if c.kind == GitLab {
		method, path = http.MethodPut, fmt.Sprintf("%s/%d", list, id)
	}
	if err := c.call(ctx, method, path, map[string]string{"body": body}, nil); err != nil {
		return fmt.Errorf("edit comment %d: %w", id, err)
	}
	return nil
}
