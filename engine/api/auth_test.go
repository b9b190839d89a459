package api_test

import (
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/kubernetes"

	"headway.dev/engine/api"
	"headway.dev/engine/api/apitest"
)

type tokens map[string]string

// User implements api.Tokens.
func (t tokens) User(token string) (user.Info, bool) {
	name, ok := t[token]
	return &user.DefaultInfo{Name: name, Groups: []string{"robots"}}, ok
}

// Who a request is from decides what it is answered.
func TestAuthentication(t *testing.T) {
	s := apitest.Start(t, func(c *api.Config) { c.Tokens = tokens{"secret-token": "robot"} })
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: s.PKI.Pool()}, ForceAttemptHTTP2: true}}
	defer client.CloseIdleConnections()
	for _, c := range []struct {
		name, path, token string
		status            int
		body              string
	}{
		{"anonymous health", "/healthz", "", 200, "ok"},
		{"anonymous liveness", "/livez", "", 200, "ok"},
		{"anonymous readiness", "/readyz", "", 200, "ok"},
		{"anonymous version", "/version", "", 200, "gitVersion"},
		{"anonymous discovery", "/apis", "", 403, `forbidden: User \"system:anonymous\" cannot get path \"/apis\"`},
		{"anonymous metrics", "/metrics", "", 403, "forbidden"},
		{"anonymous list", "/api/v1/namespaces/default/pods", "", 403, `pods is forbidden: User \"system:anonymous\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\"`},
		{"wrong token", "/healthz", "guess", 401, "Unauthorized"},
		{"known token, no rights", "/api/v1/nodes", "secret-token", 403, `nodes is forbidden: User \"robot\" cannot list resource \"nodes\" in API group \"\" at the cluster scope`},
		{"known token, discovery", "/apis", "secret-token", 200, "APIGroupList"},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if c.token != "" {
			req.Header.Set("Authorization", "Bearer "+c.token)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != c.status || !strings.Contains(string(body), c.body) {
			t.Errorf("%s: got %d %s, want %d with %q", c.name, resp.StatusCode, body, c.status, c.body)
		}
	}
	stranger := s.KubeconfigFor(t, "mallory")
	_, stderr, err := s.KubectlAs(t, stranger, "", "get", "pods")
	if want := `Error from server (Forbidden): pods is forbidden: User "mallory" cannot list resource "pods" in API group "" in the namespace "default"`; err == nil || !strings.Contains(stderr, want) {
		t.Errorf("stranger: got %v %s, want %s", err, stderr, want)
	}
}

