package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/tools/clientcmd"

	"headway.dev/cmd/headway/cli"
	"headway.dev/engine/pki"
)

const (
	defaultAccess = 30 * 24 * time.Hour
	maxAccess     = 365 * 24 * time.Hour
)

// accessOptions are whom to give access, as the flags of `headway kubeconfig` have it.
type accessOptions struct {
	user, namespace, server, file string
	groups                        []string
	lifetime                      time.Duration
}

func newKubeconfig(opts *cli.Options) *cobra.Command {
	var access accessOptions
	cmd := &cobra.Command{
		Use:   "kubeconfig --user NAME",
		Short: "Make a kubeconfig for a person, with a certificate of their own",
		Long: `Kubeconfig makes a client certificate for a person, and prints a kubeconfig with
the certificate, the cluster's address and its authority. The user has the rights
that RoleBindings and ClusterRoleBindings give to the name and its groups, and no
others: the certificate alone allows nothing. It expires after --lifetime and cannot
be revoked before; remove the bindings instead.

The command reads the authority's key in the data directory, so run it as root on
the server's machine. Anyone who has the file is that user: send it like a password.

Exit code 0: it was made. 1: something failed.`,
		Example: `  headway kubeconfig --user ada --group web-team --server https://cluster.example.com:6443 > ada.kubeconfig
  headway kubectl create rolebinding ada -n web --clusterrole=edit --user=ada
  headway kubectl create rolebinding web-team -n web --clusterrole=view --group=web-team`,
		Args: cli.Takes(0, 0),
		RunE: func(*cobra.Command, []string) error { return access.make(opts) },
	}
	flags := cmd.Flags()
	flags.StringVar(&access.user, "user", "", "name of the user")
	flags.StringSliceVar(&access.groups, "group", nil, "group that the user is in (repeatable)")
	flags.DurationVar(&access.lifetime, "lifetime", defaultAccess, "how long the certificate is valid, at most 8760h")
	flags.StringVar(&access.server, "server", "", "URL at which the user reaches the API (default: that of <data-dir>/kubeconfig)")
	flags.StringVarP(&access.namespace, "namespace", "n", "", "namespace that kubectl uses by default")
	flags.StringVarP(&access.file, "file", "f", "", "file to write, readable only by its owner; - is standard output (default: standard output)")
	return cmd
}

func (a *accessOptions) make(opts *cli.Options) error {
	if a.file == "-" {
		a.file = ""
	}
	if err := a.check(); err != nil {
		return err
	}
	dir, err := filepath.Abs(opts.DataDir)
	if err != nil {
		return fmt.Errorf("--data-dir: %w", err)
	}
	set, err := pki.Load(filepath.Join(dir, "pki"))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("no cluster in %s: start one with `headway up`, or name its --data-dir on its machine", dir)
	}
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("kubeconfig needs root: the authority's key in %s is readable by nobody else; run it with sudo", dir)
	}
	if err != nil {
		return fmt.Errorf("read the certificate authority: %w", err)
	}
	if a.server == "" {
		config, err := clientcmd.BuildConfigFromFlags("", filepath.Join(dir, "kubeconfig"))
		if err != nil {
			return fmt.Errorf("find the API's address: %w; give --server", err)
		}
		a.server = config.Host
		if loopback(a.server) {
			fmt.Fprintf(opts.Err, "warning: %s is an address of this machine only: give --server for a user elsewhere\n", a.server)
		}
	}
	at, err := url.Parse(a.server)
	if err != nil || at.Scheme != "https" || at.Hostname() == "" {
		return fmt.Errorf("--server %q is not a URL such as https://cluster.example.com:6443", a.server)
	}
	if !set.Serves(at.Hostname()) {
		return fmt.Errorf("--server: the API's certificate is not for %s: start `headway up` with --tls-san %s", at.Hostname(), at.Hostname())
	}
	certificate, key, err := set.ClientFor(a.lifetime, a.user, a.groups...)
	if err != nil {
		return err
	}
	as := pki.Credentials{User: a.user, CertPEM: certificate, KeyPEM: key, DefaultNamespace: a.namespace}
	if a.file != "" {
		return pki.WriteKubeconfig(a.file, a.server, set.CACert, as)
	}
	data, err := pki.Kubeconfig(a.server, set.CACert, as)
	if err != nil {
		return err
	}
	_, err = opts.Out.Write(data)
	return err
}

// loopback reports whether a server's URL leads to the machine that asks.
func loopback(server string) bool {
	at, err := url.Parse(server)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(at.Hostname())
	return at.Hostname() == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// check refuses what would be more than a person: the names that Kubernetes
// keeps for its own parts have rights that no binding shows.
func (a *accessOptions) check() error {
	if a.user == "" {
		return errors.New("--user is missing: whose kubeconfig is it?")
	}
	for _, given := range append([]string{a.user}, a.groups...) {
		switch {
		case strings.TrimSpace(given) != given || given == "" || strings.ContainsFunc(given, func(r rune) bool { return r < ' ' }):
			return fmt.Errorf("%q is not a name", given)
		case strings.HasPrefix(given, "system:"):
			return fmt.Errorf("%q is a name of the cluster's own parts: bind a ClusterRole, such as cluster-admin, to a name of yours", given)
		}
	}
	// The file is replaced at once, by its name: a link or a device would be
	// gone, and what it leads to would not be written.
	if info, err := os.Lstat(a.file); a.file != "" && err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("--file %s is not a regular file: give another name, or - for standard output", a.file)
	}
	if a.lifetime < time.Minute || a.lifetime > maxAccess {
		return fmt.Errorf("--lifetime %s is not between 1m and %dh", a.lifetime, int(maxAccess.Hours()))
	}
	return nil
}
