package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
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

// findKubeconfig is the file that says which cluster is meant: the flag, else
// the environment, else the data directory's.
func (o *options) findKubeconfig() string {
	if o.kubeconfig != "" {
		return o.kubeconfig
	}
	if env := os.Getenv(clientcmd.RecommendedConfigPathEnvVar); env != "" {
		return env
	}
	return filepath.Join(o.dataDir, "kubeconfig")
}

// client speaks to the server's own paths under /headway/v1.
type client struct {
	config *rest.Config
	http   *http.Client
}

func (o *options) client() (*client, error) {
	path := o.findKubeconfig()
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
		&clientcmd.ClientConfigLoadingRules{Precedence: filepath.SplitList(path)}, nil).ClientConfig()
	if errors.Is(err, fs.ErrNotExist) || clientcmd.IsEmptyConfig(err) {
		return nil, fmt.Errorf("no kubeconfig at %s: start a cluster with `headway up`, or name one with --data-dir or --kubeconfig", path)
	}
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig %s: %w", path, err)
	}
	transport, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("use kubeconfig %s: %w", path, err)
	}
	return &client{config: config, http: transport}, nil
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
	if err := json.NewDecoder(io.LimitReader(response, maxAnswer)).Decode(answer); err != nil {
		return fmt.Errorf("%s %s: read the answer: %w", method, path, err)
	}
	return nil
}

// open sends a request and returns the body of a successful answer.
func (c *client) open(ctx context.Context, method, path string, body any) (io.ReadCloser, error) {
	var reader io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		reader = bytes.NewReader(data)
	}
	request, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(c.config.Host, "/")+path, reader)
	if err != nil {
		return nil, err
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, fmt.Errorf("the cluster at %s does not answer (is `headway up` running?): %w", c.config.Host, err)
	}
	if response.StatusCode >= http.StatusBadRequest {
		defer response.Body.Close()
		return nil, answerError(response)
	}
	return response.Body, nil
}

// answerError is the message of a refused request: the API's Status, or the
// text as it came.
func answerError(response *http.Response) error {
	data, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return fmt.Errorf("%s: %w", response.Status, err)
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
