package api_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/websocket"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"

	"headway.dev/engine/api"
	"headway.dev/engine/api/apitest"
	"headway.dev/engine/pki"
)

// node is the streaming server of a machine: the kubelet's protocol by the
// library that nodes use, with processes of this machine in place of
// containers.
type node struct{}

// ExecInContainer implements remotecommand.Executor.
func (node) ExecInContainer(ctx context.Context, _, _, container string, command []string, in io.Reader, out, errOut io.WriteCloser, _ bool, _ <-chan remotecommand.TerminalSize, _ time.Duration) error {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env = append(os.Environ(), "CONTAINER="+container)
	cmd.Stdin = in
	if out != nil {
		cmd.Stdout = out
	}
	if errOut != nil {
		cmd.Stderr = errOut
	}
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return utilexec.CodeExitError{Err: err, Code: exit.ExitCode()}
	}
	return err
}

// PortForward implements portforward.PortForwarder.
func (node) PortForward(ctx context.Context, _, _ string, port int32, stream io.ReadWriteCloser) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port))))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	go func() { _, _ = io.Copy(conn, stream) }()
	_, err = io.Copy(stream, conn)
	return err
}

// testNode is the node n1: a streaming server of this machine.
type testNode struct {
	set  *pki.Set
	port int
}

func newNode(t *testing.T) testNode {
	t.Helper()
	set, err := pki.Ensure(filepath.Join(t.TempDir(), "pki"), nil)
	if err != nil {
		t.Fatal(err)
	}
	return testNode{set, startNode(t, set)}
}

// trusted is an apitest.Option: the server and the node know each other.
func (n testNode) trusted(c *api.Config) {
	certPEM, keyPEM, err := n.set.Client("headway-apiserver", "system:masters")
	if err != nil {
		panic(err)
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		panic(err)
	}
	c.NodeTLS = &tls.Config{RootCAs: n.set.Pool(), Certificates: []tls.Certificate{pair}}
}

