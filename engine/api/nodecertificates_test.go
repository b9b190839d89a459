package api_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"headway.dev/engine/api/apitest"
	"headway.dev/manifests/model/kinds/networking"
)

// A node is told of a certificate that an Ingress names, and of no other Secret that has
// the name before or after it.
func TestNodeReadsCertificates(t *testing.T) {
	s := apitest.Start(t)
	ctx := t.Context()
	admin := kubernetes.NewForConfigOrDie(s.Config)
	secrets, node := admin.CoreV1().Secrets("default"), kubernetes.NewForConfigOrDie(s.API.InProcess("system:node:n1", "system:nodes")).CoreV1().Secrets("default")
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	create := func(kind corev1.SecretType) {
		t.Helper()
		must(secrets.Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "cert"}, Type: kind, Data: map[string][]byte{corev1.TLSCertKey: {}, corev1.TLSPrivateKeyKey: {}}}, metav1.CreateOptions{}))
	}
	must(admin.NetworkingV1().IngressClasses().Create(ctx, &networkingv1.IngressClass{ObjectMeta: metav1.ObjectMeta{Name: "own"}, Spec: networkingv1.IngressClassSpec{Controller: networking.HeadwayController}}, metav1.CreateOptions{}))
	must(admin.NetworkingV1().Ingresses("default").Create(ctx, &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: networkingv1.IngressSpec{
		IngressClassName: new("own"), TLS: []networkingv1.IngressTLS{{SecretName: "cert"}},
		DefaultBackend: &networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: "web", Port: networkingv1.ServiceBackendPort{Number: 80}}},
	}}, metav1.CreateOptions{}))
	create(corev1.SecretTypeOpaque)
	for _, selector := range []string{"metadata.name=cert", "metadata.name=cert,type=Opaque", "type=kubernetes.io/tls"} {
		if _, err := node.List(ctx, metav1.ListOptions{FieldSelector: selector}); !apierrors.IsForbidden(err) {
			t.Errorf("a list of %s: %v", selector, err)
		}
	}
	certificates := metav1.ListOptions{FieldSelector: "metadata.name=cert,type=kubernetes.io/tls"}
	list, err := node.List(ctx, certificates)
	if err != nil || len(list.Items) != 0 {
		t.Fatalf("while there is another Secret: %v, %v", list, err)
	}
	certificates.ResourceVersion = list.ResourceVersion
	w, err := node.Watch(ctx, certificates)
	must(nil, err)
	defer w.Stop()
	again := func(kind corev1.SecretType) {
		t.Helper()
		must(nil, secrets.Delete(ctx, "cert", metav1.DeleteOptions{}))
		create(kind)
	}
	again(corev1.SecretTypeTLS)
	again(corev1.SecretTypeOpaque)
	again(corev1.SecretTypeTLS)
	for _, want := range []string{"ADDED", "DELETED", "ADDED"} {
		e := <-w.ResultChan()
		if secret, ok := e.Object.(*corev1.Secret); !ok || string(e.Type) != want || secret.Type != corev1.SecretTypeTLS {
			t.Fatalf("the node is told %s %v, want %s", e.Type, e.Object, want)
		}
	}
}
