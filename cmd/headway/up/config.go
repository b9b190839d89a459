package up

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/sirupsen/logrus"
	"k8s.io/apimachinery/pkg/api/resource"

	"headway.dev/cmd/headway/up/progress"
	"headway.dev/engine/scheduler/placement/profile"
	"headway.dev/manifests/egress"
	"headway.dev/nodes/eviction"
	"headway.dev/nodes/runtime/handler"
	"headway.dev/proxy"
	"headway.dev/syncer/git"
	"headway.dev/syncer/git/signature"
)

// Config is the checked meaning of the flags.
type Config struct {
	Options
	ClusterCIDR, ServiceCIDR netip.Prefix
	NodeIP                   netip.Addr
	// NameServer is the zero address without a cluster DNS.
	NameServer netip.Addr
	proxyMode  proxy.Mode
	scheduler  profile.Configuration
	eviction   eviction.Thresholds
	handlers   handler.Set
	gitLimits  git.MirrorOptions
	names      []string // of the API, for its certificate
	signingKey *signature.SigningKey
	Log        *slog.Logger
	// Local are additional repositories that are opened in place, by the
	// NAMESPACE/NAME of their GitRepository.
	Local map[string]string
	// ownExample says that nobody brings an image of the example's program.
	ownExample bool
}

// Config checks the flags, and returns an error that tells what is wrong with
// them.
func (o *Options) Config() (*Config, error) {
	cfg := &Config{Options: *o}
	var err error
	if cfg.ClusterCIDR, err = parsePrefix("cluster-cidr", o.ClusterCIDR); err != nil {
		return nil, err
	}
	if cfg.ServiceCIDR, err = parsePrefix("service-cidr", o.ServiceCIDR); err != nil {
		return nil, err
	}
	if o.NodeGrace < minNodeGrace {
		return nil, fmt.Errorf("--node-monitor-grace-period %s: must be at least %s, as agents report every 10s", o.NodeGrace, minNodeGrace)
	}
	if cfg.ClusterCIDR.Overlaps(cfg.ServiceCIDR) {
		return nil, fmt.Errorf("--cluster-cidr %s and --service-cidr %s overlap: pods and Services need ranges of their own", cfg.ClusterCIDR, cfg.ServiceCIDR)
	}
	if cfg.proxyMode, err = proxy.ParseMode(o.ProxyMode); err != nil {
		return nil, fmt.Errorf("--proxy-mode: %w", err)
	}
	if err := cfg.parseDNS(); err != nil {
		return nil, err
	}
	if o.GitSigningKey != "" {
		data, err := os.ReadFile(o.GitSigningKey)
		if err != nil {
			return nil, fmt.Errorf("--git-signing-key: %w", err)
		}
		if cfg.signingKey, err = signature.ParseSigningKey(data); err != nil {
			return nil, fmt.Errorf("--git-signing-key %s: %w", o.GitSigningKey, err)
		}
	}
	fetch, err := resource.ParseQuantity(o.GitMaxFetch)
	if err != nil || fetch.Value() <= 0 {
		return nil, fmt.Errorf("--git-max-fetch %q is not a number of bytes such as 500Mi", o.GitMaxFetch)
	}
	if o.GitMaxObjects <= 0 {
		return nil, fmt.Errorf("--git-max-objects %d is not a number of objects", o.GitMaxObjects)
	}
	cfg.gitLimits = git.MirrorOptions{MaxPack: fetch.Value(), MaxObjects: o.GitMaxObjects}
	if cfg.gitLimits.Egress, err = egress.Parse(o.DenyAddresses); err != nil {
		return nil, fmt.Errorf("--deny-addresses: %w", err)
	}
	if cfg.eviction, err = eviction.ParseHard(o.EvictionHard); err != nil {
		return nil, fmt.Errorf("--eviction-hard: %w", err)
	}
	if cfg.handlers, err = handler.Parse(o.RuntimeHandlers); err != nil {
		return nil, fmt.Errorf("--runtime-handler: %w", err)
	}
	if o.PodMaxPids == 0 || o.PodMaxPids < -1 {
		return nil, fmt.Errorf("--pod-max-pids %d is neither a number of processes nor -1", o.PodMaxPids)
	}
	if cfg.names, err = servingNames(o.Listen, o.TLSSANs); err != nil {
		return nil, err
	}
	if !slices.Contains([]string{"privileged", "baseline", "restricted"}, o.PodSecurity) {
		return nil, fmt.Errorf("--pod-security %q is none of privileged, baseline, restricted", o.PodSecurity)
	}
	if cfg.DataDir, err = filepath.Abs(o.DataDir); err != nil {
		return nil, fmt.Errorf("--data-dir: %w", err)
	}
	if cfg.TokenAuthFile != "" {
		if cfg.TokenAuthFile, err = filepath.Abs(o.TokenAuthFile); err != nil {
			return nil, fmt.Errorf("--token-auth-file: %w", err)
		}
	}
	if cfg.EncryptionProviderConfig != "" {
		if cfg.EncryptionProviderConfig, err = filepath.Abs(o.EncryptionProviderConfig); err != nil {
			return nil, fmt.Errorf("--encryption-provider-config: %w", err)
		}
	}
	if o.SchedulerConfig != "" {
		if cfg.scheduler, err = profile.Load(o.SchedulerConfig); err != nil {
			return nil, fmt.Errorf("--scheduler-config: %w", err)
		}
	}
	if err := o.Audit.Check(); err != nil {
		return nil, err
	}
	if err := o.Authentication.Check(); err != nil {
		return nil, err
	}
	if err := o.Authorization.Check(); err != nil {
		return nil, err
	}
	if err := cfg.checkNames(); err != nil {
		return nil, err
	}
	if o.NodeIP == "" {
		cfg.NodeIP, err = defaultAddress()
	} else if cfg.NodeIP, err = netip.ParseAddr(o.NodeIP); err != nil {
		err = fmt.Errorf("%q is not an address", o.NodeIP)
	}
	if err != nil {
		return nil, fmt.Errorf("--node-ip: %w", err)
	}
	if o.Interval < time.Second {
		return nil, fmt.Errorf("--interval %s: must be at least 1s", o.Interval)
	}
	if o.Settle < 0 {
		return nil, fmt.Errorf("--settle %s: must not be negative", o.Settle)
	}
	if os.Geteuid() != 0 {
		return nil, errors.New("up needs root: containers, networks and cgroups cannot be made without it; run it with sudo")
	}
	// What a person should know is reported as progress; the log repeats it.
	level := slog.LevelError
	if o.Verbose {
		level = slog.LevelDebug
	}
	cfg.Log = slog.New(slog.NewTextHandler(o.Err, &slog.HandlerOptions{Level: level}))
	// Libraries that log by themselves follow suit, or stay silent: their
	// lines would stand between those of the progress.
	slog.SetDefault(cfg.Log.With("part", "library"))
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

// KubeconfigPath returns the path of the administrator's kubeconfig.
func (cfg *Config) KubeconfigPath() string { return filepath.Join(cfg.DataDir, "kubeconfig") }

// progress configures the progress of the cluster.
func (cfg *Config) progress(start time.Time) *progress.Progress {
	return progress.New(progress.Config{Out: cfg.Out, Start: start, Repo: cfg.Repo, Branch: cfg.Branch, DataDir: cfg.DataDir, Kubeconfig: cfg.KubeconfigPath()})
}
