package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"headway.dev/manifests/model/scheme"
	"headway.dev/syncer/wire"
)

// maxAnswer bounds what a command reads of the server's answer.
const maxAnswer = 256 << 20

// FindKubeconfig returns the kubeconfig of the selected cluster: that of the
// flags (--kubeconfig before --data-dir), else the environment's, else that of
// the default data directory.
func (o *Options) FindKubeconfig() string {
	if o.Kubeconfig != "" {
		return o.Kubeconfig
	}
	if env := os.Getenv(clientcmd.RecommendedConfigPathEnvVar); env != "" && !o.dataDirGiven() {
		return env
	}
	return filepath.Join(o.DataDir, "kubeconfig")
}

// Client speaks to the server's own paths under /headway/v1.
type Client struct {
	config *rest.Config
	http   *http.Client
}

// forbidden reports whether a file may not be read by who runs this: the library's
// error no longer says so.
func forbidden(path string) bool {
	file, err := os.Open(path)
	if err == nil {
		_ = file.Close() // it was not even read
	}
	return errors.Is(err, fs.ErrPermission)
}

// Config returns how the selected cluster is reached.
func (o *Options) Config() (*rest.Config, error) {
	path := o.FindKubeconfig()
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
		&clientcmd.ClientConfigLoadingRules{Precedence: filepath.SplitList(path)}, nil).ClientConfig()
	switch {
	case errors.Is(err, fs.ErrNotExist) || clientcmd.IsEmptyConfig(err):
		return nil, fmt.Errorf("no kubeconfig at %s: start a cluster with `headway up`, or name one with --data-dir or --kubeconfig", path)
	case err != nil && forbidden(path):
		return nil, fmt.Errorf("kubeconfig %s is not yours to read: run it as root, or name one of your own with --kubeconfig (on the server `headway kubeconfig --user NAME` makes one)", path)
	case err != nil:
		return nil, fmt.Errorf("read kubeconfig %s: %w", path, err)
	}
	return config, nil
}

// Client returns a client of the selected cluster.
func (o *Options) Client() (*Client, error) {
	config, err := o.Config()
	if err != nil {
		return nil, err
	}
	c, err := NewClient(config)
	if err != nil {
		return nil, fmt.Errorf("use kubeconfig %s: %w", o.FindKubeconfig(), err)
	}
	return c, nil
}

// NewClient makes a client of a cluster.
func NewClient(config *rest.Config) (*Client, error) {
	transport, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	// The server redirects nowhere, and whoever else would gets no token.
	transport.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &Client{config: config, http: transport}, nil
}

// Call sends a request and decodes the JSON answer into answer, which may be
// nil.
func (c *Client) Call(ctx context.Context, method, path string, body, answer any) error {
	response, err := c.Open(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer response.Close()
	if answer == nil {
		return nil
	}
	limited := io.LimitReader(response, maxAnswer)
	if err := json.NewDecoder(limited).Decode(answer); err != nil {
		return fmt.Errorf("%s %s: read the answer: %w", method, path, err)
	}
	// To its end: the server takes an answer that nobody reads to the end for
	// a client that went away, and logs an error.
	_, _ = io.Copy(io.Discard, limited)
	return nil
}

// Patch sends a change of an object.
func (c *Client) Patch(ctx context.Context, path string, form types.PatchType, change any) error {
	response, err := c.send(ctx, http.MethodPatch, path, string(form), change)
	if err != nil {
		return err
	}
	defer response.Close()
	_, err = io.Copy(io.Discard, io.LimitReader(response, maxAnswer))
	return err
}

// Open sends a request and returns the body of a successful answer.
func (c *Client) Open(ctx context.Context, method, path string, body any) (io.ReadCloser, error) {
	return c.send(ctx, method, path, "application/json", body)
}

// send sends a request, and again where the server asks for that, for at most
// busyPatience: nothing came of it before.
func (c *Client) send(ctx context.Context, method, path, contentType string, body any) (io.ReadCloser, error) {
	var data []byte
	if body != nil {
		var err error
		if data, err = json.Marshal(body); err != nil {
			return nil, err
		}
	}
	for end := time.Now().Add(busyPatience); ; {
		response, err := c.try(ctx, method, path, contentType, data)
		if err != nil {
			return nil, err
		}
		if response.StatusCode < http.StatusMultipleChoices {
			return response.Body, nil
		}
		err = answerError(response)
		_ = response.Body.Close()
		wait, again := retryAfter(response)
		if !again || time.Now().Add(wait).After(end) {
			return nil, err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, err
		}
	}
}

// busyPatience bounds the time for which a request is repeated because the
// server has too much to do.
const busyPatience = 2 * time.Minute

// retryAfter is how long the server asks to wait before the same request is sent
// again, if it does because it has too much to do.
func retryAfter(response *http.Response) (time.Duration, bool) {
	seconds, err := strconv.Atoi(response.Header.Get("Retry-After"))
	return time.Duration(max(seconds, 1)) * time.Second, err == nil && response.StatusCode == http.StatusTooManyRequests
}

// try sends a request once; an empty body is none.
func (c *Client) try(ctx context.Context, method, path, contentType string, body []byte) (*http.Response, error) {
	var reader io.Reader
	if body != nil {
		reader = bytes.NewReader(body)
	}
	request, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(c.config.Host, "/")+path, reader)
	if err != nil {
		return nil, err
	}
	if body != nil {
		request.Header.Set("Content-Type", contentType)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, &unansweredError{c.config.Host, err}
	}
	return response, nil
}

