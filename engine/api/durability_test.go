package api_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"headway.dev/engine/api/apitest"
	"headway.dev/engine/store"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

// onDisk is what a server would find that starts after a kill -9 at this
// moment: the object in a copy of the file.
func onDisk(t *testing.T, file string, key object.Key) object.Object {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(t.TempDir(), "copy")
	if err := os.WriteFile(copied, data, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(store.Options{Path: copied})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	return s.Get(key)
}

// What a client was told is on disk: leases and statuses too.
func TestAcknowledgedIsOnDisk(t *testing.T) {
	s := apitest.Start(t)
	ctx := t.Context()
	client := kubernetes.NewForConfigOrDie(s.Config)
	leases, pods := client.CoordinationV1().Leases("default"), client.CoreV1().Pods("default")
	check := func(what string, obj object.Object, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		key, err := scheme.KeyOf(obj)
		if err != nil {
			t.Fatal(err)
		}
		got := onDisk(t, s.StoreFile, key)
		if got == nil {
			t.Errorf("%s: acknowledged as %s, and not on disk", what, obj.GetResourceVersion())
		} else if got.GetResourceVersion() != obj.GetResourceVersion() {
			t.Errorf("%s: acknowledged as %s, on disk is %s", what, obj.GetResourceVersion(), got.GetResourceVersion())
		}
	}
	holder := "a"
	lease, err := leases.Create(ctx, &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "leader"}, Spec: coordinationv1.LeaseSpec{HolderIdentity: &holder}}, metav1.CreateOptions{})
	check("create a lease", lease, err)
	lease, err = leases.Patch(ctx, "leader", types.MergePatchType, []byte(`{"spec":{"holderIdentity":"b"}}`), metav1.PatchOptions{})
	check("patch a lease", lease, err)
	pod, err := pods.Create(ctx, newPod("web"), metav1.CreateOptions{})
	check("create a pod", pod, err)
	for i := range 3 {
		patch := fmt.Appendf(nil, `{"status":{"message":"the %d."}}`, i)
		pod, err = pods.Patch(ctx, "web", types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
		check("patch a pod's status", pod, err)
	}
	pod.Status.Phase = corev1.PodRunning
	pod, err = pods.UpdateStatus(ctx, pod, metav1.UpdateOptions{})
	check("update a pod's status", pod, err)
}
