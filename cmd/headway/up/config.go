package up

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"

	"headway.dev/cmd/headway/member"
	"headway.dev/cmd/headway/up/progress"
	"headway.dev/engine/scheduler/placement/profile"
	"headway.dev/manifests/egress"
	"headway.dev/manifests/nodeconfig"
	"headway.dev/syncer/git"
	"headway.dev/syncer/git/signature"
)

// Config is the checked meaning of the flags.
type Config struct {
	Options
	ClusterCIDR, ServiceCIDR netip.Prefix
	// ClusterCIDR6 and ServiceCIDR6 are those of IPv6: zero in a cluster of IPv4 alone.
	ClusterCIDR6, ServiceCIDR6 netip.Prefix
	// Node is about this machine.
	Node       member.Config
	scheduler  profile.Configuration
	gitLimits  git.MirrorOptions
	names      []string // of the API, for its certificate
	signingKey *signature.SigningKey
	Log        *slog.Logger
	// Local are additional repositories that are opened in place, by the
	// NAMESPACE/NAME of their GitRepository.
	Local map[string]string
}

// Config checks the flags, and returns an error that tells what is wrong with
// them.
func (o *Options) Config() (*Config, error) {
	cfg := &Config{Options: *o}
	var err error
	if err := cfg.ranges(); err != nil {
		return nil, err
	}
	if o.NodeGrace < minNodeGrace {
		return nil, fmt.Errorf("--node-monitor-grace-period %s: must be at least %s, as agents report every 10s", o.NodeGrace, minNodeGrace)
	}
	if err := member.CheckDomain(o.ClusterDomain); err != nil {
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
	if err := git.CheckBranch(cfg.Branch); err != nil {
		return nil, fmt.Errorf("--branch: %w", err)
	}
	if o.ServerOnly {
		if cfg.Node.IP, err = member.Address(o.NodeIP); err != nil {
			return nil, fmt.Errorf("--advertise-address: %w", err)
		}
	} else if cfg.Node, err = o.Options.Config(cfg.DataDir); err != nil {
		return nil, err
	}
	if err := cfg.Node.Join(nodeconfig.Config{ClusterCIDR: cfg.ClusterCIDR, ServiceCIDR: cfg.ServiceCIDR, ClusterCIDR6: cfg.ClusterCIDR6, ServiceCIDR6: cfg.ServiceCIDR6, ClusterDomain: o.ClusterDomain, Example: cfg.Repo == ""}); err != nil {
		return nil, err
	}
	if o.Interval < time.Second {
		return nil, fmt.Errorf("--interval %s: must be at least 1s", o.Interval)
	}
	if o.Settle < 0 {
		return nil, fmt.Errorf("--settle %s: must not be negative", o.Settle)
	}
	if os.Geteuid() != 0 && !o.ServerOnly {
		return nil, errors.New("up needs root: containers, networks and cgroups cannot be made without it; run it with sudo")
	}
	cfg.Log = member.NewLog(o.Err, o.Verbose)
	cfg.Node.Log = cfg.Log
	return cfg, nil
}

// KubeconfigPath returns the path of the administrator's kubeconfig.
func (cfg *Config) KubeconfigPath() string { return filepath.Join(cfg.DataDir, "kubeconfig") }

// progress configures the progress of the cluster.
func (cfg *Config) progress(start time.Time) *progress.Progress {
	return progress.New(progress.Config{Out: cfg.Out, Start: start, Repo: cfg.Repo, Branch: cfg.Branch, DataDir: cfg.DataDir, Kubeconfig: cfg.KubeconfigPath()})
}
