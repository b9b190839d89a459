package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/resource"

	"headway.dev/nodes"
	"headway.dev/syncer"
	"headway.dev/syncer/egress"
	"headway.dev/syncer/git"
)

// upOptions are the flags of `headway up`.
type upOptions struct {
	*options
	repo, branch, path string
	interval, settle   time.Duration
	nodeName           string
	nodeIP             string
	listen             string
	clusterCIDR        string
	serviceCIDR        string
	containerd         string
	imagesDir          string
	cgroupRoot         string
	evictionHard       string
	podMaxPids         int64
	controllers        []string
	nodeGrace          time.Duration
	tokenAuthFile      string
	tlsSANs            []string
	podSecurity        string
	newStore           bool
	// What follows is Flux's lockdown for clusters with several tenants.
	defaultServiceAccount string
	noCrossNamespaceRefs  bool
	journalEntries        int
	gitMaxFetch           string
	gitMaxObjects         int64
	gitSigningKey         string
	denyAddresses         []string
	verbose               bool
}

func newUp(opts *options) *cobra.Command {
	up := &upOptions{options: opts}
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Run a cluster on this machine, in the foreground",
		Long: `Up runs the server and the agent on this machine and makes the cluster follow a
branch of a Git repository. Without --repo it creates a bare repository in the
data directory from an example, and prints how to clone it.

Ctrl-C stops it. Containers keep running, and the next start adopts them.
Run it as root: containers, networks and cgroups need it.`,
		Example: `  headway up
  headway up --repo /srv/git/deploy.git --path clusters/prod
  headway up --repo https://git.example.com/team/deploy --branch main --interval 30s`,
		Args: takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := up.config()
			if err != nil {
				return err
			}
			return runUp(cmd.Context(), cfg)
		},
	}
	up.addFlags(cmd)
	return cmd
}

// addFlags adds the flags, and sets their defaults.
func (up *upOptions) addFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&up.repo, "repo", "", "URL or path of the Git repository (default: one made in the data dir from the example)")
	flags.StringVar(&up.branch, "branch", "main", "branch to follow")
	flags.StringVar(&up.path, "path", ".", "directory in the repository to apply")
	flags.DurationVar(&up.interval, "interval", time.Minute, "how often a remote repository is fetched")
	flags.DurationVar(&up.settle, "settle", syncer.DefaultSettle, "how long a container without a readiness probe has to run to count as healthy, where minReadySeconds and headway.dev/settle do not say so")
	flags.StringVar(&up.nodeName, "node-name", "", "name of this node (default: the hostname)")
	flags.StringVar(&up.nodeIP, "node-ip", "", "address of this node (default: that of the default route's interface)")
	flags.StringVar(&up.listen, "listen", "127.0.0.1:6443", "address and port of the API")
	flags.StringSliceVar(&up.tlsSANs, "tls-san", nil, "further host name or address that the API's certificate is for (repeatable)")
	flags.StringVar(&up.clusterCIDR, "cluster-cidr", "10.42.0.0/16", "range of the pods' addresses")
	flags.StringVar(&up.serviceCIDR, "service-cidr", "10.43.0.0/16", "range of the Services' addresses")
	flags.StringVar(&up.containerd, "containerd-address", "", "socket of a containerd to use (default: run a private one)")
	flags.StringVar(&up.imagesDir, "images-dir", "", "directory of image archives to load (default: <data-dir>/images)")
	flags.StringVar(&up.cgroupRoot, "cgroup-root", "headway", "cgroup that holds all pods")
	flags.StringVar(&up.evictionHard, "eviction-hard", nodes.DefaultEvictionHard, "free disk below which pods are evicted: nodefs.available and nodefs.inodesFree, as a share or an amount")
	flags.Int64Var(&up.podMaxPids, "pod-max-pids", nodes.DefaultPodPidsLimit, "processes and threads that a pod may have (-1: as many as it likes)")
	flags.StringSliceVar(&up.controllers, "controllers", []string{"*"}, "controllers to run: '*' for all, 'name' for one, '-name' for all but one")
	flags.DurationVar(&up.nodeGrace, "node-monitor-grace-period", 40*time.Second, "how long a node may be silent before it is NotReady (agents report every 10s)")
	flags.StringVar(&up.tokenAuthFile, "token-auth-file", "", `file of users' bearer tokens: lines of token,user,uid,"group1,group2"`)
	flags.StringVar(&up.podSecurity, "pod-security", "privileged", "what pods may in namespaces without the label pod-security.kubernetes.io/enforce: privileged, baseline or restricted; where a Kustomization with a serviceAccountName writes, at least baseline")
	flags.BoolVar(&up.newStore, "new-store", false, "begin with an empty store where a cluster has lost its own: what is not in Git is gone, and pods that nothing declares are removed")
	flags.StringVar(&up.defaultServiceAccount, "default-service-account", "", "service account that Kustomizations without spec.serviceAccountName act as, in their namespace (default: all rights)")
	flags.IntVar(&up.journalEntries, "journal-entries", 0, "newest entries of the journal to keep (0: all)")
	flags.StringVar(&up.gitSigningKey, "git-signing-key", "", "file of the OpenPGP or SSH private key that signs reverts and other commits of Headway")
	flags.StringVar(&up.gitMaxFetch, "git-max-fetch", "4Gi", "most bytes that one fetch of a remote repository brings, and that an object in it has")
	flags.Int64Var(&up.gitMaxObjects, "git-max-objects", git.DefaultMaxObjects, "most objects that one fetch of a remote repository brings")
	flags.StringSliceVar(&up.denyAddresses, "deny-addresses", []string{"link-local", "metadata"}, "addresses that are not reached for sources, their proxies and forges: "+strings.Join(egress.Names(), ", ")+", and ranges such as 10.0.0.0/8; none denies nothing")
	flags.BoolVar(&up.noCrossNamespaceRefs, "no-cross-namespace-refs", false, "let Kustomizations use only sources of their own namespace")
	flags.BoolVarP(&up.verbose, "verbose", "v", false, "log what the parts do to standard error")
}