// A node may do what its agent needs, for itself and its own pods only.
func TestNode(t *testing.T) {
	s := apitest.Start(t)
	ctx := t.Context()
	admin := kubernetes.NewForConfigOrDie(s.Config)
	node := kubernetes.NewForConfigOrDie(s.API.InProcess("system:node:n1", "system:nodes"))

	if _, err := node.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}, metav1.CreateOptions{}); err != nil {
		t.Fatalf("register: %v", err)
	}
	pod := func(name, on, secret string) *corev1.Pod {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}, Spec: corev1.PodSpec{
			NodeName: on, Containers: []corev1.Container{{Name: "c", Image: "example.com/c"}},
		}}
		if secret != "" {
			p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: secret}}}}
		}
		p, err := admin.CoreV1().Pods("default").Create(ctx, p, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	mine, other := pod("mine", "n1", "needed"), pod("other", "n2", "foreign")
	for _, name := range []string{"needed", "foreign"} {
		if _, err := admin.CoreV1().Secrets("default").Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"default", "foreign"} {
		if _, err := admin.CoreV1().ServiceAccounts("default").Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
			t.Fatal(err)
		}
	}
	token := func(account string, bound *corev1.Pod, audiences ...string) error {
		req := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: audiences}}
		if bound != nil {
			req.Spec.BoundObjectRef = &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: bound.Name, UID: bound.UID}
		}
		got, err := node.CoreV1().ServiceAccounts("default").CreateToken(ctx, account, req, metav1.CreateOptions{})
		if err == nil && got.Status.Token == "" {
			t.Error("a token is empty")
		}
		return err
	}
	mine.Status.Phase = corev1.PodRunning
	own := metav1.ListOptions{FieldSelector: "spec.nodeName=n1"}
	for _, c := range []struct {
		what    string
		allowed bool
		do      func() error
	}{
		{"list own pods", true, func() error { _, err := node.CoreV1().Pods("").List(ctx, own); return err }},
		{"list all pods", false, func() error { _, err := node.CoreV1().Pods("").List(ctx, metav1.ListOptions{}); return err }},
		{"list another node's pods", false, func() error {
			_, err := node.CoreV1().Pods("").List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=n2"})
			return err
		}},
		{"status of own pod", true, func() error {
			_, err := node.CoreV1().Pods("default").UpdateStatus(ctx, mine, metav1.UpdateOptions{})
			return err
		}},
		{"status of another's pod", false, func() error {
			_, err := node.CoreV1().Pods("default").UpdateStatus(ctx, other, metav1.UpdateOptions{})
			return err
		}},
		{"spec of own pod", false, func() error {
			_, err := node.CoreV1().Pods("default").Update(ctx, mine, metav1.UpdateOptions{})
			return err
		}},
		{"create pod", false, func() error {
			_, err := node.CoreV1().Pods("default").Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "x"}}, metav1.CreateOptions{})
			return err
		}},
		{"referenced secret", true, func() error {
			_, err := node.CoreV1().Secrets("default").Get(ctx, "needed", metav1.GetOptions{})
			return err
		}},
		{"other secret", false, func() error {
			_, err := node.CoreV1().Secrets("default").Get(ctx, "foreign", metav1.GetOptions{})
			return err
		}},
		{"all secrets", false, func() error {
			_, err := node.CoreV1().Secrets("default").List(ctx, metav1.ListOptions{})
			return err
		}},
		{"register another node", false, func() error {
			_, err := node.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n2"}}, metav1.CreateOptions{})
			return err
		}},
		{"services", true, func() error { _, err := node.CoreV1().Services("").List(ctx, metav1.ListOptions{}); return err }},
		{"deployments", false, func() error { _, err := node.AppsV1().Deployments("").List(ctx, metav1.ListOptions{}); return err }},
		{"event", true, func() error {
			_, err := node.CoreV1().Events("default").Create(ctx, &corev1.Event{
				ObjectMeta: metav1.ObjectMeta{Name: "e"}, InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: "default", Name: "mine"},
			}, metav1.CreateOptions{})
			return err
		}},
		{"token for own pod", true, func() error { return token("default", mine) }},
		{"token for another node's pod", false, func() error { return token("default", other) }},
		{"token for no pod", false, func() error { return token("default", nil) }},
		{"token of an account that no own pod has", false, func() error { return token("foreign", mine) }},
		{"token for an audience that the pod does not ask for", false, func() error { return token("default", mine, "vault") }},
		{"delete another's pod", false, func() error { return node.CoreV1().Pods("default").Delete(ctx, "other", metav1.DeleteOptions{}) }},
		{"delete own pod", true, func() error {
			return node.CoreV1().Pods("default").Delete(ctx, "mine", *metav1.NewDeleteOptions(0))
		}},
	} {
		err := c.do()
		if c.allowed && err != nil {
			t.Errorf("%s: %v", c.what, err)
		}
		if !c.allowed && !apierrors.IsForbidden(err) {
			t.Errorf("%s: got %v, want forbidden", c.what, err)
		}
	}
}

