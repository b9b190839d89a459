package api_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/keyutil"

	"headway.dev/engine/api/apitest"
	"headway.dev/engine/controllers"
	"headway.dev/engine/pki"
	"headway.dev/engine/rbac"
)

// wish is a request for a certificate, and the key that it is for.
type wish struct{ request, key []byte }

func wishFor(t *testing.T, subject pkix.Name, ips ...net.IP) wish {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: subject, IPAddresses: ips}, key)
	if err != nil {
		t.Fatal(err)
	}
	pemKey, err := keyutil.MarshalPrivateKeyToPEM(key)
	if err != nil {
		t.Fatal(err)
	}
	return wish{pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), pemKey}
}

func (w wish) manifest(name, usages, more string) string {
	return fmt.Sprintf("---\n{apiVersion: certificates.k8s.io/v1, kind: CertificateSigningRequest, metadata: {name: %s}, spec: {signerName: %s, usages: [%s], request: %s%s}}",
		name, certificatesv1.KubeAPIServerClientSignerName, usages, base64.StdEncoding.EncodeToString(w.request), more)
}

// decided waits until a request is as is says.
func decided(t *testing.T, client kubernetes.Interface, name string, is func(*certificatesv1.CertificateSigningRequest) bool) *certificatesv1.CertificateSigningRequest {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	w, err := client.CertificatesV1().CertificateSigningRequests().Watch(ctx, metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", name).String()})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	var last any
	for ev := range w.ResultChan() {
		if r, ok := ev.Object.(*certificatesv1.CertificateSigningRequest); ok && is(r) {
			return r
		}
		last = ev.Object
	}
	t.Fatalf("the request %s: %+v", name, last)
	return nil
}

func issued(r *certificatesv1.CertificateSigningRequest) bool { return len(r.Status.Certificate) > 0 }

// runCertificates runs the controllers of certificates until the test ends.
func runCertificates(t *testing.T, s *apitest.Server) {
	t.Helper()
	manager, err := controllers.New(controllers.Config{
		Store: s.Store, Authority: s.PKI, Review: s.API.Review, Enabled: []string{"csrapproving", "csrsigning", "csrcleaner"}, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- manager.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil && ctx.Err() == nil {
			t.Error(err)
		}
	})
}

// Who may ask for certificates gets them from who may approve them, in their own
// name, and nobody becomes an administrator or another node by one.
func TestSigningRequests(t *testing.T) {
	s := apitest.Start(t)
	admin := kubernetes.NewForConfigOrDie(s.Config)
	ctx := t.Context()
	runCertificates(t, s)

	ada := s.KubeconfigFor(t, "ada", "devs")
	const clientUsages = "client auth, digital signature"
	robot := wishFor(t, pkix.Name{CommonName: "robot", Organization: []string{"robots"}})
	file := filepath.Join(t.TempDir(), "csr.yaml")
	// Whoever they say they are, it is ada who asks.
	text := robot.manifest("robot", clientUsages, ", expirationSeconds: 7200, username: root, groups: [system:masters]")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	refuseAs(t, s, ada, `User "ada" cannot create resource "certificatesigningrequests" in API group "certificates.k8s.io" at the cluster scope`, "create", "-f", file)
	for _, args := range [][]string{
		{"create", "clusterrole", "asks", "--verb=create,get,list,watch", "--resource=certificatesigningrequests"},
		{"create", "clusterrole", "decides", "--verb=update", "--resource=certificatesigningrequests/approval"},
		{"create", "clusterrolebinding", "asks", "--clusterrole=asks", "--group=devs"},
		{"create", "clusterrolebinding", "decides", "--clusterrole=decides", "--group=devs"},
	} {
		kubectl(t, s, "", args...)
	}
	if _, stderr, err := s.KubectlAs(t, ada, text, "create", "-f", "-"); err != nil {
		t.Fatalf("%v: %s", err, stderr)
	}
	r, err := admin.CertificatesV1().CertificateSigningRequests().Get(ctx, "robot", metav1.GetOptions{})
	if err != nil || r.Spec.Username != "ada" || strings.Join(r.Spec.Groups, " ") != "devs system:authenticated" {
		t.Errorf("%v: asked by %s of %q, want ada of devs", err, r.Spec.Username, r.Spec.Groups)
	}
	expect(t, s, "", []string{"get", "csr"}, "SIGNERNAME", "REQUESTOR", "REQUESTEDDURATION", certificatesv1.KubeAPIServerClientSignerName, "ada", "120m", "Pending")

	// Who approves needs the right for the signer.
	refuseAs(t, s, ada, `certificatesigningrequests.certificates.k8s.io "robot" is forbidden: user not permitted to approve requests with signerName "kubernetes.io/kube-apiserver-client"`, "certificate", "approve", "robot")
	kubectl(t, s, "", "create", "clusterrolebinding", "approves", "--clusterrole=system:certificates.k8s.io:kube-apiserver-client-approver", "--group=devs")
	if out, stderr, err := s.KubectlAs(t, ada, "", "certificate", "approve", "robot"); err != nil || !strings.Contains(out, "approved") {
		t.Fatalf("%v: %s%s", err, out, stderr)
	}
	r = decided(t, admin, "robot", issued)
	expect(t, s, "", []string{"get", "csr", "robot"}, "Approved,Issued")
	block, _ := pem.Decode(r.Status.Certificate)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if life := cert.NotAfter.Sub(r.Status.Conditions[0].LastUpdateTime.Time); life < 2*time.Hour-time.Minute || life > 2*time.Hour+time.Minute || cert.IsCA {
		t.Errorf("a certificate for %v (authority: %v), want two hours", life, cert.IsCA)
	}
	config := filepath.Join(t.TempDir(), "robot.kubeconfig")
	if err := pki.WriteKubeconfig(config, s.URL, s.PKI.CACert, pki.Credentials{User: "robot", CertPEM: r.Status.Certificate, KeyPEM: robot.key}); err != nil {
		t.Fatal(err)
	}
	if out, stderr, err := s.KubectlAs(t, config, "", "auth", "whoami"); err != nil || !strings.Contains(out, "robot") || !strings.Contains(out, "[robots system:authenticated]") {
		t.Errorf("who has the certificate: %v %s%s", err, out, stderr)
	}
	r.Status.Conditions = nil
	if _, err := admin.CertificatesV1().CertificateSigningRequests().UpdateApproval(ctx, "robot", r, metav1.UpdateOptions{}); err == nil || !strings.Contains(err.Error(), `updates may not remove a condition of type "Approved"`) {
		t.Errorf("take the approval back: %v", err)
	}

	expect(t, s, wishFor(t, pkix.Name{CommonName: "x"}).manifest("unwanted", clientUsages, ""), []string{"create", "-f", "-"}, "created")
	expect(t, s, "", []string{"certificate", "deny", "unwanted"}, "denied")
	expect(t, s, "", []string{"get", "csr", "--field-selector=spec.signerName=" + certificatesv1.KubeAPIServerClientSignerName}, "Denied", "robot")
	refuse(t, s, wishFor(t, pkix.Name{CommonName: "x", Organization: []string{"system:masters"}}).manifest("root", clientUsages, ""), []string{"create", "-f", "-"},
		`certificatesigningrequests.certificates.k8s.io "root" is forbidden: use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed`)
	refuse(t, s, "", []string{"patch", "csr", "unwanted", "--subresource=status", "--type=merge", "-p", `{"status":{"conditions":[{"type":"Approved","status":"True"}]}}`}, "status.conditions: Forbidden: updates may not")

	// What the signer does not sign fails, and says so.
	expect(t, s, wishFor(t, pkix.Name{CommonName: "x"}).manifest("server", "server auth", ""), []string{"create", "-f", "-"}, "created")
	expect(t, s, "", []string{"certificate", "approve", "server"}, "approved")
	decided(t, admin, "server", func(r *certificatesv1.CertificateSigningRequest) bool {
		c := r.Status.Conditions
		return len(c) == 2 && c[1].Type == certificatesv1.CertificateFailed && c[1].Reason == "SignerValidationFailure" && c[1].Message == "invalid usage for client certificate: server auth"
	})

	// A node gets certificates for itself, without anybody's approval if it may.
	kubectl(t, s, "", "create", "clusterrolebinding", "renew", "--clusterrole=system:certificates.k8s.io:certificatesigningrequests:selfnodeclient", "--group=system:nodes")
	node := kubernetes.NewForConfigOrDie(s.API.InProcess("system:node:n1", "system:nodes")).CertificatesV1().CertificateSigningRequests()
	ask := func(name, signer string, w wish, usages ...certificatesv1.KeyUsage) error {
		_, err := node.Create(ctx, &certificatesv1.CertificateSigningRequest{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: certificatesv1.CertificateSigningRequestSpec{
			SignerName: signer, Request: w.request, Usages: usages,
		}}, metav1.CreateOptions{})
		return err
	}
	n1 := pkix.Name{CommonName: "system:node:n1", Organization: []string{"system:nodes"}}
	if err := ask("n1", certificatesv1.KubeAPIServerClientKubeletSignerName, wishFor(t, n1), "client auth", "digital signature"); err != nil {
		t.Fatal(err)
	}
	r = decided(t, admin, "n1", issued)
	if c := r.Status.Conditions[0]; c.Reason != "AutoApproved" || c.Message != "Auto approving self kubelet client certificate after SubjectAccessReview." {
		t.Errorf("approved for %s: %s", c.Reason, c.Message)
	}
	n2 := pkix.Name{CommonName: "system:node:n2", Organization: []string{"system:nodes"}}
	if err := ask("n2", certificatesv1.KubeAPIServerClientKubeletSignerName, wishFor(t, n2), "client auth", "digital signature"); err == nil || !strings.Contains(err.Error(), "can only create a node CSR with CN=system:node:n1") {
		t.Errorf("a node asks for another's certificate: %v", err)
	}
	// That of its server is approved by people.
	if err := ask("n1-server", certificatesv1.KubeletServingSignerName, wishFor(t, n1, net.IPv4(192, 0, 2, 1)), "server auth", "digital signature"); err != nil {
		t.Fatal(err)
	}
	expect(t, s, "", []string{"certificate", "approve", "n1-server"}, "approved")
	r = decided(t, admin, "n1-server", issued)
	if block, _ = pem.Decode(r.Status.Certificate); block == nil {
		t.Fatal("no certificate")
	}
	if cert, err = x509.ParseCertificate(block.Bytes); err != nil || !cert.IPAddresses[0].Equal(net.IPv4(192, 0, 2, 1)) {
		t.Errorf("%v: %v", err, cert.IPAddresses)
	}
	if _, err := cert.Verify(x509.VerifyOptions{Roots: s.PKI.Pool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}); err != nil {
		t.Error(err)
	}
}

// A node's server gets a certificate for addresses that are the node's alone, and who has
// a token to join by gets none of a node that has joined.
func TestCertificatesOfNodes(t *testing.T) {
	s := apitest.Start(t)
	ctx := t.Context()
	admin := kubernetes.NewForConfigOrDie(s.Config)
	runCertificates(t, s)
	for name, address := range map[string]string{"n1": "192.0.2.1", "n2": "192.0.2.2"} {
		made, err := admin.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		made.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: address}}
		if _, err := admin.CoreV1().Nodes().UpdateStatus(ctx, made, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	try := func(user string, groups []string, name, signer, node string, usage certificatesv1.KeyUsage, addresses ...net.IP) error {
		t.Helper()
		subject := pkix.Name{CommonName: "system:node:" + node, Organization: []string{"system:nodes"}}
		_, err := kubernetes.NewForConfigOrDie(s.API.InProcess(user, groups...)).CertificatesV1().CertificateSigningRequests().Create(ctx, &certificatesv1.CertificateSigningRequest{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec:       certificatesv1.CertificateSigningRequestSpec{SignerName: signer, Request: wishFor(t, subject, addresses...).request, Usages: []certificatesv1.KeyUsage{usage, "digital signature"}},
		}, metav1.CreateOptions{})
		return err
	}
	ask := func(user string, groups []string, name, signer, node string, usage certificatesv1.KeyUsage, addresses ...net.IP) {
		t.Helper()
		if err := try(user, groups, name, signer, node, usage, addresses...); err != nil {
			t.Fatal(err)
		}
	}
	const serving, client = certificatesv1.KubeletServingSignerName, certificatesv1.KubeAPIServerClientKubeletSignerName
	nodes, joining := []string{"system:nodes"}, []string{"system:bootstrappers", rbac.Joining}
	ask("system:node:n1", nodes, "another", serving, "n1", "server auth", net.IPv4(192, 0, 2, 2))
	ask("system:node:n1", nodes, "unknown", serving, "n1", "server auth", net.IPv4(192, 0, 2, 1), net.IPv4(192, 0, 2, 9))
	ask("system:node:n1", nodes, "own", serving, "n1", "server auth", net.IPv4(192, 0, 2, 1))
	ask("system:bootstrap:abcdef", joining, "joins", client, "n3", "client auth")
	ask("system:bootstrap:abcdef", joining, "steals", client, "n1", "client auth")
	ask("system:bootstrap:abcdef", joining, "the-api", client, "localhost", "client auth")
	ask("system:bootstrap:abcdef", joining, "nobody", client, "", "client auth")
	if err := try("system:bootstrap:abcdef", []string{"system:bootstrappers"}, "other-token", client, "n4", "client auth"); !apierrors.IsForbidden(err) {
		t.Errorf("a token for something else asks for a node's certificate: %v", err)
	}

	r := decided(t, admin, "own", issued)
	if c := r.Status.Conditions[0]; c.Reason != "AutoApproved" || c.Message != "Auto approving self kubelet server certificate after SubjectAccessReview." {
		t.Errorf("approved for %s: %s", c.Reason, c.Message)
	}
	decided(t, admin, "joins", issued)
	// The name is taken with the certificate, before the machine has told anything.
	if _, err := admin.CoreV1().Nodes().Get(ctx, "n3", metav1.GetOptions{}); err != nil {
		t.Errorf("the node that joins: %v", err)
	}
	ask("system:bootstrap:ghijkl", joining, "joins-too", client, "n3", "client auth")
	for _, name := range []string{"joins-too", "the-api"} {
		r = decided(t, admin, name, func(r *certificatesv1.CertificateSigningRequest) bool { return len(r.Status.Conditions) > 0 })
		if c := r.Status.Conditions[0]; c.Type != certificatesv1.CertificateDenied || len(r.Status.Certificate) > 0 {
			t.Errorf("%s: %s, %s: %s", name, c.Type, c.Reason, c.Message)
		}
	}
	r = decided(t, admin, "steals", func(r *certificatesv1.CertificateSigningRequest) bool { return len(r.Status.Conditions) > 0 })
	if c := r.Status.Conditions[0]; c.Type != certificatesv1.CertificateDenied || c.Reason != "NodeExists" || len(r.Status.Certificate) > 0 {
		t.Errorf("who asks for another's name: %s, %s: %s", c.Type, c.Reason, c.Message)
	}
	// A node that takes another's address gets nothing by it.
	n1, err := admin.CoreV1().Nodes().Get(ctx, "n1", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	n1.Status.Addresses = append(n1.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: "192.0.2.2"})
	if _, err := admin.CoreV1().Nodes().UpdateStatus(ctx, n1, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	// Nor one by which it could be the API.
	n1, err = admin.CoreV1().Nodes().Get(ctx, "n1", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	n1.Status.Addresses = append(n1.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: "127.0.0.1"})
	if _, err := admin.CoreV1().Nodes().UpdateStatus(ctx, n1, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	ask("system:node:n1", nodes, "api-address", serving, "n1", "server auth", net.IPv4(127, 0, 0, 1))
	ask("system:node:n1", nodes, "later", serving, "n1", "server auth", net.IPv4(192, 0, 2, 2))
	ask("system:node:n1", nodes, "own-again", serving, "n1", "server auth", net.IPv4(192, 0, 2, 1))
	decided(t, admin, "own-again", issued)
	for _, name := range []string{"another", "unknown", "later", "api-address", "nobody"} {
		r, err := admin.CertificatesV1().CertificateSigningRequests().Get(ctx, name, metav1.GetOptions{})
		if err != nil || len(r.Status.Conditions) > 0 || len(r.Status.Certificate) > 0 {
			t.Errorf("%s: %v, %+v; want it left to people", name, err, r.Status.Conditions)
		}
	}
	// People are told why, at the Node.
	wanted := map[string]string{"later": "192.0.2.2 is the node n2's, too: give each node an address of its own (--node-ip)", "unknown": "the node does not have the address 192.0.2.9", "api-address": "127.0.0.1 is no address of one machine"}
	for deadline := time.Now().Add(time.Minute); len(wanted) > 0; {
		events, err := admin.CoreV1().Events("default").List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.kind=Node,involvedObject.name=n1,reason=ServingCertificateNotApproved"})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events.Items {
			maps.DeleteFunc(wanted, func(request, why string) bool {
				return e.Type == corev1.EventTypeWarning && strings.Contains(e.Message, "its request "+request+" is not approved: "+why)
			})
		}
		if time.Now().After(deadline) {
			t.Fatalf("nobody is told of %v: %v", wanted, events.Items)
		}
		<-time.After(200 * time.Millisecond)
	}
}
