package nodes_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"headway.dev/nodes/nodetest"
)

// served is a container that is ready as long as it says so.
func served() corev1.Container {
	app := tool("serve", ":8080")
	app.ReadinessProbe = &corev1.Probe{
		PeriodSeconds: 1, FailureThreshold: 1,
		ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/ready", Port: intstr.FromInt32(8080)}},
	}
	return app
}

// TestReadinessWhileStopping: until the containers of a pod that terminates have
// ended its readiness is that of its probes.
func TestReadinessWhileStopping(t *testing.T) {
	c := newCluster(t)
	app := served()
	app.Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: 40}}}
	c.run("web", one(app))
	p := c.wait("web", ready)
	c.delete("web", 60)
	c.waitEvent("Killing Stopping container app")
	get(t, "http://"+p.Status.PodIP+":8080/unready")
	nodetest.Eventually(t, 20*time.Second, func() string {
		p, err := c.client.CoreV1().Pods("default").Get(context.Background(), "web", metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		if p.Status.ContainerStatuses[0].State.Running == nil {
			t.Fatalf("the container has ended: %+v", p.Status)
		}
		return hasCondition(p, corev1.PodReady, corev1.ConditionFalse)
	})
}

// TestReadinessWhilePulling: a container whose image does not come holds back
// nothing of the others' status.
func TestReadinessWhilePulling(t *testing.T) {
	c := newCluster(t)
	asked := make(chan struct{})
	registry := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case asked <- struct{}{}:
		case <-r.Context().Done():
		}
		<-r.Context().Done()
	}))
	defer func() {
		c.stop() // and with it the pull
		registry.Close()
	}()
	slow := corev1.Container{Name: "slow", Image: strings.TrimPrefix(registry.URL, "http://") + "/never:1"}
	c.run("web", corev1.PodSpec{Containers: []corev1.Container{served(), slow}})
	<-asked
	nodetest.Eventually(t, 20*time.Second, func() string {
		p, err := c.client.CoreV1().Pods("default").Get(context.Background(), "web", metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		for _, s := range p.Status.ContainerStatuses {
			if s.Name == "app" && s.Ready && s.State.Running != nil {
				return ""
			}
		}
		return fmt.Sprintf("the container that runs is not ready: %+v", p.Status.ContainerStatuses)
	})
}

// TestNodeIsSaidAgain: what the API has of the node is put right, whoever
// changed it and however long ago it was written.
func TestNodeIsSaidAgain(t *testing.T) {
	c := newCluster(t)
	status := func() corev1.ConditionStatus {
		n, err := c.client.CoreV1().Nodes().Get(context.Background(), "n1", metav1.GetOptions{})
		if err != nil {
			return ""
		}
		for _, condition := range n.Status.Conditions {
			if condition.Type == corev1.NodeReady {
				return condition.Status
			}
		}
		return ""
	}
	readyAgain := func() string {
		if s := status(); s != corev1.ConditionTrue {
			return "the node's Ready is " + string(s)
		}
		return ""
	}
	nodetest.Eventually(t, 20*time.Second, readyAgain)
	n, err := c.client.CoreV1().Nodes().Get(context.Background(), "n1", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range n.Status.Conditions {
		n.Status.Conditions[i].Status, n.Status.Conditions[i].Reason = corev1.ConditionUnknown, "NodeStatusUnknown"
	}
	if _, err := c.client.CoreV1().Nodes().UpdateStatus(context.Background(), n, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	nodetest.Eventually(t, 20*time.Second, readyAgain)
}
