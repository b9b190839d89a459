package member

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/util/validation"

	"headway.dev/nodes"
	"headway.dev/nodes/eviction"
	"headway.dev/nodes/runtime/handler"
	"headway.dev/proxy"
)

// Options are the flags about a machine, whose help texts describe them.
type Options struct {
	NodeName        string
	NodeIP          string
	Containerd      string
	ImagesDir       string
	RuntimeHandlers []string
	CgroupRoot      string
	EvictionHard    string
	PodMaxPids      int64
	AgentPort       int
	ProxyMode       string
	DNSAddress      string
	ResolvConf      string

	IngressHTTP, IngressHTTPS string
	IngressTrusted            []string
	IngressProxyProtocol      bool
	IngressAccessLog          string
}

// AddFlags adds the flags, and sets their defaults, of which port is that of --agent-port.
func (o *Options) AddFlags(flags *pflag.FlagSet, port int) {
	flags.IntVar(&o.AgentPort, "agent-port", port, "port of this node's own server, for logs, exec and metrics, which the API and monitoring reach (0: any that is free)")
	flags.StringVar(&o.NodeName, "node-name", "", "name of this node (default: the hostname)")
	flags.StringVar(&o.NodeIP, "node-ip", "", "address of this node (default: that of the default route's interface); IPV4,IPV6 in a cluster of both families")
	flags.StringVar(&o.Containerd, "containerd-address", "", "socket of a containerd to use (default: run a private one)")
	flags.StringSliceVar(&o.RuntimeHandlers, "runtime-handler", nil, "a handler of RuntimeClasses and the runtime of containerd that it is, NAME=RUNTIME, for example kata=io.containerd.kata.v2; its shim is installed beside containerd (repeatable; runc is always there)")
	flags.StringVar(&o.ImagesDir, "images-dir", "", "directory of image archives to load (default: <data-dir>/images)")
	flags.StringVar(&o.CgroupRoot, "cgroup-root", "headway", "cgroup that holds all pods")
	flags.StringVar(&o.EvictionHard, "eviction-hard", eviction.DefaultHard, "free disk space below which pods are evicted: nodefs.available and nodefs.inodesFree, as a share or an amount")
	flags.Int64Var(&o.PodMaxPids, "pod-max-pids", nodes.DefaultPodPidsLimit, "most processes and threads in a pod (-1: no limit)")
	flags.StringVar(&o.ProxyMode, "proxy-mode", string(proxy.ModeIptables), "what the service proxy writes: iptables, or nftables for clusters of thousands of Services")
	flags.StringVar(&o.DNSAddress, "dns-address", "169.254.53.53", "address at which this node answers its pods' questions for names, of the node's own and nobody else's (none: no cluster DNS)")
	flags.StringVar(&o.ResolvConf, "resolv-conf", "", "file that names this node's name servers, for all names outside of the cluster and for pods with the dnsPolicy Default (default: /etc/resolv.conf, or systemd-resolved's own if that names only its stub)")
	flags.StringVar(&o.IngressHTTP, "ingress-http-address", ":80", "address at which this node serves Ingresses by HTTP, while there are any of the controller headway.dev/ingress (none: not at all)")
	flags.StringVar(&o.IngressHTTPS, "ingress-https-address", ":443", "address at which this node serves Ingresses by HTTPS, while there are any of the controller headway.dev/ingress (none: not at all)")
	flags.StringSliceVar(&o.IngressTrusted, "ingress-trusted-proxy", nil, "address or range of load balancers before the Ingresses, which may say by X-Forwarded-* who the client is (repeatable)")
	flags.BoolVar(&o.IngressProxyProtocol, "ingress-proxy-protocol", false, "connections of trusted proxies to the Ingresses begin with the PROXY protocol, version 1 or 2")
	flags.StringVar(&o.IngressAccessLog, "ingress-access-log", "", "file to log each request to the Ingresses to, a line of JSON each (default: none)")
}

// Config is the checked meaning of the flags, and what the cluster says.
type Config struct {
	DataDir string
	Name    string
	IP      netip.Addr
	// IP6 is the machine's address of IPv6, not valid if it has none or pods have none.
	IP6        netip.Addr
	Containerd string
	ImagesDir  string
	CgroupRoot string
	PodMaxPids int64
	// AgentPort is where the agent serves logs and exec; 0: on any port that is free.
	AgentPort int
	// ClusterCIDR and ServiceCIDR are the ranges of the pods' and the Services' addresses.
	ClusterCIDR, ServiceCIDR netip.Prefix
	// ClusterCIDR6 and ServiceCIDR6 are those of IPv6: zero in a cluster of IPv4 alone.
	ClusterCIDR6, ServiceCIDR6 netip.Prefix
	// ClusterDomain is the domain of the names of Services and pods.
	ClusterDomain string
	// NameServer is the zero address without a cluster DNS.
	NameServer netip.Addr
	// ResolvConf is the file that names this node's name servers, or resolv.Own.
	ResolvConf string
	Log        *slog.Logger

	// example says that the cluster runs the example repository, and nobody brings an
	// image of its program.
	example   bool
	ownImages bool // are in ImagesDir
	proxyMode proxy.Mode
	eviction  eviction.Thresholds
	handlers  handler.Set
	// Where Ingresses are served, empty: nowhere; and which proxies are before them.
	ingressHTTP, ingressHTTPS string
	trustedProxies            []netip.Prefix
	proxyProtocol             bool
	accessLog                 string // empty: none
}

