package api_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"headway.dev/engine/api/apitest"
	"headway.dev/engine/api/fairness"
)

// TestFlowControl: the objects that every cluster has are there and in force, a
// schema of the user's own sends requests to a level of the user's own, and what
// that level cannot take is refused, while others are served.
func TestFlowControl(t *testing.T) {
	s := apitest.Start(t)
	admin := kubernetes.NewForConfigOrDie(s.Config)
	flow := admin.FlowcontrolV1()

	out, _, err := s.Kubectl(t, "", "get", "flowschemas,prioritylevelconfigurations")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"exempt exempt 1 <none>", "system-leader-election leader-election 100 ByUser", "global-default global-default 9900 ByUser",
		"catch-all catch-all 10000 ByUser", "workload-low Limited 100 128 6 50", "exempt Exempt <none> <none> <none> <none>",
	} {
		if !containsFields(out, line) {
			t.Errorf("kubectl get shows no line %q:\n%s", line, out)
		}
	}
	if first := strings.Index(out, "/exempt"); first < 0 || first > strings.Index(out, "/catch-all") {
		t.Errorf("the schemas are not shown in the order in which they are asked:\n%s", out)
	}

	// Level small serves one request at a time, and schema mallory sends there what
	// mallory writes; each of these writes lasts until the webhook is let go.
	asked, release := make(chan struct{}, 10), make(chan struct{})
	slow := newHook(t, func(r *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		if r.UserInfo.Username == "mallory" {
			asked <- struct{}{}
			<-release
		}
		return allow(r)
	})
	in(t, s, slow.validating(func(w *admissionregistrationv1.ValidatingWebhook) { w.TimeoutSeconds = new(int32(30)) }))
	for _, name := range []string{"mallory", "ada"} {
		if _, stderr, err := s.Kubectl(t, "", "create", "clusterrolebinding", name, "--clusterrole=edit", "--user="+name); err != nil {
			t.Fatal(stderr)
		}
	}
	in(t, s, &flowcontrolv1.PriorityLevelConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "small"},
		Spec: flowcontrolv1.PriorityLevelConfigurationSpec{
			Type:    flowcontrolv1.PriorityLevelEnablementLimited,
			Limited: &flowcontrolv1.LimitedPriorityLevelConfiguration{NominalConcurrencyShares: new(int32(0)), LimitResponse: flowcontrolv1.LimitResponse{Type: flowcontrolv1.LimitResponseTypeReject}, BorrowingLimitPercent: new(int32(0))},
		},
	})
	schema := &flowcontrolv1.FlowSchema{
		ObjectMeta: metav1.ObjectMeta{Name: "mallory"},
		Spec: flowcontrolv1.FlowSchemaSpec{
			PriorityLevelConfiguration: flowcontrolv1.PriorityLevelConfigurationReference{Name: "small"}, MatchingPrecedence: 50,
			Rules: []flowcontrolv1.PolicyRulesWithSubjects{{
				Subjects:      []flowcontrolv1.Subject{{Kind: flowcontrolv1.SubjectKindUser, User: &flowcontrolv1.UserSubject{Name: "mallory"}}},
				ResourceRules: []flowcontrolv1.ResourcePolicyRule{{Verbs: []string{"create"}, APIGroups: []string{""}, Resources: []string{"configmaps"}, Namespaces: []string{"*"}}},
			}},
		},
	}
	in(t, s, schema)
	mallory, ada := clientAs(t, s, "mallory"), clientAs(t, s, "ada")
	send := func(client *http.Client, method, body string) (status int, header http.Header) {
		r, err := http.NewRequestWithContext(t.Context(), method, s.URL+"/api/v1/namespaces/default/configmaps", strings.NewReader(body))
		if err != nil {
			t.Error(err)
			return 0, nil
		}
		r.Header.Set("Content-Type", "application/json")
		response, err := client.Do(r)
		if err != nil {
			t.Error(err)
			return 0, nil
		}
		response.Body.Close()
		return response.StatusCode, response.Header
	}
	create := func(client *http.Client, name string) (status int, header http.Header) {
		return send(client, http.MethodPost, `{"metadata":{"name":"`+name+`"}}`)
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer close(release)
	wg.Go(func() {
		if status, _ := create(mallory, "first"); status != http.StatusCreated {
			t.Errorf("the first request of the level is answered %d", status)
		}
	})
	<-asked
	status, header := create(mallory, "second")
	live, err := flow.FlowSchemas().Get(t.Context(), "mallory", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if status != http.StatusTooManyRequests || header.Get("Retry-After") == "" || header.Get("X-Kubernetes-Pf-Flowschema-Uid") != string(live.UID) {
		t.Errorf("the level is full, and answered %d: %v", status, header)
	}
	if status, _ := create(ada, "third"); status != http.StatusCreated {
		t.Errorf("another user's request is answered %d", status)
	}
	if status, _ := send(mallory, http.MethodGet, ""); status != http.StatusOK {
		t.Errorf("a request that the schema is not about is answered %d", status)
	}
	reaches(t, "the schema says that its level exists", func() error {
		live, err := flow.FlowSchemas().Get(t.Context(), "mallory", metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, c := range live.Status.Conditions {
			if c.Type == flowcontrolv1.FlowSchemaConditionDangling && c.Status == flowcontrolv1.ConditionFalse {
				return nil
			}
		}
		return errors.New("no condition Dangling that is False")
	})
	if out, _, err := s.Kubectl(t, "", "get", "--raw", "/debug/api_priority_and_fairness/dump_priority_levels"); err != nil || !strings.Contains(out, "small,") {
		t.Errorf("the dump of the levels: %v\n%s", err, out)
	}
}

// TestReconcileFlowControl: what every cluster has comes back, is reset unless
// somebody took it over, and goes when it is no longer suggested.
func TestReconcileFlowControl(t *testing.T) {
	s := apitest.Start(t)
	flow := kubernetes.NewForConfigOrDie(s.Config).FlowcontrolV1()
	ctx := t.Context()
	edit := func(name, patch string) {
		t.Helper()
		if _, err := flow.FlowSchemas().Patch(ctx, name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	edit("service-accounts", `{"spec":{"matchingPrecedence":8000}}`)
	edit("probes", `{"metadata":{"annotations":{"apf.kubernetes.io/autoupdate-spec":"false"}},"spec":{"matchingPrecedence":3}}`)
	edit("system-nodes", `{"metadata":{"annotations":{"apf.kubernetes.io/autoupdate-spec":null}},"spec":{"matchingPrecedence":501}}`)
	_, err := flow.FlowSchemas().Patch(ctx, "catch-all", types.MergePatchType, []byte(`{"spec":{"matchingPrecedence":9999}}`), metav1.PatchOptions{})
	if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "spec of 'catch-all' must equal the fixed value") {
		t.Errorf("a mandatory schema was edited: %v", err)
	}
	if err := flow.FlowSchemas().Delete(ctx, "catch-all", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	exempt := []byte(`{"spec":{"exempt":{"lendablePercent":40}}}`)
	if _, err := flow.PriorityLevelConfigurations().Patch(ctx, "exempt", types.MergePatchType, exempt, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	old, err := flow.FlowSchemas().Get(ctx, "probes", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	gone := &flowcontrolv1.FlowSchema{ObjectMeta: metav1.ObjectMeta{Name: "of-an-old-version", Annotations: map[string]string{flowcontrolv1.AutoUpdateAnnotationKey: "true"}}, Spec: old.Spec}
	if _, err := flow.FlowSchemas().Create(ctx, gone, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}

	if err := fairness.Reconcile(ctx, s.Store, time.Now()); err != nil {
		t.Fatal(err)
	}
	list, err := flow.FlowSchemas().List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]int32{}
	for _, schema := range list.Items {
		got[schema.Name] = schema.Spec.MatchingPrecedence
	}
	for name, want := range map[string]int32{"service-accounts": 9000, "probes": 3, "system-nodes": 501, "catch-all": 10000, "of-an-old-version": 0} {
		if got[name] != want {
			t.Errorf("%s has the precedence %d, want %d", name, got[name], want)
		}
	}
	level, err := flow.PriorityLevelConfigurations().Get(ctx, "exempt", metav1.GetOptions{})
	if err != nil || *level.Spec.Exempt.LendablePercent != 40 {
		t.Errorf("the administrator's share of what is exempt: %+v, %v", level.Spec.Exempt, err)
	}
	// The server writes meanwhile whether the levels of schemas exist.
	if err := wait.PollUntilContextTimeout(ctx, 10*time.Millisecond, time.Minute, true, func(context.Context) (bool, error) {
		before := s.Store.Revision()
		err := fairness.Reconcile(ctx, s.Store, time.Now())
		return s.Store.Revision() == before, err
	}); err != nil {
		t.Errorf("each time it is reconciled again without a change it writes: %v", err)
	}
}

// TestNoisyReader: a user who lists as fast as the server can answer, with
// hundreds of connections, does not keep others of the same level waiting.
func TestNoisyReader(t *testing.T) {
	s := apitest.Start(t)
	noisy := clientAs(t, s, "noisy")
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	var answered atomic.Int64
	for range 200 {
		wg.Go(func() {
			for ctx.Err() == nil {
				r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/openapi/v2", http.NoBody)
				if err != nil {
					t.Error(err)
					return
				}
				if response, err := noisy.Do(r); err == nil {
					response.Body.Close()
					answered.Add(1)
				}
			}
		})
	}
	reaches(t, "the noisy user is served", func() error {
		if answered.Load() < 50 {
			return errors.New("not yet")
		}
		return nil
	})
	ada := clientAs(t, s, "ada")
	deadline, stop := context.WithTimeout(t.Context(), 30*time.Second)
	defer stop()
	for range 20 {
		r, err := http.NewRequestWithContext(deadline, http.MethodGet, s.URL+"/api/v1/namespaces/default/pods", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		response, err := ada.Do(r)
		if err != nil {
			t.Fatalf("another user: %v", err)
		}
		response.Body.Close()
		if response.StatusCode != http.StatusForbidden { // who may list nothing is told so
			t.Errorf("another user is answered %s", response.Status)
		}
	}
}

func clientAs(t *testing.T, s *apitest.Server, name string) *http.Client {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", s.KubeconfigFor(t, name))
	if err != nil {
		t.Fatal(err)
	}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.CloseIdleConnections)
	return client
}

// containsFields reports whether a line of text contains the fields of want in
// their order, the first perhaps behind the name of its resource.
func containsFields(text, want string) bool {
	fields := strings.Fields(want)
	return slices.ContainsFunc(strings.Split(text, "\n"), func(line string) bool {
		got := strings.Fields(line)
		if len(got) < len(fields) {
			return false
		}
		_, name, _ := strings.Cut(got[0], "/")
		return name == fields[0] && slices.Equal(got[1:len(fields)], fields[1:])
	})
}

// reaches waits until check has nothing to say against it.
func reaches(t *testing.T, what string, check func() error) {
	t.Helper()
	var last error
	err := wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, time.Minute, true, func(context.Context) (bool, error) {
		last = check()
		return last == nil, nil
	})
	if err != nil {
		t.Fatalf("%s: %v: %v", what, err, last)
	}
}
