package main

import (
	"net"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"headway.dev/cmd/headway/headwaytest"
	"headway.dev/cmd/headway/up/uptest"
	"headway.dev/manifests/model/change"
)

// A node that says it is where the API server is lends nobody who may ask nodes the
// API server's own rights.
func TestNodeProxyOfTheServerItself(t *testing.T) {
	s := uptest.Start(t, headwaytest.NewRepository(t, map[string]string{"empty.yaml": "# Nothing yet.\n"}).Bare, uptest.Options{})
	host, port, err := net.SplitHostPort(s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.ParseInt(port, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "mirror"}, Status: corev1.NodeStatus{
		Addresses:       []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: host}},
		DaemonEndpoints: corev1.NodeDaemonEndpoints{KubeletEndpoint: corev1.DaemonEndpoint{Port: int32(number)}},
	}}
	if _, err := s.Engine.Store().Commit(t.Context(), change.Tx{Changes: []change.Change{change.Create(node, time.Now())}}); err != nil {
		t.Fatal(err)
	}
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	if err := s.Engine.WriteKubeconfig(kubeconfig); err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := kubernetes.NewForConfigOrDie(config).CoreV1().RESTClient().Get().AbsPath("/api/v1/nodes/mirror/proxy/api/v1/secrets").Do(t.Context()).Raw()
	headwaytest.Shows(t, "the answer", string(raw), `secrets is forbidden: User \"kube-apiserver-kubelet-client\" cannot list resource \"secrets\"`)
	if err == nil {
		t.Error("it is no error")
	}
}
