package main

import (
	"fmt"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"headway.dev/manifests/model/object"
)

const robotYAML = `apiVersion: v1
kind: Namespace
metadata: {name: robots}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: default, namespace: robots}
imagePullSecrets: [{name: registry}]
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: robot, namespace: robots}
---
apiVersion: v1
kind: Secret
metadata: {name: robot, namespace: robots, labels: {version: one}, annotations: {kubernetes.io/service-account.name: robot}}
type: kubernetes.io/service-account-token
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: robots}
spec:
  containers: [{name: web, image: "example/web:1"}]
`

// A commit brings a namespace, its accounts, a Secret for a token and a pod at
// once. What the cluster adds to them is not Git's to put back; the token works
// for as long as Git has its account and its Secret.
func TestAccountsFromGit(t *testing.T) {
	c := newWritesCluster(t, "heal", map[string]string{"robot.yaml": robotYAML})
	applied := func() bool { return strings.HasSuffix(c.ks().Status.LastAppliedRevision, c.head()) }
	get := func(kind, name string) object.Object {
		return c.Engine.Store().Get(object.Key{GroupKind: schema.GroupKind{Kind: kind}, Namespace: "robots", Name: name})
	}
	secret := func() *corev1.Secret { s, _ := get("Secret", "robot").(*corev1.Secret); return s }
	filled := func() bool { return secret() != nil && len(secret().Data["token"]) > 0 }
	host := c.run("", "kubectl", "config", "view", "-o", "jsonpath={.clusters[0].cluster.server}")
	who := func(token []byte) (string, error) {
		client, err := kubernetes.NewForConfig(&rest.Config{Host: host, BearerToken: string(token), TLSClientConfig: rest.TLSClientConfig{CAData: secret().Data["ca.crt"]}})
		if err != nil {
			return "", err
		}
		review, err := client.AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
		if err != nil {
			return "", err
		}
		return review.Status.UserInfo.Username, nil
	}
	c.eventually("the token", filled)
	first := secret()
	if name, err := who(first.Data["token"]); err != nil || name != "system:serviceaccount:robots:robot" {
		t.Errorf("the token is of %q, %v", name, err)
	}
	pod := get("Pod", "web").(*corev1.Pod)
	if len(pod.Spec.Volumes) != 1 || fmt.Sprint(pod.Spec.ImagePullSecrets) != "[{registry}]" {
		t.Errorf("the pod has volumes %v and pull secrets %v", pod.Spec.Volumes, pod.Spec.ImagePullSecrets)
	}

	// The next commit leaves it alone, and nothing of it was taken for drift.
	c.commit(map[string]string{"robot.yaml": strings.Replace(robotYAML, "version: one", "version: two", 1)})
	c.eventually("the second commit", applied)
	if s := secret(); s.UID != first.UID || string(s.Data["token"]) != string(first.Data["token"]) || s.Labels["version"] != "two" {
		t.Errorf("the Secret is another after the second commit: %v", s.ObjectMeta)
	}
	if p := get("Pod", "web").(*corev1.Pod); p.UID != pod.UID || len(p.Spec.Volumes) != 1 {
		t.Errorf("the pod is another after the second commit: %v", p.ObjectMeta)
	}
	if log := c.run("", "kubectl", "get", "--raw", "/headway/v1/log"); strings.Count(log, `"type":"applied"`) != 2 || strings.Contains(log, `"type":"drift"`) {
		t.Errorf("the log has other entries than two commits that were applied:\n%s", log)
	}

	// When Git puts back what people change, what the cluster added stays.
	c.run("", "kubectl", "-n", "robots", "annotate", "secret/robot", "note=mine")
	c.run("", "kubectl", "-n", "robots", "label", "--overwrite", "secret/robot", "version=forged")
	c.run("", "kubectl", "-n", "robots", "label", "pod/web", "note=mine")
	c.eventually("what kubectl did goes", func() bool {
		return secret().Annotations["note"] == "" && secret().Labels["version"] == "two" && get("Pod", "web").GetLabels()["note"] == ""
	})
	if s, p := secret(), get("Pod", "web").(*corev1.Pod); string(s.Data["token"]) != string(first.Data["token"]) || len(p.Spec.Volumes) != 1 {
		t.Errorf("the Secret or the pod has lost something: %v %v", s.ObjectMeta, p.Spec.Volumes)
	}

	// Git makes the account again: its Secret gets another token.
	c.run("", "kubectl", "-n", "robots", "delete", "serviceaccount/robot")
	c.eventually("another token", func() bool { return filled() && secret().UID != first.UID })
	if name, err := who(first.Data["token"]); err == nil {
		t.Errorf("the token of an account that is gone is still of %q", name)
	}
	last := secret()
	if name, err := who(last.Data["token"]); err != nil || name != "system:serviceaccount:robots:robot" {
		t.Errorf("the new token is of %q, %v", name, err)
	}
}