// join registers the node, with pods that run on it, by their containers.
func (n testNode) join(t *testing.T, s *apitest.Server, pods map[string][]string) {
	t.Helper()
	client := kubernetes.NewForConfigOrDie(s.Config).CoreV1()
	node, err := client.Nodes().Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	node.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "127.0.0.1"}}
	node.Status.DaemonEndpoints.KubeletEndpoint.Port = int32(n.port)
	if _, err := client.Nodes().UpdateStatus(t.Context(), node, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	for name, containers := range pods {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{NodeName: "n1"}}
		for _, c := range containers {
			pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: c, Image: "example.com/c"})
		}
		created, err := client.Pods("default").Create(t.Context(), pod, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		created.Status.Phase = corev1.PodRunning
		if _, err := client.Pods("default").UpdateStatus(t.Context(), created, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

// startNode serves a machine's streaming server to whoever has a certificate
// for a member of system:masters, and returns its port.
func startNode(t *testing.T, set *pki.Set) int {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("/echo/", echo)
	mux.HandleFunc("/exec/{namespace}/{pod}/{container}", func(w http.ResponseWriter, r *http.Request) {
		options, err := remotecommand.NewOptions(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		remotecommand.ServeExec(w, r, node{}, r.PathValue("pod"), "", r.PathValue("container"), r.URL.Query()["command"], options, time.Minute, 10*time.Second, remotecommand.SupportedStreamingProtocols)
	})
	mux.HandleFunc("/portForward/{namespace}/{pod}", func(w http.ResponseWriter, r *http.Request) {
		options, err := portforward.NewV4Options(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		portforward.ServePortForward(w, r, node{}, r.PathValue("pod"), "", options, time.Minute, 10*time.Second, portforward.SupportedProtocols)
	})
	mux.HandleFunc("/containerLogs/{namespace}/{pod}/{container}", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("previous") == "true" {
			http.Error(w, fmt.Sprintf("previous terminated container %q in pod %q not found", r.PathValue("container"), r.PathValue("pod")), http.StatusBadRequest)
			return
		}
		fmt.Fprintf(w, "log of %s tail=%s\n", r.PathValue("container"), r.URL.Query().Get("tailLines"))
		if r.URL.Query().Get("follow") == "true" {
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}
	})
	certPEM, keyPEM, err := set.Server("system:node:n1", "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(mux)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: set.Pool()}
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.Listener.Addr().(*net.TCPAddr).Port
}

// Logs, exec and port-forward reach the node over both protocols that kubectl
// speaks, with exit codes and errors as Kubernetes has them.
func TestStreaming(t *testing.T) {
	n1 := newNode(t)
	s := apitest.Start(t, n1.trusted)
	ctx := t.Context()
	client := kubernetes.NewForConfigOrDie(s.Config)
	n1.join(t, s, map[string][]string{"one": {"main"}, "two": {"a", "b"}})
	kubectl(t, s, "", "run", "pending", "--image=example.com/c")

	expect(t, s, "", args("logs one --tail=3"), "log of main tail=3\n")
	if got := logOverWebSocket(t, s, "/api/v1/namespaces/default/pods/one/log?tailLines=3"); got != "log of main tail=3\n" {
		t.Errorf("log over a WebSocket: got %q", got)
	}
	expect(t, s, "", args("logs two -c b"), "log of b")
	refuse(t, s, "", args("logs two -c x"), "container x is not valid for pod two")
	refuse(t, s, "", args("logs one -p"), `previous terminated container "main" in pod "one" not found`)
	refuse(t, s, "", args("exec pending -- true"), "pod pending does not have a host assigned")
	refuse(t, s, "", args("get --raw /api/v1/namespaces/default/pods/two/log"), "a container name must be specified for pod two, choose one of: [a b]")
	if got := kubectl(t, s, "", "get", "--raw", "/api/v1/namespaces/default/pods/pending/log"); got != "" {
		t.Errorf("log of a pod without a node: %q", got)
	}
	for _, websockets := range []string{"true", "false"} {
		t.Setenv("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", websockets)
		t.Setenv("KUBECTL_PORT_FORWARD_WEBSOCKETS", websockets)
		if out, errOut, err := s.Kubectl(t, "", "exec", "one", "--", "sh", "-c", "echo out $CONTAINER; echo err >&2"); err != nil || out != "out main\n" || errOut != "err\n" {
			t.Errorf("exec (websockets %s): %v, stdout %q, stderr %q", websockets, err, out, errOut)
		}
		if out, errOut, err := s.Kubectl(t, "from stdin", "exec", "-i", "two", "-c", "b", "--", "cat"); err != nil || out != "from stdin" {
			t.Errorf("exec -i (websockets %s): %v, stdout %q, stderr %q", websockets, err, out, errOut)
		}
		_, _, err := s.Kubectl(t, "", "exec", "one", "--", "sh", "-c", "exit 7")
		if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 7 {
			t.Errorf("exit code (websockets %s): got %v, want 7", websockets, err)
		}
		portForward(t, s)
	}

	readers(t, s)

	// The end of the server ends a log that is being followed.
	stream, err := client.CoreV1().Pods("default").GetLogs("one", &corev1.PodLogOptions{Follow: true}).Stream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	if line, err := bufio.NewReader(stream).ReadString('\n'); err != nil || !strings.HasPrefix(line, "log of main") {
		t.Errorf("followed log: %q, %v", line, err)
	}
	s.Stop()
}

// readers looks that who may only get the connections of pods makes none: a WebSocket
// begins with a GET.
func readers(t *testing.T, s *apitest.Server) {
	t.Helper()
	expect(t, s, "", args("create role reader --verb=get --resource=pods,pods/exec,pods/attach,pods/portforward,pods/log"), "created")
	expect(t, s, "", args("create rolebinding reader --role=reader --user=reader"), "created")
	config, err := clientcmd.BuildConfigFromFlags("", s.KubeconfigFor(t, "reader"))
	if err != nil {
		t.Fatal(err)
	}
	pods := kubernetes.NewForConfigOrDie(config).CoreV1().RESTClient()
	get := func(subresource string) error {
		return pods.Get().Namespace("default").Resource("pods").Name("one").SubResource(subresource).Param("command", "true").Param("stdout", "true").Do(t.Context()).Error()
	}
	for _, subresource := range []string{"exec", "attach", "portforward"} {
		if err := get(subresource); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), `pods "one" is forbidden`) {
			t.Errorf("%s by a reader: %v", subresource, err)
		}
	}
	if err := get("log"); err != nil {
		t.Errorf("log by a reader: %v", err)
	}
}

// portForward fetches something through kubectl port-forward.
func portForward(t *testing.T, s *apitest.Server) {
	t.Helper()
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "forwarded") }))
	defer target.Close()
	port := target.Listener.Addr().(*net.TCPAddr).Port
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "kubectl", "--kubeconfig", s.Kubeconfig, "port-forward", "pod/one", fmt.Sprintf(":%d", port))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	address, _, _ := strings.Cut(strings.TrimPrefix(line, "Forwarding from "), " ")
	if err != nil {
		t.Fatalf("port-forward said %q: %v", line, err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil || string(body) != "forwarded" {
		t.Errorf("through port-forward: %q, %v", body, err)
	}
	cancel()
	_ = cmd.Wait() // killed
}

// logOverWebSocket reads a log as browsers do.
func logOverWebSocket(t *testing.T, s *apitest.Server, path string) string {
	t.Helper()
	config, err := websocket.NewConfig("wss"+strings.TrimPrefix(s.URL, "https")+path, s.URL)
	if err != nil {
		t.Fatal(err)
	}
	if config.TlsConfig, err = rest.TLSConfigFor(s.Config); err != nil {
		t.Fatal(err)
	}
	config.TlsConfig.NextProtos = []string{"http/1.1"}
	config.Protocol = []string{"binary.k8s.io"}
	conn, err := config.DialContext(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	out, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
