package api_test

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"headway.dev/engine/api/apitest"
	"headway.dev/engine/controllers"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

// evicting is a namespace with a budget, whose status the test writes, and its pods.
type evicting struct {
	t      *testing.T
	s      *apitest.Server
	client *kubernetes.Clientset
	key    object.Key
}

func newEvicting(t *testing.T) *evicting {
	t.Helper()
	s := apitest.Start(t)
	config := rest.CopyConfig(s.Config)
	config.QPS = -1
	e := &evicting{t, s, kubernetes.NewForConfigOrDie(config), object.Key{
		GroupKind: schema.GroupKind{Group: "policy", Kind: "PodDisruptionBudget"}, Namespace: "default", Name: "few",
	}}
	e.budget("few", "web")
	return e
}

func (e *evicting) budget(name, app string) {
	e.t.Helper()
	b := &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Name: name}}
	b.Spec.MinAvailable = new(intstr.FromInt32(2))
	b.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}
	if _, err := e.client.PolicyV1().PodDisruptionBudgets("default").Create(e.t.Context(), b, metav1.CreateOptions{}); err != nil {
		e.t.Fatal(err)
	}
}

// says writes the status of the budget, also one that the API would refuse.
func (e *evicting) says(edit func(b *policyv1.PodDisruptionBudget)) {
	e.t.Helper()
	_, err := e.s.Store.Commit(e.t.Context(), change.Tx{Changes: []change.Change{{Key: e.key, Mutate: func(current object.Object) (object.Object, error) {
		b := current.DeepCopyObject().(*policyv1.PodDisruptionBudget)
		b.Spec.UnhealthyPodEvictionPolicy = nil
		b.Status = policyv1.PodDisruptionBudgetStatus{ObservedGeneration: b.Generation, DisruptionsAllowed: 1, CurrentHealthy: 3, DesiredHealthy: 2, ExpectedPods: 3}
		edit(b)
		return b, nil
	}}}})
	if err != nil {
		e.t.Fatal(err)
	}
}

func (e *evicting) status() policyv1.PodDisruptionBudgetStatus {
	return e.s.Store.Get(e.key).(*policyv1.PodDisruptionBudget).Status
}

// pod makes a pod that is bound and has a phase, and is ready or not.
func (e *evicting) pod(name string, phase corev1.PodPhase, ready corev1.ConditionStatus) {
	e.t.Helper()
	pod := newPod(name)
	pod.Labels = map[string]string{"app": "web"}
	pods := e.client.CoreV1().Pods("default")
	if _, err := pods.Create(e.t.Context(), pod, metav1.CreateOptions{}); err != nil {
		e.t.Fatal(err)
	}
	if err := pods.Bind(e.t.Context(), &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: name}, Target: corev1.ObjectReference{Kind: "Node", Name: "n1"}}, metav1.CreateOptions{}); err != nil {
		e.t.Fatal(err)
	}
	key := object.Key{GroupKind: schema.GroupKind{Kind: "Pod"}, Namespace: "default", Name: name}
	if _, err := e.s.Store.Commit(e.t.Context(), change.Tx{Changes: []change.Change{change.PatchStatus(key, func(obj object.Object) bool {
		s := &obj.(*corev1.Pod).Status
		s.Phase = phase
		s.Conditions = append(s.Conditions, corev1.PodCondition{Type: corev1.PodReady, Status: ready})
		return true
	})}}); err != nil {
		e.t.Fatal(err)
	}
}

// evict asks once: the client would wait and try again as it is told to.
func (e *evicting) evict(name string, options *metav1.DeleteOptions) error {
	return e.client.CoreV1().RESTClient().Post().Namespace("default").Resource("pods").Name(name).SubResource("eviction").MaxRetries(0).
		Body(&policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: name}, DeleteOptions: options}).Do(e.t.Context()).Error()
}