// A node creates pods that mirror its own, and which refer to nothing: else it
// could read that.
func TestMirrorPods(t *testing.T) {
	s := apitest.Start(t)
	node := kubernetes.NewForConfigOrDie(s.API.InProcess("system:node:n1", "system:nodes")).CoreV1()
	itself, err := node.Nodes().Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	mirror := func(edit func(*corev1.Pod)) *corev1.Pod {
		p := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{
				Name: "static-n1", Annotations: map[string]string{corev1.MirrorPodAnnotationKey: "x"},
				OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: "n1", UID: itself.UID, Controller: new(true)}},
			},
			Spec: corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Name: "c", Image: "example.com/c"}}},
		}
		edit(p)
		return p
	}
	refers := func(source corev1.VolumeSource) func(*corev1.Pod) {
		return func(p *corev1.Pod) { p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: source}} }
	}
	projected := func(p corev1.VolumeProjection) func(*corev1.Pod) {
		return refers(corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{p}}})
	}
	for name, test := range map[string]struct {
		edit func(*corev1.Pod)
		want string
	}{
		"no mirror":     {func(p *corev1.Pod) { p.Annotations = nil }, `pod does not have "kubernetes.io/config.mirror" annotation, node "n1" can only create mirror pods`},
		"elsewhere":     {func(p *corev1.Pod) { p.Spec.NodeName = "n2" }, `node "n1" can only create pods with spec.nodeName set to itself`},
		"nobody's":      {func(p *corev1.Pod) { p.OwnerReferences = nil }, `node "n1" can only create pods with an owner reference set to itself`},
		"another's":     {func(p *corev1.Pod) { p.OwnerReferences[0].Name = "n2" }, `node "n1" can only create pods with an owner reference set to itself`},
		"an older node": {func(p *corev1.Pod) { p.OwnerReferences[0].UID = "old" }, `node n1 UID mismatch: expected old got ` + string(itself.UID)},
		"account":       {func(p *corev1.Pod) { p.Spec.ServiceAccountName = "default" }, "a mirror pod may not reference service accounts"},
		"images":        {func(p *corev1.Pod) { p.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "x"}} }, "a mirror pod may not reference secrets"},
		"secret":        {refers(corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "x"}}), "a mirror pod may not reference secrets"},
		"config map": {
			refers(corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "x"}}}),
			`node "n1" can not create pods that reference configmaps`,
		},
		"token": {projected(corev1.VolumeProjection{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "t"}}), "a mirror pod may not use ServiceAccountToken volume projections"},
	} {
		if _, err := node.Pods("default").Create(t.Context(), mirror(test.edit), metav1.CreateOptions{}); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error = %v, want %s", name, err, test.want)
		}
	}
	got, err := node.Pods("default").Create(t.Context(), mirror(func(*corev1.Pod) {}), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got.Spec.ServiceAccountName != "" || len(got.Spec.Volumes) > 0 {
		t.Errorf("the pod is not what the node runs: %+v", got.Spec)
	}
}

// The in-process transport serves typed clients, a stream of watch events, and
// an end of the watch when the server ends or the client goes.
func TestInProcess(t *testing.T) {
	s := apitest.Start(t)
	config := s.API.InProcess("controller", "system:masters")
	client := kubernetes.NewForConfigOrDie(config)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	w, err := client.CoreV1().ConfigMaps("default").Watch(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	created, err := client.CoreV1().ConfigMaps("default").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Data: map[string]string{"k": "v"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case e := <-w.ResultChan():
		cm, ok := e.Object.(*corev1.ConfigMap)
		if !ok || cm.Name != "a" || cm.ResourceVersion != created.ResourceVersion {
			t.Errorf("watch: got %s %v, want the ConfigMap at %s", e.Type, e.Object, created.ResourceVersion)
		}
	case <-ctx.Done():
		t.Fatal("no watch event")
	}
	w.Stop()
	if _, err := client.CoreV1().ConfigMaps("default").Get(ctx, "none", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("get: got %v, want not found", err)
	}
	stranger := kubernetes.NewForConfigOrDie(s.API.InProcess("nobody"))
	if _, err := stranger.CoreV1().ConfigMaps("default").Get(ctx, "a", metav1.GetOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("stranger: got %v, want forbidden", err)
	}
	// The end of the server ends watches.
	inside, err := client.CoreV1().ConfigMaps("").Watch(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	outside, err := kubernetes.NewForConfigOrDie(s.Config).CoreV1().ConfigMaps("").Watch(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s.Stop()
	for range inside.ResultChan() {
	}
	for range outside.ResultChan() {
	}
	if ctx.Err() != nil {
		t.Error("watches outlive the server")
	}
	if _, err := client.CoreV1().ConfigMaps("default").Get(t.Context(), "a", metav1.GetOptions{}); err == nil {
		t.Error("a request to a stopped server succeeded")
	}
}
