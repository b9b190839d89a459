package member

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"strconv"

	"gopkg.in/natefinch/lumberjack.v2"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"headway.dev/manifests/gateway"
	"headway.dev/nodes/ingress"
)

// The access log is kept in files of logSize MiB, of which there are logFiles besides the
// one that is written.
const logSize, logFiles = 100, 3

// none turns off what a flag names.
const none = "none"

// ingress checks the flags about Ingresses.
func (o *Options) ingress(cfg *Config) error {
	for _, f := range []struct {
		name, value string
		to          *string
	}{{"--ingress-http-address", o.IngressHTTP, &cfg.ingressHTTP}, {"--ingress-https-address", o.IngressHTTPS, &cfg.ingressHTTPS}} {
		if f.value == "" || f.value == none {
			continue
		}
		if err := checkListen(f.value); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
		*f.to = f.value
	}
	if cfg.ingressHTTP != "" && cfg.ingressHTTP == cfg.ingressHTTPS {
		return fmt.Errorf("--ingress-http-address and --ingress-https-address are both %s", cfg.ingressHTTP)
	}
	for _, s := range o.IngressTrusted {
		prefix, err := netip.ParsePrefix(s)
		if addr, only := netip.ParseAddr(s); only == nil {
			prefix, err = netip.PrefixFrom(addr, addr.BitLen()), nil
		}
		if err != nil {
			return fmt.Errorf("--ingress-trusted-proxy %q is neither an address nor a range such as 10.0.0.0/24", s)
		}
		cfg.trustedProxies = append(cfg.trustedProxies, prefix.Masked())
	}
	if cfg.proxyProtocol = o.IngressProxyProtocol; cfg.proxyProtocol && len(cfg.trustedProxies) == 0 {
		return errors.New("--ingress-proxy-protocol needs --ingress-trusted-proxy, too: who may say whom a connection is from")
	}
	if o.IngressAccessLog != "" {
		path, err := filepath.Abs(o.IngressAccessLog)
		if err != nil {
			return fmt.Errorf("--ingress-access-log: %w", err)
		}
		cfg.accessLog = path
	}
	return nil
}

func checkListen(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("%q is no address to listen at, such as :80 or 192.0.2.1:80", address)
	}
	if _, err := netip.ParseAddr(host); host != "" && err != nil {
		return fmt.Errorf("%q does not begin with an IP address", address)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("%q does not end with a port", address)
	}
	return nil
}

// servesIngress reports whether this machine serves Ingresses.
func (cfg *Config) servesIngress() bool { return cfg.ingressHTTP != "" || cfg.ingressHTTPS != "" }

// openIngress makes the proxy for Ingresses, if the machine has one. It opens nothing.
func (m *Member) openIngress() error {
	if !m.servesIngress() {
		return nil
	}
	client, err := NewClient(m.API)
	if err != nil {
		return err
	}
	var access io.Writer
	if m.accessLog != "" {
		access = &lumberjack.Logger{Filename: m.accessLog, MaxSize: logSize, MaxBackups: logFiles}
	}
	custom, err := newCustomClient(m.API)
	if err != nil {
		return err
	}
	m.ingress = ingress.New(ingress.Config{
		HTTP: m.ingressHTTP, HTTPS: m.ingressHTTPS, Pods: m.ClusterCIDR, Source: m.network.Gateway, Pods6: m.ClusterCIDR6, Source6: m.network.Gateway6,
		Trusted: m.trustedProxies, ProxyProtocol: m.proxyProtocol, AccessLog: access, Cluster: m.cluster, Client: client, Custom: custom, Taken: m.taken(),
		Warn: m.warnOfIngress, WarnGateway: m.warnOfGateway,
		Log: m.Log.With("part", "ingress"),
	})
	return nil
}

// warnOfIngress tells of what users have to know with an event of an Ingress, or of the
// node.
func (m *Member) warnOfIngress(about *networkingv1.Ingress, reason, message string) {
	events := m.ingressEvents.Load()
	if events == nil {
		return // nothing runs yet
	}
	if about != nil {
		(*events).Event(about, corev1.EventTypeWarning, reason, message)
		return
	}
	node := &corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: m.Name, UID: types.UID(m.Name)}
	(*events).Event(node, corev1.EventTypeWarning, reason, message)
}

// taken are the ports of this machine that Headway itself has, or that nobody shall lose.
func (m *Member) taken() map[int32]string {
	ports := map[int32]string{22: "SSH", KubeletPort: "the agent"}
	if u, err := url.Parse(m.API.Host); err == nil {
		if n, err := strconv.ParseUint(u.Port(), 10, 16); err == nil {
			ports[int32(n)] = "the API"
		}
	}
	return ports
}

// warnOfGateway tells of what users have to know with an event of a Gateway.
func (m *Member) warnOfGateway(about *gatewayv1.Gateway, reason, message string) {
	if events := m.ingressEvents.Load(); events != nil {
		of := &corev1.ObjectReference{
			APIVersion: gateway.GroupVersion.String(), Kind: "Gateway", Namespace: about.Namespace, Name: about.Name, UID: about.UID,
		}
		(*events).Event(of, corev1.EventTypeWarning, reason, message)
	}
}

// newCustomClient returns a client of custom resources that never waits by itself.
func newCustomClient(config *rest.Config) (dynamic.Interface, error) {
	config = rest.CopyConfig(config)
	config.QPS = -1
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("client of the API: %w", err)
	}
	return client, nil
}

// runIngress serves Ingresses until ctx ends.
func (m *Member) runIngress(ctx context.Context) error {
	client, err := NewClient(m.API)
	if err != nil {
		return err
	}
	broadcaster := record.NewBroadcaster(record.WithContext(ctx))
	defer broadcaster.Shutdown()
	broadcaster.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: client.CoreV1().Events("")})
	events := broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "headway-ingress", Host: m.Name})
	var recorder record.EventRecorder = events
	m.ingressEvents.Store(&recorder)
	return m.ingress.Run(ctx)
}