// Config checks the flags, and returns an error that tells what is wrong with them.
// What is not about them remains to be set.
func (o *Options) Config(dataDir string) (cfg Config, err error) {
	cfg = Config{DataDir: dataDir, Containerd: o.Containerd, CgroupRoot: o.CgroupRoot, PodMaxPids: o.PodMaxPids, AgentPort: o.AgentPort, ownImages: o.ImagesDir != ""}
	if cfg.eviction, err = eviction.ParseHard(o.EvictionHard); err != nil {
		return cfg, fmt.Errorf("--eviction-hard: %w", err)
	}
	if cfg.handlers, err = handler.Parse(o.RuntimeHandlers); err != nil {
		return cfg, fmt.Errorf("--runtime-handler: %w", err)
	}
	if o.PodMaxPids == 0 || o.PodMaxPids < -1 {
		return cfg, fmt.Errorf("--pod-max-pids %d is neither a number of processes nor -1", o.PodMaxPids)
	}
	if o.AgentPort < 0 || o.AgentPort > 65535 {
		return cfg, fmt.Errorf("--agent-port %d is no port", o.AgentPort)
	}
	if cfg.proxyMode, err = proxy.ParseMode(o.ProxyMode); err != nil {
		return cfg, fmt.Errorf("--proxy-mode: %w", err)
	}
	if err := o.names(&cfg); err != nil {
		return cfg, err
	}
	if err := o.ingress(&cfg); err != nil {
		return cfg, err
	}
	if cfg.ImagesDir, err = o.images(dataDir); err != nil {
		return cfg, err
	}
	if cfg.Name, err = o.name(); err != nil {
		return cfg, err
	}
	first, second, _ := strings.Cut(o.NodeIP, ",")
	if cfg.IP, err = Address(first); err != nil {
		if ip, wrong := netip.ParseAddr(first); wrong == nil && ip.Is6() {
			err = fmt.Errorf("%w: that comes first, as nodes reach each other and the API by it", err)
		}
		return cfg, fmt.Errorf("--node-ip: %w", err)
	}
	if second != "" {
		if cfg.IP6, err = netip.ParseAddr(second); err != nil || !cfg.IP6.Is6() || cfg.IP6.Is4In6() || !cfg.IP6.IsGlobalUnicast() {
			return cfg, fmt.Errorf("--node-ip: %q is not an IPv6 address by which others reach this machine", second)
		}
	}
	return cfg, nil
}

func (o *Options) images(dataDir string) (string, error) {
	if o.ImagesDir == "" {
		return filepath.Join(dataDir, "images"), nil
	}
	if info, err := os.Stat(o.ImagesDir); err != nil {
		return "", fmt.Errorf("--images-dir: %w", err)
	} else if !info.IsDir() {
		return "", fmt.Errorf("--images-dir: %s is not a directory", o.ImagesDir)
	}
	return o.ImagesDir, nil
}

func (o *Options) name() (string, error) {
	name, from, hint := o.NodeName, "--node-name", ""
	if name == "" {
		host, err := os.Hostname()
		if err != nil {
			return "", fmt.Errorf("read the hostname: %w; give --node-name", err)
		}
		name, from, hint = strings.ToLower(host), "the hostname", "; give --node-name"
	}
	// The name is also the value of the label kubernetes.io/hostname.
	faults := append(validation.IsDNS1123Subdomain(name), validation.IsValidLabelValue(name)...)
	if len(faults) > 0 {
		return "", fmt.Errorf("%s %q cannot name a node: %s%s", from, name, faults[0], hint)
	}
	return name, nil
}

// Address is the one that a flag gives, or the machine's own.
func Address(flag string) (netip.Addr, error) {
	if flag == "" {
		return defaultAddress()
	}
	ip, err := netip.ParseAddr(flag)
	if err != nil || !ip.Is4() {
		return ip, fmt.Errorf("%q is not an IPv4 address", flag)
	}
	return ip, nil
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
