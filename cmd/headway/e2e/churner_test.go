package e2e_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"
)

// churner is one thread of TestPodChurn.
type churner struct {
	client kubernetes.Interface
	random *rand.Rand
	name   string
	most   int
	bare   int
	did    map[string]int
}

// run does one thing after the other until ctx ends.
func (u *churner) run(ctx context.Context) error {
	for {
		op := u.next()
		err := op.do(ctx)
		switch {
		case apierrors.IsNotFound(err), apierrors.IsConflict(err), apierrors.IsAlreadyExists(err):
		case err != nil:
			return fmt.Errorf("%s: %w", op.name, err)
		}
		u.did[op.name]++
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Duration(u.random.IntN(600)) * time.Millisecond): // the random moment
		}
	}
}

type churn struct {
	name string
	do   func(ctx context.Context) error
}

// next chooses what to do.
func (u *churner) next() churn {
	pods := u.client.CoreV1().Pods("churn")
	mine := metav1.ListOptions{LabelSelector: "app=" + u.name}
	force := metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)}
	switch u.random.IntN(12) {
	case 0, 1, 2:
		return churn{"scale", func(ctx context.Context) error { return u.scale(ctx, u.random.IntN(u.most+1)) }}
	case 3:
		return churn{"scale to all", func(ctx context.Context) error { return u.scale(ctx, u.most) }}
	case 4:
		return churn{"scale to none", func(ctx context.Context) error { return u.scale(ctx, 0) }}
	case 5, 6:
		return churn{"delete", func(ctx context.Context) error { return u.delete(ctx, metav1.DeleteOptions{}) }}
	case 7, 8:
		return churn{"force", func(ctx context.Context) error { return u.delete(ctx, force) }}
	case 9:
		return churn{"force all", func(ctx context.Context) error { return pods.DeleteCollection(ctx, force, mine) }}
	default:
		return churn{"create", u.create}
	}
}

func (u *churner) scale(ctx context.Context, replicas int) error {
	patch := fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, replicas)
	_, err := u.client.AppsV1().Deployments("churn").Patch(ctx, u.name, types.MergePatchType, patch, metav1.PatchOptions{}, "scale")
	return err
}

// delete deletes one of the thread's pods.
func (u *churner) delete(ctx context.Context, opts metav1.DeleteOptions) error {
	pods := u.client.CoreV1().Pods("churn")
	list, err := pods.List(ctx, metav1.ListOptions{LabelSelector: "app=" + u.name})
	if err != nil || len(list.Items) == 0 {
		return err
	}
	return pods.Delete(ctx, list.Items[u.random.IntN(len(list.Items))].Name, opts)
}

// create makes a pod that is nobody's: it ends by itself, or fails at once, again and again.
func (u *churner) create(ctx context.Context) error {
	u.bare++
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("%s-bare-%d", u.name, u.bare), Labels: map[string]string{"bare": "yes"}},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: ptr.To[int64](1),
			RestartPolicy:                 []corev1.RestartPolicy{corev1.RestartPolicyNever, corev1.RestartPolicyAlways}[u.random.IntN(2)],
			Containers: []corev1.Container{{
				Name: "main", Image: "headway.dev/test/busybox:1",
				Command: []string{"sh", "-c", fmt.Sprintf("echo here; sleep 0.%d; exit %d", u.random.IntN(10), u.random.IntN(2))},
			}},
		},
	}
	_, err := u.client.CoreV1().Pods("churn").Create(ctx, p, metav1.CreateOptions{})
	if u.bare > u.most/4 { // the oldest goes
		old := fmt.Sprintf("%s-bare-%d", u.name, u.bare-u.most/4)
		if derr := u.client.CoreV1().Pods("churn").Delete(ctx, old, metav1.DeleteOptions{}); derr != nil && !apierrors.IsNotFound(derr) {
			return derr
		}
	}
	return err
}
