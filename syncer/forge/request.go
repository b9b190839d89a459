package forge

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// maxAnswer bounds what is read of an answer: a page of comments.
const maxAnswer = 16 << 20

// Error is a forge's refusal.
type Error struct {
	// Code is the HTTP status; 0 means that there was no answer.
	Code int
	// RetryAfter is how long the forge asks to wait, or 0.
	RetryAfter time.Duration
	limited    bool
	message    string
}

func (e *Error) Error() string { return e.message }

// Temporary reports whether the same request may succeed later.
func (e *Error) Temporary() bool {
	return e.Code == 0 || e.Code >= http.StatusInternalServerError || e.Code == http.StatusTooManyRequests || e.limited
}

// call sends a request and decodes a successful answer into answer, which may
// be nil.
func (c *Client) call(ctx context.Context, method, path string, body, answer any) error {
	var reader io.Reader = http.NoBody
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return err
		}
		reader = bytes.NewReader(data)
	}
	request, err := http.NewRequestWithContext(ctx, method, c.base+path, reader)
	if err != nil {
		return fmt.Errorf("%s at the forge: invalid address", method)
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	request.Header.Set("User-Agent", "headway")
	switch c.kind {
	case GitHub:
		request.Header.Set("Accept", "application/vnd.github+json")
		request.Header.Set("X-GitHub-Api-Version", "2022-11-28")
		request.Header.Set("Authorization", "Bearer "+c.token)
	case GitLab:
		request.Header.Set("Accept", "application/json")
		request.Header.Set("PRIVATE-TOKEN", c.token)
	case Gitea:
		request.Header.Set("Accept", "application/json")
		request.Header.Set("Authorization", "token "+c.token)
	}
	response, err := c.http.Do(request)
	if err != nil {
		if inner, ok := errors.AsType[*url.Error](err); ok {
			err = inner.Err
		}
		return &Error{message: c.scrub(fmt.Sprintf("%s does not answer: %v", request.URL.Host, err))}
	}
	defer response.Body.Close()
	data, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	switch {
	case err != nil:
		return &Error{message: c.scrub(fmt.Sprintf("read the answer of %s: %v", request.URL.Host, err))}
	case len(data) > maxAnswer:
		return fmt.Errorf("the answer of %s is larger than %d bytes", request.URL.Host, maxAnswer)
	case response.StatusCode < 200 || response.StatusCode > 299:
		return c.refusal(request, response, data)
	case answer == nil:
		return nil
	}
	if err := json.Unmarshal(data, answer); err != nil {
		return fmt.Errorf("%s answers %s %s with something else than JSON", request.URL.Host, method, request.URL.Path)
	}
	return nil
}

// refusal makes an error of an answer.
func (c *Client) refusal(request *http.Request, response *http.Response, data []byte) error {
	e := &Error{Code: response.StatusCode, RetryAfter: retryAfter(response.Header)}
	e.limited = e.Code == http.StatusForbidden && (e.RetryAfter > 0 || response.Header.Get("X-RateLimit-Remaining") == "0")
	hint := ""
	switch {
	case e.Code >= 300 && e.Code < 400:
		hint = " to another address; redirects are not followed: name the API's own with the key 'address' of the secret"
	case e.Code == http.StatusUnauthorized, e.Code == http.StatusForbidden && !e.limited:
		hint = "; check the token and its rights"
	case e.Code == http.StatusNotFound:
		hint = "; check the repository's URL, and that the token may see it"
	}
	var said struct {
		Message json.RawMessage `json:"message"`
	}
	words := ""
	if json.Unmarshal(data, &said) == nil && len(said.Message) > 0 {
		words = ": " + shorten(string(said.Message), 200)
	}
	e.message = c.scrub(fmt.Sprintf("%s %s%s answers %s%s%s", request.Method, request.URL.Host, request.URL.Path, response.Status, words, hint))
	return e
}

// scrub keeps the token out of a text, whoever put it there.
func (c *Client) scrub(text string) string {
	return strings.ReplaceAll(text, c.token, "***")
}

// retryAfter reads how long to wait, at most an hour: of Retry-After, or of
// GitHub's time at which the quota is filled again.
func retryAfter(h http.Header) time.Duration {
	const most = time.Hour
	if n, err := strconv.Atoi(h.Get("Retry-After")); err == nil && n > 0 {
		return min(time.Duration(min(n, 3600))*time.Second, most)
	}
	if at, err := http.ParseTime(h.Get("Retry-After")); err == nil {
		return max(0, min(time.Until(at), most))
	}
	if at, err := strconv.ParseInt(h.Get("X-RateLimit-Reset"), 10, 64); err == nil && h.Get("X-RateLimit-Remaining") == "0" {
		return max(0, min(time.Until(time.Unix(at, 0)), most))
	}
	return 0
}

// shorten cuts a text to n characters.
func shorten(text string, n int) string {
	text = strings.ToValidUTF8(text, "�")
	if runes := []rune(text); len(runes) > n {
		return string(runes[:n-1]) + "…"
	}
	return text
}

// project is the repository in the API's paths.
func (c *Client) project() string {
	if c.kind == GitLab {
		return "/projects/" + url.PathEscape(strings.Join(c.path, "/"))
	}
	return "/repos/" + url.PathEscape(c.path[0]) + "/" + url.PathEscape(c.path[1])
}

// Address is where the repository is in the forge's API.
func (c *Client) Address() string { return c.base + c.project() }
