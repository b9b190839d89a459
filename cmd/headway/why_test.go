package main

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/cmd/headway/cli"
	"headway.dev/cmd/headway/headwaytest"
	"headway.dev/cmd/headway/up"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer/wire"
)

// whyDeployment is a Deployment of one pod that asks for CPU.
const whyDeployment = `apiVersion: apps/v1
kind: Deployment
metadata: {name: NAME, namespace: default}
spec:
  replicas: 1
  selector: {matchLabels: {app: NAME}}
  template:
    metadata: {labels: {app: NAME}}
    spec:
      containers:
      - name: main
        image: example.com/NAME:1
        resources: {requests: {cpu: "CPU"}}
`

func whyFile(name, cpu string) string {
	return strings.NewReplacer("NAME", name, "CPU", cpu).Replace(whyDeployment)
}

// addNodes adds nodes of four CPUs that are well, of which the second is tainted.
func (s *story) addNodes(names ...string) {
	s.t.Helper()
	for i, name := range names {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
		if i == 1 {
			n.Spec.Taints = []corev1.Taint{{Key: "dedicated", Value: "gpu", Effect: corev1.TaintEffectNoSchedule}}
		}
		s.create(n)
		s.setStatus(schema.GroupKind{Kind: "Node"}, "", name, func(o object.Object) {
			o.(*corev1.Node).Status = corev1.NodeStatus{
				Allocatable: corev1.ResourceList{"cpu": resource.MustParse("4"), "memory": resource.MustParse("8Gi"), "pods": resource.MustParse("110")},
				Conditions:  []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastHeartbeatTime: metav1.Now()}},
			}
		})
	}
}

// setStatus changes the status of an object, as an agent would.
func (s *story) setStatus(kind schema.GroupKind, namespace, name string, edit func(object.Object)) {
	s.t.Helper()
	_, err := s.Engine.Store().Commit(s.t.Context(), change.Tx{Changes: []change.Change{
		change.PatchStatus(object.Key{GroupKind: kind, Namespace: namespace, Name: name}, func(o object.Object) bool {
			edit(o)
			return true
		}),
	}})
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *story) why(token, kind, name string) (wire.Why, int, string) {
	s.t.Helper()
	code, body := s.ask(token, http.MethodGet, "/headway/v1/why?namespace=default&kind="+kind+"&name="+name, "", nil)
	var why wire.Why
	if code == http.StatusOK {
		if err := json.Unmarshal([]byte(body), &why); err != nil {
			s.t.Fatalf("%v: %s", err, body)
		}
	}
	return why, code, body
}

func reasonOf(why wire.Why, reason string) *wire.WhyReason {
	if i := slices.IndexFunc(why.Reasons, func(r wire.WhyReason) bool { return r.Reason == reason }); i >= 0 {
		return &why.Reasons[i]
	}
	return nil
}

