package main

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/certificate"

	"headway.dev/cmd/headway/headwaytest"
	"headway.dev/cmd/headway/up/uptest"
	"headway.dev/nodes/join"
)

// A node's certificate is renewed before it ends, and the node is a client of the API by
// the new one.
func TestCertificateIsRenewed(t *testing.T) {
	t.Parallel()
	s := uptest.Start(t, headwaytest.NewRepository(t, map[string]string{"README": "nothing to apply"}).Bare, uptest.Options{})
	// It began five minutes ago, and has 30 seconds left: more than nine tenths are over.
	cert, key, err := s.Engine.PKI().ClientFor(30*time.Second, "system:node:n1", "system:nodes")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "ca.crt"), s.Engine.PKI().CACert, 0o600); err != nil {
		t.Fatal(err)
	}
	store, err := certificate.NewFileStore("client", dir, dir, "", "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Update(cert, key); err != nil {
		t.Fatal(err)
	}
	node, err := join.Join(t.Context(), join.Config{Server: s.URL(), NodeName: "n1", Dir: dir, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- node.Renew(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	deadline := time.Now().Add(time.Minute)
	for {
		current, err := store.Current()
		if err == nil && time.Until(current.Leaf.NotAfter) > 300*24*time.Hour {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("not renewed: %v", err)
		}
		<-time.After(50 * time.Millisecond)
	}
	client, err := kubernetes.NewForConfig(node.Config())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{}); err != nil {
		t.Error(err)
	}
}
