package e2e_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/cmd/headway/e2e"
)

// thieves are pods that want the ports of the agent, the API and the Ingresses.
const thieves = `apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web, namespace: default}
spec: {defaultBackend: {service: {name: web, port: {number: 80}}}}
---
apiVersion: v1
kind: Pod
metadata: {name: agent, namespace: default}
spec:
  nodeName: node-2
  terminationGracePeriodSeconds: 0
  containers: [{name: main, image: "headway.dev/test/busybox:1", command: [sleep, "100000"], ports: [{containerPort: 8080, hostPort: 10250}]}]
---
apiVersion: v1
kind: Pod
metadata: {name: api, namespace: default}
spec:
  nodeName: node-1
  terminationGracePeriodSeconds: 0
  containers: [{name: main, image: "headway.dev/test/busybox:1", command: [sleep, "100000"], ports: [{containerPort: 8080, hostPort: 6443}]}]
---
apiVersion: v1
kind: Pod
metadata: {name: ingress, namespace: default}
spec:
  nodeName: node-3
  terminationGracePeriodSeconds: 0
  containers: [{name: main, image: "headway.dev/test/busybox:1", command: [sleep, "100000"], ports: [{containerPort: 8080, hostPort: 80}]}]
---
apiVersion: v1
kind: Pod
metadata: {name: host, namespace: default}
spec:
  nodeName: node-2
  hostNetwork: true
  terminationGracePeriodSeconds: 0
  containers: [{name: main, image: "headway.dev/test/busybox:1", command: [httpd, -f, -p, "10250"]}]
`

// mute is a policy by which pods of app=web begin no connection.
const mute = `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: mute, namespace: default}
spec: {podSelector: {matchLabels: {app: web}}, policyTypes: [Egress]}
`

// portsAreRefused looks that pods get nothing of the agents and the API that they have no
// right to, and none of their ports.
func portsAreRefused(t *testing.T, m *e2e.Machines, pods map[string]corev1.Pod) {
	t.Helper()
	agents := map[string]string{}
	nodes, err := m.Client().CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, node := range nodes.Items {
		agents[node.Name] = fmt.Sprintf("https://%s:%d", pods[node.Name].Status.HostIP, node.Status.DaemonEndpoints.KubeletEndpoint.Port)
	}
	api := "https://" + strings.TrimSpace(m.Kubectl("get", "service", "kubernetes", "-o", "jsonpath={.spec.clusterIP}"))
	token := strings.TrimSpace(m.Kubectl("create", "token", "default"))
	forged := forgedCertificate(t)
	for from, p := range pods {
		nobody, liar := stranger(m, from, p), stranger(m, from, p, forged)
		for to, agent := range agents {
			for _, path := range []string{"/pods", "/exec/default/" + pods[to].Name + "/main?command=id&output=1"} {
				for what, client := range map[string]*http.Client{"nobody": nobody, "a forged certificate": liar} {
					if status, err := asked(client, agent+path, token); err == nil && status != http.StatusUnauthorized || err != nil && !strings.Contains(err.Error(), "remote error: tls:") {
						t.Errorf("from a pod of %s the agent of %s answers %s on %s with %d, %v", from, to, what, path, status, err)
					}
				}
			}
			exec := api + "/api/v1/namespaces/default/pods/" + pods[to].Name + "/exec?container=main&command=id&stdout=1"
			for url, want := range map[string]int{exec: http.StatusForbidden, api + "/api/v1/nodes/" + to + "/proxy/pods": http.StatusForbidden, api + "/headway/v1/tunnels/" + to: http.StatusForbidden} {
				for what, bearer := range map[string]string{"nobody": "", "the pod's account": token} {
					if status, err := asked(nobody, url, bearer); err != nil || status != want {
						t.Errorf("from a pod of %s the API answers %s on %s with %d, %v; want %d", from, what, url, status, err, want)
					}
				}
				if status, err := asked(nobody, url, token+"x"); err != nil || status != http.StatusUnauthorized {
					t.Errorf("from a pod of %s the API answers a wrong token on %s with %d, %v", from, url, status, err)
				}
			}
		}
	}

	m.KubectlIn(mute, "apply", "-f", "-")
	for from, p := range pods {
		client := stranger(m, from, p)
		client.Timeout = time.Second
		for to, agent := range agents {
			if from != to { // its own node is always reached
				m.Eventually(30*time.Second, "the policy keeps the pod of "+from+" from the agent of "+to, func() error { return silent(client, agent) })
			}
		}
		if from != "node-1" {
			m.Eventually(30*time.Second, "the policy keeps the pod of "+from+" from the API", func() error { return silent(client, api) })
		}
	}
	m.Kubectl("delete", "networkpolicy", "mute")

	// No pod gets a port at which the node itself listens, and users are told.
	m.KubectlIn(thieves, "apply", "-f", "-")
	for pod, port := range map[string]string{"agent": "10250", "api": "6443", "ingress": "80"} {
		m.Eventually(time.Minute, "the pod "+pod+" does not get port "+port, func() error {
			text := m.Kubectl("events", "--for", "pod/"+pod)
			if want := "host port " + port + " (TCP) is used by a program of the node"; !strings.Contains(text, "FailedCreatePodSandBox") || !strings.Contains(text, want) {
				return fmt.Errorf("no %q in\n%s", want, text)
			}
			return nil
		})
	}
	m.Eventually(time.Minute, "the pod host does not get port 10250", func() error {
		if r := m.Run("", "kubectl", "logs", "host"); !strings.Contains(r.Stdout, "ddress already in use") {
			return fmt.Errorf("%s%s", r.Stdout, r.Stderr)
		}
		return nil
	})
	m.Kubectl("delete", "pod/agent", "pod/api", "pod/ingress", "pod/host", "ingress/web")
	for node, p := range pods {
		contains(t, "logs", m.Kubectl("logs", p.Name), "serving on "+node)
	}
}

// stranger is a client in a pod that believes every server, and shows its certificates
// whatever authorities the server asks for.
func stranger(m *e2e.Machines, node string, p corev1.Pod, certificates ...tls.Certificate) *http.Client {
	client := m.On(node).Pod(string(p.UID))
	config := &tls.Config{InsecureSkipVerify: true} //nolint:gosec // it is what strangers do
	if len(certificates) > 0 {
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &certificates[0], nil }
	}
	client.Transport.(*http.Transport).TLSClientConfig = config
	return client
}

// forgedCertificate is one that nobody has signed.
func forgedCertificate(t *testing.T) tls.Certificate {
	t.Helper()
	c := newCertificate(t)
	pair, err := tls.X509KeyPair(c.cert, c.key)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(c.cert)
	if pair.Leaf, err = x509.ParseCertificate(block.Bytes); err != nil {
		t.Fatal(err)
	}
	return pair
}

// asked is the status by which a request with a token is answered.
func asked(client *http.Client, url, token string) (int, error) {
	request, err := http.NewRequest(http.MethodGet, url, http.NoBody) //nolint:noctx // the client has a timeout
	if err != nil {
		return 0, err
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := client.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	return response.StatusCode, err
}

// silent fails unless nothing answers.
func silent(client *http.Client, url string) error {
	status, err := asked(client, url, "")
	if err == nil || strings.Contains(err.Error(), "remote error: tls:") {
		return fmt.Errorf("%s answers: %d, %w", url, status, err)
	}
	if !strings.Contains(err.Error(), "Client.Timeout exceeded") && !strings.Contains(err.Error(), "deadline exceeded") {
		return fmt.Errorf("%s does not drop: %w", url, err)
	}
	return nil
}