// unansweredError is a request that reached no server.
type unansweredError struct {
	host string
	err  error
}

func (e *unansweredError) Error() string {
	return fmt.Sprintf("the cluster at %s does not answer (is `headway up` running?): %v", e.host, e.err)
}

func (e *unansweredError) Unwrap() error { return e.err }

// IsUnanswered reports whether a request reached no server.
func IsUnanswered(err error) bool { return errors.As(err, new(*unansweredError)) }

// RefusedError is a request that was refused, and changed nothing, because it
// cannot be met in the current state.
type RefusedError struct{ wire.RollbackRefusal }

// Error implements error.
func (e *RefusedError) Error() string { return e.Message }

// answerError is the message of a refused request: the API's Status, or the
// text as it came.
func answerError(response *http.Response) error {
	data, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return fmt.Errorf("%s: %w", response.Status, err)
	}
	if refused := (RefusedError{}); response.StatusCode == http.StatusConflict && json.Unmarshal(data, &refused.RollbackRefusal) == nil && refused.Message != "" {
		return &refused
	}
	var status metav1.Status
	if json.Unmarshal(data, &status) == nil && status.Message != "" {
		return &apierrors.StatusError{ErrStatus: status}
	}
	if text := strings.TrimSpace(string(data)); text != "" {
		return errors.New(text)
	}
	return errors.New(response.Status)
}

// Ask sends a question about one object.
func (o *Options) Ask(cmd *cobra.Command, path, object, namespace string, query url.Values, answer any) error {
	kind, name, err := ParseObject(object)
	if err != nil {
		return err
	}
	if query == nil {
		query = url.Values{}
	}
	query.Set("kind", kind)
	query.Set("name", name)
	if namespace != "" {
		query.Set("namespace", namespace)
	}
	client, err := o.Client()
	if err != nil {
		return err
	}
	return client.Call(cmd.Context(), http.MethodGet, "/headway/v1/"+path+"?"+query.Encode(), nil, answer)
}

// ParseObject reads KIND/NAME, with the kind as kubectl takes it. Others than Headway's
// own are left as they are: the server may have such custom resources, or says that it
// has not.
func ParseObject(arg string) (kind, name string, err error) {
	word, name, ok := strings.Cut(arg, "/")
	if !ok || word == "" || name == "" {
		return "", "", fmt.Errorf("%q is not KIND/NAME, such as deploy/hello", arg)
	}
	word = strings.ToLower(word)
	for _, k := range scheme.Kinds() {
		names := append([]string{strings.ToLower(k.Kind), k.Plural, k.Singular, k.Plural + "." + k.Group}, k.ShortNames...)
		if slices.Contains(names, word) {
			return k.Kind, name, nil
		}
	}
	return word, name, nil
}
