package e2e_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"headway.dev/cmd/headway/e2e"
)

// A certificate of the cluster's authority is not enough for the node's own
// server: it asks the API what its user may, and takes up at once what that says.
func TestNodeAskedDirectly(t *testing.T) {
	t.Parallel()
	c := e2e.Start(t)
	c.Deployed(c.Clone.Git("rev-parse", "HEAD"))
	var pods []string
	for name := range readyPods(t, c, 3) {
		pods = append(pods, name)
	}
	slices.Sort(pods)
	node, err := c.Client().CoreV1().Nodes().Get(t.Context(), "node-1", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	address := net.JoinHostPort(node.Status.Addresses[0].Address, fmt.Sprint(node.Status.DaemonEndpoints.KubeletEndpoint.Port))
	config, err := c.Config()
	if err != nil {
		t.Fatal(err)
	}
	// as is what a user's certificate gets of the node; "" is the administrator's.
	as := func(user string) func(method, path string) (int, string) {
		t.Helper()
		mine := rest.CopyConfig(config)
		if user != "" {
			file := filepath.Join(t.TempDir(), user)
			if r := c.Headway("kubeconfig", "--user", user, "-f", file); r.Code != 0 {
				t.Fatalf("kubeconfig: %s", r.Stderr)
			}
			theirs, err := clientcmd.BuildConfigFromFlags("", file)
			if err != nil {
				t.Fatal(err)
			}
			mine.CertData, mine.KeyData = theirs.CertData, theirs.KeyData
		}
		client, err := rest.HTTPClientFor(mine)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(client.CloseIdleConnections)
		return func(method, path string) (int, string) {
			t.Helper()
			request, err := http.NewRequestWithContext(t.Context(), method, "https://"+address+path, http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			response, err := client.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			body, err := io.ReadAll(io.LimitReader(response.Body, 10<<10))
			if err != nil {
				t.Fatal(err)
			}
			return response.StatusCode, string(body)
		}
	}
	logs := "/containerLogs/hello/" + pods[0] + "/web"
	if code, body := as("")(http.MethodGet, logs); code != http.StatusOK || body == "" {
		t.Errorf("the administrator's logs: %d %q", code, body)
	}
	ada := as("ada")
	for path, wanted := range map[string]string{
		"GET " + logs: "verb=get, resource=nodes, subresource(s)=[proxy]",
		"POST /exec/hello/" + pods[0] + "/web?output=1&command=/web": "verb=create, resource=nodes, subresource(s)=[proxy]",
		"GET /exec/hello/" + pods[0] + "/web?output=1&command=/web":  "verb=get, resource=nodes, subresource(s)=[proxy]",
		"POST /portForward/hello/" + pods[0]:                         "verb=create, resource=nodes, subresource(s)=[proxy]",
		"GET /pods":                                                  "verb=get, resource=nodes, subresource(s)=[pods proxy]",
	} {
		method, path, _ := strings.Cut(path, " ")
		if code, body := ada(method, path); code != http.StatusForbidden || !strings.HasPrefix(body, "Forbidden (user=ada, "+wanted) {
			t.Errorf("%s %s by a user without rights: %d %q", method, path, code, body)
		}
	}
	// Without a certificate nobody is even heard.
	stranger := rest.CopyConfig(rest.AnonymousClientConfig(config))
	client, err := rest.HTTPClientFor(stranger)
	if err != nil {
		t.Fatal(err)
	}
	defer client.CloseIdleConnections()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+address+logs, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if response, err := client.Do(request); err == nil {
		response.Body.Close()
		t.Errorf("without a certificate: %d", response.StatusCode)
	}

	c.Kubectl("create", "clusterrole", "node-logs", "--verb=get", "--resource=nodes/proxy")
	c.Kubectl("create", "clusterrolebinding", "node-logs", "--clusterrole=node-logs", "--user=ada")
	c.Eventually(30*time.Second, "the right holds", func() error {
		if code, body := ada(http.MethodGet, logs); code != http.StatusOK {
			return fmt.Errorf("%d %s", code, body)
		}
		return nil
	})
	if code, body := ada(http.MethodPost, "/portForward/hello/"+pods[0]); code != http.StatusForbidden {
		t.Errorf("what was not granted: %d %q", code, body)
	}
}
