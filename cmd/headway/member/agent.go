package member

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"

	"headway.dev/cmd/headway/datadir"
	"headway.dev/engine"
	"headway.dev/manifests/nodeconfig"
	"headway.dev/nodes/join"
)

// KubeletPort is the kubelet's, where other programs look for a node's server.
const KubeletPort = 10250

// apiPort is the API's, where a server's URL names none.
const apiPort = "6443"

// Agent are the flags of `headway agent`, and where it prints.
type Agent struct {
	Options
	DataDir       string
	Server, Token string
	// TokenFile holds the token; "-": In does.
	TokenFile string
	In        io.Reader
	Hashes    []string
	Verbose   bool
	// Version is that of the program, which may not differ much from the server's.
	Version  string
	Out, Err io.Writer
}

// AddFlags adds the flags, and sets their defaults.
func (a *Agent) AddFlags(flags *pflag.FlagSet) {
	flags.StringVar(&a.Server, "server", "", "URL of the server's API, for example https://10.0.0.1:6443")
	flags.StringVar(&a.Token, "token", "", "bootstrap token to join by, as `headway token create` prints it; not needed once the machine has joined")
	flags.StringVar(&a.TokenFile, "token-file", "", "file that holds the token, or - for standard input: other users of the machine see what is in a command line")
	flags.StringSliceVar(&a.Hashes, "ca-hash", nil, "hash of the key of the cluster's authority, sha256:…, as `headway token create` prints it (repeatable)")
	flags.BoolVarP(&a.Verbose, "verbose", "v", false, "log what the components do to standard error")
	a.Options.AddFlags(flags, KubeletPort)
}

// serverURL is the URL that a flag means.
func serverURL(flag string) (string, error) {
	if flag == "" {
		return "", errors.New("--server: name the server's API, for example https://10.0.0.1:6443")
	}
	if !strings.Contains(flag, "://") {
		flag = "https://" + flag
	}
	u, err := url.Parse(flag)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.User != nil {
		return "", fmt.Errorf("--server %q is no URL of an API such as https://10.0.0.1:6443", flag)
	}
	if u.Port() == "" {
		u.Host = net.JoinHostPort(u.Hostname(), apiPort)
	}
	return "https://" + u.Host, nil
}

// mostToken is more than a token is long, with what editors add to it.
const mostToken = 1 << 10

// readToken takes the token from where --token-file says.
func (a *Agent) readToken() error {
	if a.TokenFile == "" {
		return nil
	}
	if a.Token != "" {
		return errors.New("--token and --token-file: give one of them")
	}
	from := a.In
	if a.TokenFile != "-" {
		file, err := os.Open(a.TokenFile)
		if err != nil {
			return fmt.Errorf("--token-file: %w", err)
		}
		defer file.Close()
		from = file
	}
	data, err := io.ReadAll(io.LimitReader(from, mostToken))
	if err != nil {
		return fmt.Errorf("--token-file: %w", err)
	}
	if a.Token = strings.TrimSpace(string(data)); a.Token == "" {
		return fmt.Errorf("--token-file: there is no token in %s", a.TokenFile)
	}
	return nil
}

// Run joins the cluster, and runs this machine's part of it until ctx ends.
func (a *Agent) Run(ctx context.Context) error {
	server, err := serverURL(a.Server)
	if err != nil {
		return err
	}
	if err := a.readToken(); err != nil {
		return err
	}
	if a.Token != "" && len(a.Hashes) == 0 {
		return errors.New("--token needs --ca-hash, too: without it anybody could answer in the server's place; `headway token create` prints both")
	}
	for _, hash := range a.Hashes {
		if err := join.CheckHash(hash); err != nil {
			return fmt.Errorf("--ca-hash: %w", err)
		}
	}
	dir, err := filepath.Abs(a.DataDir)
	if err != nil {
		return fmt.Errorf("--data-dir: %w", err)
	}
	cfg, err := a.Config(dir)
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("agent needs root: containers, networks and cgroups cannot be made without it; run it with sudo")
	}
	cfg.Log = NewLog(a.Err, a.Verbose)
	Libraries(cfg.Log)
	return a.run(ctx, cfg, server)
}

func (a *Agent) run(ctx context.Context, cfg Config, server string) (err error) {
	if err := datadir.CheckNew(cfg.DataDir); err != nil {
		return err
	}
	unlock, err := datadir.Lock(cfg.DataDir)
	if err != nil {
		return err
	}
	defer unlock()
	for _, file := range []string{engine.StoreFile, filepath.Join("pki", "ca.key")} {
		if !datadir.Missing(filepath.Join(cfg.DataDir, file)) {
			return fmt.Errorf("%s holds a cluster of its own (%s): remove it with `headway cleanup`, or give --data-dir a directory for this node", cfg.DataDir, file)
		}
	}
	if err := ClaimNetwork(cfg); err != nil {
		return err
	}
	a.tell("node %s joins the cluster at %s", cfg.Name, server)
	node, err := join.Join(ctx, join.Config{
		Server: server, Token: a.Token, Hashes: a.Hashes, NodeName: cfg.Name,
		Dir: filepath.Join(cfg.DataDir, "pki"), Log: cfg.Log.With("part", "join"),
	})
	if err != nil {
		return err
	}
	settings, err := node.Settings(ctx)
	if err != nil {
		return err
	}
	if err := nodeconfig.Skew(settings.Version, a.Version); err != nil {
		return err
	}
	if err := cfg.Join(settings); err != nil {
		return err
	}
	serving, err := node.Serving(net.IP(cfg.IP.AsSlice()))
	if err != nil {
		return err
	}
	m := &Member{
		Config: cfg,
		API:    node.Config(),
		Remote: true,
		Streaming: &tls.Config{
			GetCertificate: serving.Get,
			ClientAuth:     tls.RequireAndVerifyClientCert,
			ClientCAs:      node.Authorities(),
			MinVersion:     tls.VersionTLS12,
		},
		Warn:   a.tell,
		Looked: func() { a.tell("node %s is in the cluster; pods that are bound to it run here", cfg.Name) },
	}
	if err := m.Open(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	held, err := datadir.Hold(cfg.DataDir)
	if err != nil {
		return err
	}
	parts := append(m.Parts(), Background(held)...)
	parts = append(parts,
		Part{Name: "renewal of the node's certificate", Run: node.Renew, Again: true},
		Part{Name: "serving certificate of the node", Run: serving.Run, Again: true},
	)
	if err := RunParts(ctx, parts...); err != nil {
		return err
	}
	a.tell("stopped; containers keep running, and the next start adopts them")
	return nil
}

func (a *Agent) tell(format string, args ...any) {
	fmt.Fprintf(a.Out, "headway: "+format+"\n", args...)
}