// minNodeGrace is a heartbeat and a half.
const minNodeGrace = 15 * time.Second

// upConfig is what the flags mean, checked.
type upConfig struct {
	upOptions
	clusterCIDR, serviceCIDR netip.Prefix
	nodeIP                   netip.Addr
	eviction                 nodes.Thresholds
	gitLimits                git.MirrorOptions
	names                    []string // of the API, for its certificate
	signingKey               *git.SigningKey
	log                      *slog.Logger
	// ownExample says that nobody brings an image of the example's program.
	ownExample bool
}

func (o *upOptions) config() (*upConfig, error) {
	cfg := &upConfig{upOptions: *o}
	var err error
	if cfg.clusterCIDR, err = parsePrefix("cluster-cidr", o.clusterCIDR); err != nil {
		return nil, err
	}
	if cfg.serviceCIDR, err = parsePrefix("service-cidr", o.serviceCIDR); err != nil {
		return nil, err
	}
	if o.nodeGrace < minNodeGrace {
		return nil, fmt.Errorf("--node-monitor-grace-period %s: must be at least %s, as agents report every 10s", o.nodeGrace, minNodeGrace)
	}
	if cfg.clusterCIDR.Overlaps(cfg.serviceCIDR) {
		return nil, fmt.Errorf("--cluster-cidr %s and --service-cidr %s overlap: pods and Services need ranges of their own", cfg.clusterCIDR, cfg.serviceCIDR)
	}
	if o.gitSigningKey != "" {
		data, err := os.ReadFile(o.gitSigningKey)
		if err != nil {
			return nil, fmt.Errorf("--git-signing-key: %w", err)
		}
		if cfg.signingKey, err = git.ParseSigningKey(data); err != nil {
			return nil, fmt.Errorf("--git-signing-key %s: %w", o.gitSigningKey, err)
		}
	}
	fetch, err := resource.ParseQuantity(o.gitMaxFetch)
	if err != nil || fetch.Value() <= 0 {
		return nil, fmt.Errorf("--git-max-fetch %q is not a number of bytes such as 500Mi", o.gitMaxFetch)
	}
	if o.gitMaxObjects <= 0 {
		return nil, fmt.Errorf("--git-max-objects %d is not a number of objects", o.gitMaxObjects)
	}
	cfg.gitLimits = git.MirrorOptions{MaxPack: fetch.Value(), MaxObjects: o.gitMaxObjects}
	if cfg.gitLimits.Egress, err = egress.Parse(o.denyAddresses); err != nil {
		return nil, fmt.Errorf("--deny-addresses: %w", err)
	}
	if cfg.eviction, err = nodes.ParseEvictionHard(o.evictionHard); err != nil {
		return nil, fmt.Errorf("--eviction-hard: %w", err)
	}
	if o.podMaxPids == 0 || o.podMaxPids < -1 {
		return nil, fmt.Errorf("--pod-max-pids %d is neither a number of processes nor -1", o.podMaxPids)
	}
	if cfg.names, err = servingNames(o.listen, o.tlsSANs); err != nil {
		return nil, err
	}
	if !slices.Contains([]string{"privileged", "baseline", "restricted"}, o.podSecurity) {
		return nil, fmt.Errorf("--pod-security %q is none of privileged, baseline, restricted", o.podSecurity)
	}
	if cfg.dataDir, err = filepath.Abs(o.dataDir); err != nil {
		return nil, fmt.Errorf("--data-dir: %w", err)
	}
	if cfg.tokenAuthFile != "" {
		if cfg.tokenAuthFile, err = filepath.Abs(o.tokenAuthFile); err != nil {
			return nil, fmt.Errorf("--token-auth-file: %w", err)
		}
	}
	if err := cfg.checkNames(); err != nil {
		return nil, err
	}
	if o.nodeIP == "" {
		cfg.nodeIP, err = defaultAddress()
	} else if cfg.nodeIP, err = netip.ParseAddr(o.nodeIP); err != nil {
		err = fmt.Errorf("%q is not an address", o.nodeIP)
	}
	if err != nil {
		return nil, fmt.Errorf("--node-ip: %w", err)
	}
	if o.interval < time.Second {
		return nil, fmt.Errorf("--interval %s: must be at least 1s", o.interval)
	}
	if o.settle < 0 {
		return nil, fmt.Errorf("--settle %s: must not be negative", o.settle)
	}
	if os.Geteuid() != 0 {
		return nil, errors.New("up needs root: containers, networks and cgroups cannot be made without it; run it with sudo")
	}
	// What a person should know of is told as progress; the log repeats it.
	level := slog.LevelError
	if o.verbose {
		level = slog.LevelDebug
	}
	cfg.log = slog.New(slog.NewTextHandler(o.err, &slog.HandlerOptions{Level: level}))
	// Libraries that log by themselves follow suit, or stay silent: their
	// lines would stand between those of the progress.
	slog.SetDefault(cfg.log.With("part", "library"))
	logrus.SetOutput(io.Discard)
	return cfg, nil
}

