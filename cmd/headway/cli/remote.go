package cli

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/client-go/rest"
)

// tokenEnv holds the token of a command that names its server, so that it does
// not show in the list of processes.
const tokenEnv = "HEADWAY_TOKEN"

// Remote holds the flags of a command that can work without a kubeconfig.
type Remote struct{ server, token, ca string }

// Register adds the flags to a command.
func (r *Remote) Register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&r.server, "server", "", "URL of the cluster's API, instead of a kubeconfig")
	cmd.Flags().StringVar(&r.token, "token", "", "bearer token for --server (default: "+tokenEnv+")")
	cmd.Flags().StringVar(&r.ca, "certificate-authority", "", "file with the certificate to trust for --server")
}

// Client returns the client of --server, or else of the kubeconfig.
func (r *Remote) Client(opts *Options) (*Client, error) {
	if r.server == "" {
		if r.token != "" || r.ca != "" {
			return nil, errors.New("--token and --certificate-authority need --server")
		}
		return opts.Client()
	}
	token := cmp.Or(r.token, os.Getenv(tokenEnv))
	switch {
	case !strings.HasPrefix(r.server, "https://"):
		return nil, fmt.Errorf("--server %q is not an https URL: a token must not be sent in the clear", r.server)
	case token == "":
		return nil, fmt.Errorf("--server needs a token: give --token, or set %s", tokenEnv)
	}
	c, err := NewClient(&rest.Config{Host: r.server, BearerToken: token, TLSClientConfig: rest.TLSClientConfig{CAFile: r.ca}})
	if err != nil {
		return nil, fmt.Errorf("--server: %w", err)
	}
	return c, nil
}
