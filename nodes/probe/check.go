package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// maxBody bounds what is read of an answer, and of a command's output.
const maxBody = 10 * 1024

// Check makes one attempt and reports whether it succeeded, and if not the
// reason, in the words of the kubelet's Unhealthy event.
func Check(ctx context.Context, runner Runner, spec *corev1.Probe, p *corev1.Pod, podIP string, t Target) (ok bool, message string) {
	timeout := time.Duration(spec.TimeoutSeconds) * time.Second
	switch {
	case spec.Exec != nil:
		return checkExec(ctx, runner, t.ID, spec.Exec.Command, timeout)
	case spec.HTTPGet != nil:
		return checkHTTP(ctx, spec.HTTPGet, podIP, t.Spec, timeout)
	case spec.TCPSocket != nil:
		port, err := portOf(spec.TCPSocket.Port, t.Spec)
		if err != nil {
			return false, err.Error()
		}
		conn, err := (&net.Dialer{Timeout: timeout}).DialContext(ctx, "tcp", net.JoinHostPort(host(spec.TCPSocket.Host, podIP), strconv.Itoa(port)))
		if err != nil {
			return false, err.Error()
		}
		closeNow(conn)
		return true, ""
	case spec.GRPC != nil:
		return checkGRPC(ctx, spec.GRPC, podIP, timeout)
	}
	return false, "missing probe handler for " + p.Namespace + "/" + p.Name
}

// closeNow closes with a reset, so that many probes leave no sockets in
// TIME_WAIT.
func closeNow(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

func host(own, podIP string) string {
	if own != "" {
		return own
	}
	return podIP
}

// portOf resolves a port number or the name of one of the container's ports.
func portOf(p intstr.IntOrString, c corev1.Container) (int, error) {
	port := p.IntValue()
	if p.Type == intstr.String && port == 0 {
		for _, have := range c.Ports {
			if have.Name == p.StrVal {
				port = int(have.ContainerPort)
			}
		}
		if port == 0 {
			return 0, fmt.Errorf("couldn't find named port %q in container %s", p.StrVal, c.Name)
		}
	}
	if port < 1 || port > 65535 {
		return 0, fmt.Errorf("invalid port number: %v", port)
	}
	return port, nil
}

func checkExec(ctx context.Context, runner Runner, id string, command []string, timeout time.Duration) (bool, string) {
	output, code, err := runner.ExecProbe(ctx, id, command, timeout)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return false, fmt.Sprintf("command timed out: %q timed out after %s", strings.Join(command, " "), timeout)
	case err != nil:
		return false, err.Error()
	case code != 0:
		return false, output
	}
	return true, ""
}

func checkHTTP(ctx context.Context, get *corev1.HTTPGetAction, podIP string, c corev1.Container, timeout time.Duration) (bool, string) {
	resp, err := Get(ctx, get, podIP, c, timeout, "kube-probe/1.37")
	if err != nil {
		return false, err.Error()
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxBody))
	if resp.StatusCode >= http.StatusOK && resp.StatusCode < http.StatusBadRequest {
		return true, ""
	}
	return false, fmt.Sprintf("HTTP probe failed with statuscode: %d", resp.StatusCode)
}

// Get sends the request of an httpGet action, for probes and lifecycle hooks.
// The caller closes the body.
func Get(ctx context.Context, get *corev1.HTTPGetAction, podIP string, c corev1.Container, timeout time.Duration, agent string) (*http.Response, error) {
	port, err := portOf(get.Port, c)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(get.Path)
	if err != nil {
		u = &url.URL{Path: get.Path}
	}
	u.Scheme, u.Host = "http", net.JoinHostPort(host(get.Host, podIP), strconv.Itoa(port))
	if get.Scheme != "" {
		u.Scheme = strings.ToLower(string(get.Scheme))
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", agent)
	req.Header.Set("Accept", "*/*")
	for _, h := range get.HTTPHeaders {
		switch {
		case strings.EqualFold(h.Name, "Host"):
			req.Host = h.Value
		case h.Value == "" && (strings.EqualFold(h.Name, "Accept") || strings.EqualFold(h.Name, "User-Agent")):
			req.Header.Del(h.Name)
		default:
			req.Header.Set(h.Name, h.Value)
		}
	}
	return httpClient(timeout).Do(req)
}

// httpClient asks once over a fresh connection: a reused one would hide a
// process that accepts no new ones. Certificates are not verified, as
// Kubernetes documents it; redirects to another host are not followed.
func httpClient(timeout time.Duration) *http.Client {
	return &http.Client{
		Timeout: timeout,
		Transport: &http.Transport{
			DisableKeepAlives:  true,
			DisableCompression: true,
			Proxy:              nil,
			TLSClientConfig:    &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // documented behaviour of probes
			DialContext:        (&net.Dialer{Timeout: timeout}).DialContext,
		},
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			if req.URL.Hostname() != via[0].URL.Hostname() {
				return http.ErrUseLastResponse
			}
			if len(via) >= 10 {
				return errors.New("stopped after 10 redirects")
			}
			return nil
		},
	}
}

func checkGRPC(ctx context.Context, g *corev1.GRPCAction, podIP string, timeout time.Duration) (bool, string) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	addr := net.JoinHostPort(podIP, strconv.Itoa(int(g.Port)))
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithUserAgent("kube-probe/1.37"))
	if err != nil {
		return false, err.Error()
	}
	defer conn.Close()
	service := ""
	if g.Service != nil {
		service = *g.Service
	}
	resp, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: service}, grpc.WaitForReady(true))
	if err != nil {
		switch status.Code(err) {
		case codes.Unimplemented:
			return false, fmt.Sprintf("service unimplemented: %v", err)
		case codes.DeadlineExceeded:
			return false, fmt.Sprintf("timeout: failed to connect service %q within %v: %v", addr, timeout, err)
		default:
			return false, fmt.Sprintf("error: health rpc probe failed: %v", err)
		}
	}
	if resp.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		return false, fmt.Sprintf("service unhealthy (responded with %q)", resp.GetStatus().String())
	}
	return true, ""
}