func parsePrefix(flag, value string) (netip.Prefix, error) {
	prefix, err := netip.ParsePrefix(value)
	if err != nil || !prefix.Addr().Is4() {
		return netip.Prefix{}, fmt.Errorf("--%s %q is not an IPv4 range such as 10.42.0.0/16", flag, value)
	}
	if prefix.Bits() > 24 {
		return netip.Prefix{}, fmt.Errorf("--%s %s is too small: give a /24 or larger", flag, prefix)
	}
	return prefix.Masked(), nil
}

// defaultAddress is the address that this machine reaches others from: the
// source that the routing table chooses. No packet is sent.
func defaultAddress() (netip.Addr, error) {
	conn, err := net.Dial("udp4", "192.0.2.1:9") //nolint:noctx // sends nothing, only looks up a route
	if err != nil {
		return netip.Addr{}, fmt.Errorf("find this machine's address: %w; give --node-ip", err)
	}
	defer conn.Close()
	return conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr(), nil
}

// runUp runs the cluster until ctx ends.
func runUp(ctx context.Context, cfg *upConfig) error {
	start := time.Now()
	if err := checkNewDataDir(cfg.dataDir); err != nil {
		return err
	}
	unlock, err := lockDataDir(cfg.dataDir)
	if err != nil {
		return err
	}
	defer unlock()
	if err := claimNetwork(cfg); err != nil {
		return err
	}
	cluster, err := openCluster(ctx, cfg)
	if err != nil {
		return err
	}
	cluster.progress = newProgress(cfg, start)
	cluster.progress.hold()
	if err := cluster.run(ctx); err != nil {
		return err
	}
	cluster.progress.line("stopped; containers keep running, and the next start adopts them")
	return nil
}

// kubeconfigPath is where the administrator's kubeconfig is written.
func (cfg *upConfig) kubeconfigPath() string { return filepath.Join(cfg.dataDir, "kubeconfig") }
