package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"headway.dev/syncer/wire"
)

// maxAnswer bounds what a command reads of the server's answer.
const maxAnswer = 256 << 20

// cutFlag splits --name=value.
func cutFlag(arg string) (name, value string, hasValue bool) {
	trimmed, ok := strings.CutPrefix(arg, "--")
	if !ok {
		return "", "", false
	}
	return cut(trimmed)
}

func cut(s string) (string, string, bool) { return strings.Cut(s, "=") }

// findKubeconfig is the file that says which cluster is meant: that of the
// flags, --kubeconfig before --data-dir, else the environment's, else that of
// the default data directory.
func (o *options) findKubeconfig() string {
	if o.kubeconfig != "" {
		return o.kubeconfig
	}
	if env := os.Getenv(clientcmd.RecommendedConfigPathEnvVar); env != "" && !o.dataDirGiven() {
		return env
	}
	return filepath.Join(o.dataDir, "kubeconfig")
}

// client speaks to the server's own paths under /headway/v1.
type client struct {
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

func (o *options) client() (*client, error) {
	path := o.findKubeconfig()
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
		&clientcmd.ClientConfigLoadingRules{Precedence: filepath.SplitList(path)}, nil).ClientConfig()
	if errors.Is(err, fs.ErrNotExist) || clientcmd.IsEmptyConfig(err) {
		return nil, fmt.Errorf("no kubeconfig at %s: start a cluster with `headway up`, or name one with --data-dir or --kubeconfig", path)
	}
	if err != nil && forbidden(path) {
		return nil, fmt.Errorf("kubeconfig %s is not yours to read: run it as root, or name one of your own with --kubeconfig (on the server `headway kubeconfig --user NAME` makes one)", path)
	}
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig %s: %w", path, err)
	}
	c, err := newServerClient(config)
	if err != nil {
		return nil, fmt.Errorf("use kubeconfig %s: %w", path, err)
	}
	return c, nil
}

func newServerClient(config *rest.Config) (*client, error) {
	transport, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	// The server redirects nowhere, and whoever else would gets no token.
	transport.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &client{config: config, http: transport}, nil
}

// tokenEnv holds the token of a command that names its server, so that it does
// not show in the list of processes.
const tokenEnv = "HEADWAY_TOKEN"

// remote are the flags of a command that does without a kubeconfig.
type remote struct{ server, token, ca string }

func (r *remote) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&r.server, "server", "", "URL of the cluster's API, instead of a kubeconfig")
	cmd.Flags().StringVar(&r.token, "token", "", "bearer token for --server (default: "+tokenEnv+")")
	cmd.Flags().StringVar(&r.ca, "certificate-authority", "", "file with the certificate to trust for --server")
}

// client is the client of --server, or else of the kubeconfig.
func (r *remote) client(opts *options) (*client, error) {
	if r.server == "" {
		if r.token != "" || r.ca != "" {
			return nil, errors.New("--token and --certificate-authority need --server")
		}
		return opts.client()
	}
	token := cmp.Or(r.token, os.Getenv(tokenEnv))
	switch {
	case !strings.HasPrefix(r.server, "https://"):
		return nil, fmt.Errorf("--server %q is not an https URL: a token must not be sent in the clear", r.server)
	case token == "":
		return nil, fmt.Errorf("--server needs a token: give --token, or set %s", tokenEnv)
	}
	c, err := newServerClient(&rest.Config{Host: r.server, BearerToken: token, TLSClientConfig: rest.TLSClientConfig{CAFile: r.ca}})
	if err != nil {
		return nil, fmt.Errorf("--server: %w", err)
	}
	return c, nil
}

// call sends a request and decodes the JSON answer into answer, which may be
// nil.
func (c *client) call(ctx context.Context, method, path string, body, answer any) error {
	response, err := c.open(ctx, method, path, body)
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

// patch sends a change of an object.
func (c *client) patch(ctx context.Context, path string, form types.PatchType, change any) error {
	response, err := c.send(ctx, http.MethodPatch, path, string(form), change)
	if err != nil {
		return err
	}
	defer response.Close()
	_, err = io.Copy(io.Discard, io.LimitReader(response, maxAnswer))
	return err
}

// open sends a request and returns the body of a successful answer.
func (c *client) open(ctx context.Context, method, path string, body any) (io.ReadCloser, error) {
	return c.send(ctx, method, path, "application/json", body)
}

// send sends a request, and again where the server asks for that, for at most
// busyPatience: nothing came of it before.
func (c *client) send(ctx context.Context, method, path, contentType string, body any) (io.ReadCloser, error) {
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
func (c *client) try(ctx context.Context, method, path, contentType string, body []byte) (*http.Response, error) {
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

func isUnanswered(err error) bool { return errors.As(err, new(*unansweredError)) }

// refusedError is a request that nothing came of, because it cannot be met as
// things are.
type refusedError struct{ wire.RollbackRefusal }

func (e *refusedError) Error() string { return e.Message }

// answerError is the message of a refused request: the API's Status, or the
// text as it came.
func answerError(response *http.Response) error {
	data, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return fmt.Errorf("%s: %w", response.Status, err)
	}
	if refused := (refusedError{}); response.StatusCode == http.StatusConflict && json.Unmarshal(data, &refused.RollbackRefusal) == nil && refused.Message != "" {
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
