package api_test

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"headway.dev/engine/api/apitest"
	"headway.dev/manifests/model/kinds/storage"
)

// A node sees the volumes that have their data on it, and says of those that are
// deleted that the data are gone; it writes nothing else of any.
func TestNodeVolumes(t *testing.T) {
	s := apitest.Start(t)
	ctx := t.Context()
	admin := kubernetes.NewForConfigOrDie(s.API.InProcess("admin", "system:masters")).CoreV1().PersistentVolumes()
	node := kubernetes.NewForConfigOrDie(s.API.InProcess("system:node:n1", "system:nodes")).CoreV1().PersistentVolumes()
	for _, on := range []string{"n1", "n2"} {
		_, err := admin.Create(ctx, &corev1.PersistentVolume{
			ObjectMeta: metav1.ObjectMeta{Name: "on-" + on, Labels: map[string]string{storage.NodeLabel: on}, Finalizers: []string{storage.LocalFinalizer, "example.com/mine"}},
			Spec: corev1.PersistentVolumeSpec{
				AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, Capacity: corev1.ResourceList{"storage": resource.MustParse("1Gi")},
				PersistentVolumeSource: corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/srv"}},
			},
		}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
	}
	refused := func(what string, err error) {
		t.Helper()
		if !apierrors.IsForbidden(err) {
			t.Errorf("%s: got %v, want a refusal", what, err)
		}
	}
	own := metav1.ListOptions{LabelSelector: storage.NodeLabel + "=n1"}
	if list, err := node.List(ctx, own); err != nil || len(list.Items) != 1 || list.Items[0].Name != "on-n1" {
		t.Errorf("list: got %+v, %v", list, err)
	}
	if w, err := node.Watch(ctx, own); err != nil {
		t.Errorf("watch: %v", err)
	} else {
		w.Stop()
	}
	if _, err := node.Get(ctx, "on-n1", metav1.GetOptions{}); err != nil {
		t.Errorf("get: %v", err)
	}
	for what, selector := range map[string]string{"all": "", "of another": storage.NodeLabel + "=n2", "of all but": storage.NodeLabel + "!=n2", "of two": storage.NodeLabel + " in (n1,n2)", "that have the label": storage.NodeLabel} {
		_, err := node.List(ctx, metav1.ListOptions{LabelSelector: selector})
		refused("list "+what, err)
		_, err = node.Watch(ctx, metav1.ListOptions{LabelSelector: selector})
		refused("watch "+what, err)
	}
	_, err := node.Get(ctx, "on-n2", metav1.GetOptions{})
	refused("get another's", err)
	patch := func(name, metadata string) error {
		_, err := node.Patch(ctx, name, types.MergePatchType, []byte(`{"metadata":{`+metadata+`}}`), metav1.PatchOptions{})
		return err
	}
	const done = `"finalizers":["example.com/mine","kubernetes.io/pv-protection"]`
	refused("one that is not deleted", patch("on-n1", done))
	for _, name := range []string{"on-n1", "on-n2"} {
		if err := admin.Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	refused("another's", patch("on-n2", done))
	refused("all finalizers", patch("on-n1", `"finalizers":[]`))
	refused("a label", patch("on-n1", done+`,"labels":{"a":"b"}`))
	refused("an annotation", patch("on-n1", `"annotations":{"a":"b"}`))
	refused("its deletion", node.Delete(ctx, "on-n1", metav1.DeleteOptions{}))
	refused("its status", func() error {
		_, err := node.Patch(ctx, "on-n1", types.MergePatchType, []byte(`{"status":{"phase":"Available"}}`), metav1.PatchOptions{}, "status")
		return err
	}())
	pv, err := admin.Get(ctx, "on-n1", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := patch("on-n1", fmt.Sprintf(`"uid":%q,"resourceVersion":%q,`, pv.UID, pv.ResourceVersion)+done); err != nil {
		t.Errorf("one that is deleted: %v", err)
	}
}