func (e *evicting) deleted(name string) bool {
	pod := e.s.Store.Get(object.Key{GroupKind: schema.GroupKind{Kind: "Pod"}, Namespace: "default", Name: name})
	return pod == nil || pod.GetDeletionTimestamp() != nil
}

// caused is the message of the cause DisruptionBudget of a refusal.
func caused(err error) string {
	status, ok := err.(apierrors.APIStatus)
	if !ok || status.Status().Details == nil {
		return ""
	}
	for _, c := range status.Status().Details.Causes {
		if c.Type == policyv1.DisruptionBudgetCause {
			return c.Message
		}
	}
	return ""
}

// Evictions are allowed and refused by what the budget's status says, in Kubernetes'
// words.
func TestEvictionsByStatus(t *testing.T) {
	e := newEvicting(t)
	const violates = "Cannot evict pod as it would violate the pod's disruption budget."
	number := 0
	type budget = *policyv1.PodDisruptionBudget
	condition := func(reason, message string) []metav1.Condition {
		return []metav1.Condition{{Type: "DisruptionAllowed", Status: "False", Reason: reason, Message: message, LastTransitionTime: metav1.Now()}}
	}
	for name, tc := range map[string]struct {
		phase corev1.PodPhase
		ready corev1.ConditionStatus
		says  func(b budget)
		// left is what the budget allows afterwards; without an error the pod goes.
		left             int32
		code, retryAfter int32
		message, cause   string
	}{
		"allowed":                     {"Running", "True", func(budget) {}, 0, 0, 0, "", ""},
		"allowed, more are":           {"Running", "True", func(b budget) { b.Status.DisruptionsAllowed = 5 }, 4, 0, 0, "", ""},
		"none allowed":                {"Running", "True", func(b budget) { b.Status.DisruptionsAllowed, b.Status.CurrentHealthy = 0, 2 }, 0, 429, 0, violates, "The disruption budget few needs 2 healthy pods and has 2 currently"},
		"none allowed, unknown phase": {"Unknown", "True", func(b budget) { b.Status.DisruptionsAllowed, b.Status.CurrentHealthy = 0, 2 }, 0, 429, 0, violates, "The disruption budget few needs 2 healthy pods and has 2 currently"},
		"not observed":                {"Running", "True", func(b budget) { b.Status.ObservedGeneration-- }, 1, 429, 10, violates, "The disruption budget few is still being processed by the server."},
		"failed": {"Running", "True", func(b budget) {
			b.Status.DisruptionsAllowed, b.Status.Conditions = 0, condition("SyncFailed", "found no controllers for pod \"a\"")
		}, 0, 429, 0, violates, `The disruption budget few does not allow evicting pods currently because it failed sync: found no controllers for pod "a"`},
		"said otherwise": {"Running", "True", func(b budget) {
			b.Status.DisruptionsAllowed, b.Status.Conditions = 0, condition("Frozen", "not today")
		}, 0, 429, 0, violates, "The disruption budget few does not allow evicting pods currently (Frozen): not today"},
		"not said": {"Running", "True", func(b budget) { b.Status.DisruptionsAllowed = 0 }, 0, 429, 0, violates, "The disruption budget few does not allow evicting pods currently"},
		"negative": {
			"Running", "True", func(b budget) { b.Status.DisruptionsAllowed = -1 }, -1, 403, 0,
			`poddisruptionbudget.policy "few" is forbidden: pdb disruptions allowed is negative`, "The disruption budget few does not allow evicting pods currently: pdb disruptions allowed is negative",
		},
		"too many evicted": {"Running", "True", func(b budget) {
			b.Status.DisruptedPods = map[string]metav1.Time{}
			for i := range 2001 {
				b.Status.DisruptedPods[fmt.Sprint("p", i)] = metav1.Now()
			}
		}, 1, 403, 0, `poddisruptionbudget.policy "few" is forbidden: DisruptedPods map too big - too many evictions not confirmed by PDB controller`, "The disruption budget few does not allow evicting pods currently: too many pending evictions not confirmed by PDB controller"},
		"pending":                   {"Pending", "False", func(b budget) { b.Status.DisruptionsAllowed = 0 }, 0, 0, 0, "", ""},
		"ended":                     {"Succeeded", "False", func(b budget) { b.Status.DisruptionsAllowed = 0 }, 0, 0, 0, "", ""},
		"failed pod":                {"Failed", "False", func(b budget) { b.Status.DisruptionsAllowed = 0 }, 0, 0, 0, "", ""},
		"unready, healthy budget":   {"Running", "False", func(b budget) { b.Status.DisruptionsAllowed, b.Status.CurrentHealthy = 0, 2 }, 0, 0, 0, "", ""},
		"unready, takes nothing":    {"Running", "False", func(budget) {}, 1, 0, 0, "", ""},
		"unready, unhealthy budget": {"Running", "False", func(b budget) { b.Status.DisruptionsAllowed, b.Status.CurrentHealthy = 0, 1 }, 0, 429, 0, violates, "The disruption budget few needs 2 healthy pods and has 1 currently"},
		"unready, nothing has to be": {"Running", "False", func(b budget) {
			b.Status.DisruptionsAllowed, b.Status.CurrentHealthy, b.Status.DesiredHealthy = 1, 0, 0
		}, 0, 0, 0, "", ""},
		"unready, if the budget is healthy": {"Running", "False", func(b budget) {
			b.Spec.UnhealthyPodEvictionPolicy = new(policyv1.IfHealthyBudget)
			b.Status.DisruptionsAllowed, b.Status.CurrentHealthy = 0, 1
		}, 0, 429, 0, violates, "The disruption budget few needs 2 healthy pods and has 1 currently"},
		"unready, always": {"Running", "False", func(b budget) {
			b.Spec.UnhealthyPodEvictionPolicy = new(policyv1.AlwaysAllow)
			b.Status.DisruptionsAllowed, b.Status.CurrentHealthy = 0, 0
		}, 0, 0, 0, "", ""},
		"ready, always for others": {"Running", "True", func(b budget) {
			b.Spec.UnhealthyPodEvictionPolicy = new(policyv1.AlwaysAllow)
			b.Status.DisruptionsAllowed, b.Status.CurrentHealthy = 0, 2
		}, 0, 429, 0, violates, "The disruption budget few needs 2 healthy pods and has 2 currently"},
	} {
		t.Run(name, func(t *testing.T) {
			pod := fmt.Sprint("pod-", number)
			number++
			e.pod(pod, tc.phase, tc.ready)
			e.says(tc.says)
			was := e.status()
			// A dry run says the same, and does nothing.
			dry := e.evict(pod, &metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}})
			if now := e.status(); e.deleted(pod) || now.DisruptionsAllowed != was.DisruptionsAllowed || len(now.DisruptedPods) != len(was.DisruptedPods) {
				t.Errorf("a dry run left %+v, the pod deleted: %v", now, e.deleted(pod))
			}
			err := e.evict(pod, nil)
			if fmt.Sprint(dry) != fmt.Sprint(err) {
				t.Errorf("a dry run said %v, the eviction %v", dry, err)
			}
			now := e.status()
			if now.DisruptionsAllowed != tc.left {
				t.Errorf("the budget allows %d, want %d", now.DisruptionsAllowed, tc.left)
			}
			if e.deleted(pod) != (tc.code == 0) {
				t.Errorf("the pod is deleted: %v", e.deleted(pod))
			}
			_, noted := now.DisruptedPods[pod]
			if taken := was.DisruptionsAllowed > now.DisruptionsAllowed; noted != taken {
				t.Errorf("%d are evicted, this one: %v, want %v", len(now.DisruptedPods), noted, taken)
			}
			if tc.code == 0 {
				if err != nil {
					t.Errorf("refused: %v", err)
				}
				if now.DisruptionsAllowed == 0 && was.DisruptionsAllowed == 1 &&
					(len(now.Conditions) != 1 || now.Conditions[0].Status != "False" || now.Conditions[0].Reason != "InsufficientPods") {
					t.Errorf("the budget says %+v", now.Conditions)
				}
				return
			}
			status, ok := err.(apierrors.APIStatus)
			if !ok {
				t.Fatalf("got %v, want to be refused", err)
			}
			got := status.Status()
			if got.Code != tc.code || got.Message != tc.message || caused(err) != tc.cause || got.Details.RetryAfterSeconds != tc.retryAfter {
				t.Errorf("got %d %q, cause %q, retry after %d;\nwant %d %q, cause %q, retry after %d", got.Code, got.Message, caused(err), got.Details.RetryAfterSeconds, tc.code, tc.message, tc.cause, tc.retryAfter)
			}
		})
	}
}