// The API tells why pods have no node, why they do not run on theirs, and why they are
// there, with the commit since which, and to nobody what they may not read.
func TestWhy(t *testing.T) {
	s := newStory(t, map[string]string{"web.yaml": whyFile("web", "3"), "big.yaml": whyFile("big", "1")}, func(_ *story, up *up.Options) {
		up.NodeGrace = time.Hour
	})
	s.addNodes("n1", "n2")
	first := s.repo.Git(s.repo.Work, "rev-parse", "HEAD")
	pods := schema.GroupKind{Kind: "Pod"}
	podOf := func(app string) *corev1.Pod {
		list, _ := s.Engine.Store().List(pods, "default")
		for _, o := range list {
			if p := o.(*corev1.Pod); p.Labels["app"] == app && p.DeletionTimestamp == nil {
				return p
			}
		}
		return nil
	}
	s.eventually("both have a node", func() bool {
		web, big := podOf("web"), podOf("big")
		return web != nil && big != nil && web.Spec.NodeName == "n1" && big.Spec.NodeName == "n1"
	})
	second := s.push(map[string]string{"big.yaml": whyFile("big", "2")})

	// The new pod fits beside nobody. What is said is what the scheduler says.
	const words = "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint(s). preemption: 0/2 nodes are available: 1 No preemption victims found for incoming pod, 1 Preemption is not helpful for scheduling."
	var why wire.Why
	s.eventually("the new pod has no node", func() bool {
		why, _, _ = s.why("", "deploy", "big")
		r := reasonOf(why, "Unschedulable")
		return r != nil && r.Message == words
	})
	r := reasonOf(why, "Unschedulable")
	if why.Kind != "Deployment" || why.State != wire.WhyWaiting || why.Declared != "Deployment/big" || why.Kustomization != wire.Root || r.Count != 1 || len(r.Pods) != 1 {
		t.Errorf("why = %+v", why)
	}
	nodes := []wire.WhyNode{
		{Node: "n1", Reasons: []string{"Insufficient cpu"}, Fixes: []string{"needs 2 more CPU on n1"}},
		{Node: "n2", Reasons: []string{"node(s) had untolerated taint(s)"}, Fixes: []string{"add a toleration for dedicated=gpu:NoSchedule"}},
	}
	if d := cmp.Diff(nodes, r.Nodes); d != "" {
		t.Errorf("nodes (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]string{nodes[0].Fixes[0], nodes[1].Fixes[0]}, r.Fixes); d != "" {
		t.Errorf("fixes (-want +got):\n%s", d)
	}
	if len(r.Set) != 1 || r.Set[0].Path != "spec.template.spec.containers[name=main].resources.requests.cpu" || r.Set[0].File != "big.yaml" || r.Set[0].Commit != second || r.Since != second || why.Commits[second].SHA != second {
		t.Errorf("set = %+v since %s, want commit %s", r.Set, r.Since, second)
	}
	pending := r.Pods[0]
	if one, _, _ := s.why("", "pod", pending); one.State != wire.WhyWaiting || reasonOf(one, "Unschedulable") == nil || one.Declared != "Deployment/big" {
		t.Errorf("the pod itself: %+v", one)
	}
	headwaytest.Shows(t, "headway why", s.must(cli.ExitOK, "why", "deploy/big"), "Deployment/big in default: Waiting: ", "Unschedulable, 1 pod: "+pending, words, "n1     Insufficient cpu", "fix    needs 2 more CPU on n1", "since  "+second[:7], "big.yaml:13 spec.template.spec.containers[name=main].resources.requests.cpu")

	// An image that cannot be pulled, and then a pod that is well.
	web := podOf("web")
	const pull = `failed to pull image "example.com/web:1": not found`
	s.setStatus(pods, "default", web.Name, func(o object.Object) {
		o.(*corev1.Pod).Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "main", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull", Message: pull}}}}
	})
	why, _, _ = s.why("", "pod", web.Name)
	if r := reasonOf(why, "ErrImagePull"); r == nil || r.Message != pull || r.Container != "main" || !strings.Contains(r.Fixes[0], "correct spec.containers[name=main].image, which is example.com/web:1") || r.Since != first || len(r.Set) != 1 || r.Set[0].File != "web.yaml" {
		t.Errorf("why = %+v", why)
	}
	s.setStatus(pods, "default", web.Name, func(o object.Object) {
		p := o.(*corev1.Pod)
		p.Status.Phase, p.Status.ContainerStatuses = corev1.PodRunning, []corev1.ContainerStatus{{Name: "main", Ready: true, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}
		p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: corev1.PodReady, Status: corev1.ConditionTrue})
	})
	why, _, _ = s.why("", "pod", web.Name)
	if r := reasonOf(why, "Scheduled"); why.State != wire.WhyRunning || why.Node != "n1" || len(why.Reasons) != 1 || r.Message != "it has been bound to n1: of 2 nodes, it is the only one that would take it" || r.Since != first {
		t.Errorf("why = %+v", why)
	}

	// What one may not read one does not learn, and what is asked for is named.
	s.create(
		&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "asks"}, Rules: []rbacv1.PolicyRule{{Verbs: []string{"get"}, NonResourceURLs: []string{"/headway/v1/*"}}}},
		&rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "asks"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "asks"}, Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: "bob"}, {APIGroup: rbacv1.GroupName, Kind: "User", Name: "viewer"}}},
		&rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "deployments"}, Rules: []rbacv1.PolicyRule{{Verbs: []string{"get"}, APIGroups: []string{"apps"}, Resources: []string{"deployments"}}}},
		&rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "bob"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "deployments"}, Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: "bob"}}},
		&rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "viewer"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "view"}, Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: "viewer"}}},
	)
	s.eventually("the roles hold", func() bool {
		_, bob, _ := s.why("token-of-bob", "deploy", "big")
		_, viewer, _ := s.why("token-of-viewer", "deploy", "big")
		return bob == http.StatusOK && viewer == http.StatusOK
	})
	for _, tc := range []struct {
		token, kind, name string
		code              int
		says, never       []string
	}{
		{"token-of-bob", "deploy", "big", http.StatusOK, []string{`"kind":"Deployment"`}, []string{pending, "n1", "n2", "dedicated", "Insufficient", wire.Root, second}},
		{"token-of-viewer", "deploy", "big", http.StatusOK, []string{pending, words, `"nodesHidden":true`}, []string{"n2", "dedicated", wire.Root, second}},
		{"token-of-bob", "pod", pending, http.StatusForbidden, []string{`pods \"` + pending + `\" is forbidden`}, nil},
		{"token-of-bob", "pod", "none", http.StatusForbidden, []string{`pods \"none\" is forbidden`}, nil},
		{"", "deploy", "none", http.StatusNotFound, []string{`deployments.apps "none" not found`}, nil},
		{"", "configmap", "kube-root-ca.crt", http.StatusUnprocessableEntity, []string{"why tells about ", "deployments, ", "pods, ", "and a ConfigMap is none of these"}, nil},
		{"", "toaster", "x", http.StatusNotFound, []string{`the server doesn't have a resource type "toaster"`}, nil},
	} {
		_, code, body := s.why(tc.token, tc.kind, tc.name)
		if code != tc.code {
			t.Errorf("%s %s/%s: %d, want %d: %s", tc.token, tc.kind, tc.name, code, tc.code, body)
		}
		headwaytest.Shows(t, tc.kind+"/"+tc.name, strings.ReplaceAll(body, `\"`, `"`), unquoted(tc.says)...)
		for _, word := range tc.never {
			if strings.Contains(body, word) {
				t.Errorf("%s learns %q: %s", tc.token, word, body)
			}
		}
	}

	// A commit that is refused is told, also of what is not there yet.
	s.push(map[string]string{"new.yaml": strings.Replace(whyFile("new", "1"), "replicas: 1", "replicas: -1", 1)})
	s.eventually("the refusal is told", func() bool {
		why, _, _ := s.why("", "deploy", "web")
		_, code, missing := s.why("", "deploy", "new")
		return slices.ContainsFunc(why.Reasons, func(r wire.WhyReason) bool {
			return r.Object == "Kustomization/"+wire.Root && strings.Contains(r.Message, "new.yaml")
		}) && code == http.StatusNotFound && strings.Contains(missing, "not found. Git may declare it: Kustomization/"+wire.Root) && strings.Contains(missing, "new.yaml")
	})
}

