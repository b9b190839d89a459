package nodetest

import (
	"io"
	"net/http"
	"testing"
	"time"
)

// Get requests a URL until the web server answers, and returns the body.
func Get(tb testing.TB, url string) string {
	tb.Helper()
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	var body string
	Eventually(tb, 15*time.Second, func() string {
		resp, err := client.Do(Request(tb, url))
		if err != nil {
			return err.Error()
		}
		defer resp.Body.Close()
		data, err := io.ReadAll(resp.Body)
		if err != nil {
			return err.Error()
		}
		body = string(data)
		return ""
	})
	return body
}

// Request is a GET of url that ends with the test.
func Request(tb testing.TB, url string) *http.Request {
	tb.Helper()
	req, err := http.NewRequestWithContext(tb.Context(), http.MethodGet, url, nil)
	if err != nil {
		tb.Fatal(err)
	}
	return req
}