// What requests may say: versions of the body, options, and who is asked.
func TestEvictionRequests(t *testing.T) {
	e := newEvicting(t)
	client, err := rest.HTTPClientFor(e.s.Config)
	if err != nil {
		t.Fatal(err)
	}
	post := func(pod, body string) (code int, retryAfter, text string) {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, e.s.URL+"/api/v1/namespaces/default/pods/"+pod+"/eviction", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/json")
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		answer, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, response.Header.Get("Retry-After"), string(answer)
	}
	e.pod("a", "Running", "True")
	e.says(func(b *policyv1.PodDisruptionBudget) { b.Status.ObservedGeneration-- })
	code, retryAfter, text := post("a", `{"apiVersion":"policy/v1beta1","kind":"Eviction","metadata":{"name":"a","namespace":"default"}}`)
	if code != http.StatusTooManyRequests || retryAfter != "10" || !strings.Contains(text, "DisruptionBudget") {
		t.Errorf("refused with %d, Retry-After %q: %s", code, retryAfter, text)
	}
	e.says(func(*policyv1.PodDisruptionBudget) {})
	for body, want := range map[string]string{
		`{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"b"}}`:                                                                           "name in URL does not match name in Eviction object",
		`{"apiVersion":"policy/v2","kind":"Eviction","metadata":{"name":"a"}}`:                                                                           `no kind \"Eviction\" is registered for version \"policy/v2\"`,
		`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"}}`:                                                                                       "cannot be handled as a Eviction",
		`{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"a"},"deleteOptions":{"ignoreStoreReadErrorWithClusterBreakingPotential":true}}`: `Eviction.policy \"a\" is invalid: deleteOptions.ignoreStoreReadErrorWithClusterBreakingPotential: Invalid value: true: can not be set for pod eviction, try after removing the option`,
	} {
		if code, _, text := post("a", body); code < 400 || !strings.Contains(text, want) {
			t.Errorf("%s: %d: %s; want %s", body, code, text, want)
		}
	}
	if e.deleted("a") || e.status().DisruptionsAllowed != 1 {
		t.Error("what was refused left a trace")
	}
	code, _, text = post("a", `{"apiVersion":"policy/v1beta1","kind":"Eviction","metadata":{"name":"a"},"deleteOptions":{"gracePeriodSeconds":7}}`)
	pod := e.s.Store.Get(object.Key{GroupKind: schema.GroupKind{Kind: "Pod"}, Namespace: "default", Name: "a"})
	if code != http.StatusCreated || pod == nil || pod.GetDeletionGracePeriodSeconds() == nil || *pod.GetDeletionGracePeriodSeconds() != 7 {
		t.Errorf("an eviction of the older form: %d: %s; left %v", code, text, pod)
	}

	// A pod of two budgets is not evicted at all.
	e.pod("b", "Running", "True")
	e.says(func(*policyv1.PodDisruptionBudget) {})
	e.budget("more", "web")
	_, _, text = post("b", `{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"b"}}`)
	if !strings.Contains(text, "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.") || !strings.Contains(text, `"code":500`) || e.deleted("b") {
		t.Errorf("with two budgets: %s", text)
	}
	if err := e.evict("b", nil); !apierrors.IsInternalError(err) && (err == nil || !strings.Contains(err.Error(), "more than one")) {
		t.Errorf("with two budgets clients see %v", err)
	}
	// A budget of another namespace, without a selector, or for other pods is none.
	budgets := e.client.PolicyV1().PodDisruptionBudgets("default")
	for _, name := range []string{"few", "more"} {
		if err := budgets.Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	e.budget("other", "db")
	if _, err := budgets.Create(t.Context(), &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Name: "nothing"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := e.evict("b", nil); err != nil || !e.deleted("b") {
		t.Errorf("without a budget: %v", err)
	}
	if err := e.evict("none", nil); !apierrors.IsNotFound(err) {
		t.Errorf("a pod that is none: %v", err)
	}
}

// However many ask at once, no more are evicted than the budget allows, while its
// controller counts anew all the time.
func TestEvictionRace(t *testing.T) {
	e := newEvicting(t)
	const pods, allowed = 200, 7
	b := e.s.Store.Get(e.key).(*policyv1.PodDisruptionBudget).DeepCopy()
	b.Spec.MinAvailable = new(intstr.FromInt32(pods - allowed))
	if _, err := e.client.PolicyV1().PodDisruptionBudgets("default").Update(t.Context(), b, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	var changes []change.Change
	for i := range pods {
		pod := newPod(fmt.Sprint("p", i))
		pod.Namespace, pod.Labels, pod.Spec.NodeName = "default", map[string]string{"app": "web"}, "n1"
		create := change.Create(pod, time.Now())
		// An agent's words, in the same write.
		pod.Status.Phase = corev1.PodRunning
		pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
		changes = append(changes, create)
	}
	if _, err := e.s.Store.Commit(t.Context(), change.Tx{Changes: changes}); err != nil {
		t.Fatal(err)
	}
	runControllers(t, e.s, "disruption-controller")
	await(t, e.s, "the budget to allow some", func() bool { return e.status().DisruptionsAllowed == allowed })

	errs := make([]error, pods)
	var group sync.WaitGroup
	for i := range pods {
		group.Go(func() { errs[i] = e.evict(fmt.Sprint("p", i), nil) })
	}
	group.Wait()
	evicted := 0
	for i, err := range errs {
		switch {
		case err == nil:
			evicted++
			if !e.deleted(fmt.Sprint("p", i)) {
				t.Errorf("p%d was evicted, and is not deleted", i)
			}
		case !apierrors.IsTooManyRequests(err) || caused(err) == "":
			t.Errorf("p%d: %v", i, err)
		}
	}
	if evicted != allowed {
		t.Errorf("%d pods were evicted, want %d", evicted, allowed)
	}
	await(t, e.s, "the budget to know of it", func() bool {
		s := e.status()
		return s.DisruptionsAllowed == 0 && s.CurrentHealthy == pods-allowed && len(s.DisruptedPods) == 0
	})
	if left := slices.Collect(maps.Keys(e.status().DisruptedPods)); len(left) > 0 {
		t.Errorf("still on their way: %v", left)
	}
}

// runControllers runs some of the controllers until the test ends.
func runControllers(t *testing.T, s *apitest.Server, names ...string) {
	t.Helper()
	ctl, err := controllers.New(controllers.Config{
		Store: s.Store, Kinds: s.Kinds, Enabled: names, ServiceIP: netip.MustParseAddr("10.96.0.1"),
		ClusterCIDR: netip.MustParsePrefix("10.244.0.0/16"), APIServer: netip.MustParseAddrPort("192.0.2.1:6443"),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- ctl.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run the controllers: %v", err)
		}
	})
}

// await waits until ok, looking at every change of the store.
func await(t *testing.T, s *apitest.Server, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	watcher, err := s.Store.Watch(0)
	for err == nil {
		if ok() {
			return
		}
		_, err = watcher.Next(ctx)
	}
	t.Fatalf("waiting for %s: %v", what, err)
}
