package up

import (
	"io"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"headway.dev/cmd/headway/member"
	"headway.dev/engine/admission/plugins"
	"headway.dev/engine/api/audit"
	"headway.dev/engine/api/authn"
	"headway.dev/engine/api/authz"
	"headway.dev/manifests/egress"
	"headway.dev/syncer/git"
	"headway.dev/syncer/verdict"
)

// Options are the flags of `headway up`, whose help texts describe them, and
// where it prints.
type Options struct {
	member.Options
	// ServerOnly says that there is no node on this machine.
	ServerOnly bool
	// Version is that of the program.
	Version            string
	DataDir            string
	Out, Err           io.Writer
	Repo, Branch, Path string
	Interval, Settle   time.Duration
	Listen             string
	ClusterCIDR        string
	ServiceCIDR        string
	ClusterDomain      string
	Controllers        []string
	NodeGrace          time.Duration
	NotReadySeconds    int64
	UnreachableSeconds int64
	TokenAuthFile      string
	TLSSANs            []string
	PodSecurity        string
	NewStore           bool
	// EncryptionProviderConfig is kube-apiserver's flag.
	EncryptionProviderConfig string
	// SchedulerConfig is kube-scheduler's --config.
	SchedulerConfig string
	Audit           audit.Options
	Authentication  authn.Options
	Authorization   authz.Options
	// The following are Flux's flags for clusters with several tenants.
	DefaultServiceAccount string
	NoCrossNamespaceRefs  bool
	JournalEntries        int
	GitMaxFetch           string
	GitMaxObjects         int64
	GitSigningKey         string
	DenyAddresses         []string
	Verbose               bool
}

// AddFlags adds the flags of `headway up`, and sets their defaults.
func (up *Options) AddFlags(flags *pflag.FlagSet) {
	up.addFlags(flags, "127.0.0.1:6443")
	// Its server is in this process, and asks what port it has: beside a kubelet or in
	// tests it is in nobody's way.
	up.Options.AddFlags(flags, 0)
}

// AddServerFlags adds the flags of `headway server`, and sets their defaults.
func (up *Options) AddServerFlags(flags *pflag.FlagSet) {
	up.ServerOnly = true
	up.addFlags(flags, "0.0.0.0:6443")
	flags.StringVar(&up.NodeIP, "advertise-address", "", "address at which nodes and pods reach this server (default: that of the default route's interface)")
}

// addFlags adds the flags of the server.
func (up *Options) addFlags(flags *pflag.FlagSet, listen string) {
	flags.StringVar(&up.Repo, "repo", "", "URL or path of the Git repository (default: one made in the data directory from the example)")
	flags.StringVar(&up.Branch, "branch", "main", "branch to follow")
	flags.StringVar(&up.Path, "path", ".", "directory in the repository to apply")
	flags.DurationVar(&up.Interval, "interval", time.Minute, "how often a remote repository is fetched")
	flags.DurationVar(&up.Settle, "settle", verdict.DefaultSettle, "how long a container without a readiness probe must run to count as healthy, unless minReadySeconds or headway.dev/settle is set")
	flags.StringVar(&up.Listen, "listen", listen, "address and port of the API")
	flags.StringSliceVar(&up.TLSSANs, "tls-san", nil, "another host name or address that the API's certificate is valid for (repeatable)")
	flags.StringVar(&up.ClusterCIDR, "cluster-cidr", "10.42.0.0/16", "range of the pods' addresses; IPV4,IPV6 for both families, such as 10.42.0.0/16,fd00:42::/48")
	flags.StringVar(&up.ServiceCIDR, "service-cidr", "10.43.0.0/16", "range of the Services' addresses; IPV4,IPV6 for both families, such as 10.43.0.0/16,fd00:43::/108")
	flags.StringVar(&up.ClusterDomain, "cluster-domain", "cluster.local", "domain of the names of Services and pods")
	flags.StringSliceVar(&up.Controllers, "controllers", []string{"*"}, "controllers to run: '*' for all, 'name' for one, '-name' for all but one")
	flags.DurationVar(&up.NodeGrace, "node-monitor-grace-period", 50*time.Second, "how long a node may be silent before it is NotReady (agents report every 10s)")
	flags.Int64Var(&up.NotReadySeconds, "default-not-ready-toleration-seconds", plugins.DefaultTolerationSeconds, "for how many seconds pods that say nothing about it stay on a node that is not ready")
	flags.Int64Var(&up.UnreachableSeconds, "default-unreachable-toleration-seconds", plugins.DefaultTolerationSeconds, "for how many seconds pods that say nothing about it stay on a node that cannot be reached")
	flags.StringVar(&up.TokenAuthFile, "token-auth-file", "", `file of users' bearer tokens: lines of token,user,uid,"group1,group2"`)
	up.Authentication.AddFlags(flags)
	up.Authorization.AddFlags(flags)
	flags.StringVar(&up.EncryptionProviderConfig, "encryption-provider-config", "", "file with Kubernetes' EncryptionConfiguration, for what it names (default: Secrets are encrypted with the key in <data-dir>/pki/secrets.key)")
	flags.StringVar(&up.SchedulerConfig, "scheduler-config", "", "file with Kubernetes' KubeSchedulerConfiguration (v1): the profiles of the scheduler, by the schedulerName of pods")
	up.Audit.AddFlags(flags)
	flags.StringVar(&up.PodSecurity, "pod-security", "privileged", "what pods may do in namespaces without the label pod-security.kubernetes.io/enforce: privileged, baseline or restricted; at least baseline where a Kustomization with a serviceAccountName writes")
	flags.BoolVar(&up.NewStore, "new-store", false, "begin with an empty store if the cluster has lost its own: what is not in Git is lost, and pods that nothing declares are removed")
	flags.StringVar(&up.DefaultServiceAccount, "default-service-account", "", "service account that Kustomizations without spec.serviceAccountName act as, in their namespace (default: all rights)")
	flags.IntVar(&up.JournalEntries, "journal-entries", 0, "how many journal entries to keep, newest first (0: all)")
	flags.StringVar(&up.GitSigningKey, "git-signing-key", "", "file of the OpenPGP or SSH private key that signs reverts and other commits of Headway")
	flags.StringVar(&up.GitMaxFetch, "git-max-fetch", "4Gi", "most bytes in one fetch of a remote repository, and in an object of it")
	flags.Int64Var(&up.GitMaxObjects, "git-max-objects", git.DefaultMaxObjects, "most objects in one fetch of a remote repository")
	flags.StringSliceVar(&up.DenyAddresses, "deny-addresses", []string{"link-local", "metadata"}, "addresses that sources, their proxies, forges and admission webhooks must not have: "+strings.Join(egress.Names(), ", ")+", and ranges such as 10.0.0.0/8; none denies nothing")
	flags.BoolVar(&up.NoCrossNamespaceRefs, "no-cross-namespace-refs", false, "let Kustomizations use only sources of their own namespace")
	flags.BoolVarP(&up.Verbose, "verbose", "v", false, "log what the components do to standard error")
}

// minNodeGrace is a heartbeat and a half.
const minNodeGrace = 15 * time.Second
