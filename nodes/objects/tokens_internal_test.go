package objects

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

// A token is kept for four fifths of its life; then the pod is looked at again
// and gets a new one. A pod that is gone is left alone.
func TestTokensAreRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset()
		issued := 0
		client.PrependReactor("create", "serviceaccounts", func(a clienttesting.Action) (bool, runtime.Object, error) {
			issued++
			req := a.(clienttesting.CreateAction).GetObject().(*authenticationv1.TokenRequest).DeepCopy()
			req.Status = authenticationv1.TokenRequestStatus{
				Token:               fmt.Sprint("token-", issued),
				ExpirationTimestamp: metav1.NewTime(time.Now().Add(time.Duration(*req.Spec.ExpirationSeconds) * time.Second)),
			}
			return true, req, nil
		})
		told := make(chan types.UID, 10)
		tokens := NewTokens(client, func(uid types.UID) { told <- uid })
		defer tokens.Stop()
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "web-1"}, Spec: corev1.PodSpec{ServiceAccountName: "default"}}
		want := func(token string) {
			t.Helper()
			if got, err := tokens.Get(context.Background(), pod, "", 1000); err != nil || got != token {
				t.Errorf("token = %q, %v, want %q", got, err, token)
			}
		}
		want("token-1")
		<-time.After(799 * time.Second)
		want("token-1")
		<-time.After(2 * time.Second)
		if uid := <-told; uid != pod.UID {
			t.Errorf("told of %s, want %s", uid, pod.UID)
		}
		want("token-2")
		tokens.Release(pod.UID)
		<-time.After(time.Hour)
		if len(told) > 0 {
			t.Error("told of a pod that is gone")
		}
	})
}