// A claim without a volume says what it waits for, and what uses it what that waits
// for in turn; one that has a volume names it, and who uses it.
func TestWhyOfAClaim(t *testing.T) {
	claim := func(name, class string) string {
		return "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: " + name + ", namespace: default}\nspec:\n  accessModes: [ReadWriteOnce]\n" + class + "  resources: {requests: {storage: 1Gi}}\n"
	}
	s := newStory(t, map[string]string{"data.yaml": claim("data", ""), "odd.yaml": claim("odd", "  storageClassName: tape\n")}, nil)
	first := s.repo.Git(s.repo.Work, "rev-parse", "HEAD")
	s.eventually("both say what they lack", func() bool {
		data, _, _ := s.why("", "pvc", "data")
		odd, _, _ := s.why("", "pvc", "odd")
		return reasonOf(data, "WaitForFirstConsumer") != nil && reasonOf(odd, "ProvisioningFailed") != nil
	})
	headwaytest.Shows(t, "headway why", s.must(cli.ExitOK, "why", "pvc/data"), "PersistentVolumeClaim/data in default: Waiting: it has no volume yet",
		"waiting for first consumer to be created before binding", "fix    run a pod that uses it")
	odd, _, _ := s.why("", "pvc", "odd")
	r := reasonOf(odd, "ProvisioningFailed")
	if odd.State != wire.WhyWaiting || r.Message != `storageclass.storage.k8s.io "tape" not found` || len(r.Set) != 1 || r.Set[0].Path != "spec.storageClassName" || r.Since != first || len(r.Fixes) != 1 {
		t.Errorf("why = %+v", odd)
	}

	// A pod wants it, and has no node itself.
	second := s.push(map[string]string{"web.yaml": strings.Replace(whyFile("web", "1"), "      containers:", "      volumes: [{name: d, persistentVolumeClaim: {claimName: data}}]\n      containers:", 1)})
	s.eventually("the pod's trouble is the claim's", func() bool {
		data, _, _ := s.why("", "pvc", "data")
		r := reasonOf(data, "Unschedulable")
		return r != nil && r.Count == 1 && data.State == wire.WhyWaiting
	})
	if web, _, _ := s.why("", "deploy", "web"); web.Revision == "" || second == "" {
		t.Errorf("the Deployment: %+v", web)
	}
}

func unquoted(words []string) (list []string) {
	for _, w := range words {
		list = append(list, strings.ReplaceAll(w, `\"`, `"`))
	}
	return list
}
