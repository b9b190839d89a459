package api_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/spf13/pflag"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"headway.dev/engine/api"
	"headway.dev/engine/api/apitest"
	"headway.dev/engine/api/authz"
	"headway.dev/engine/rbac"
)

// authorizing makes a server's authorizer as the flags say.
func authorizing(t *testing.T, log *slog.Logger, flags ...string) (apitest.Option, error) {
	t.Helper()
	var options authz.Options
	set := pflag.NewFlagSet("up", pflag.ContinueOnError)
	options.AddFlags(set)
	if err := set.Parse(flags); err != nil {
		t.Fatal(err)
	}
	if err := options.Check(); err != nil {
		return nil, err
	}
	configuration, err := options.Open()
	if err != nil {
		return nil, err
	}
	return func(c *api.Config) {
		auth, err := authz.New(authz.Config{Reader: c.Store, Graph: c.Graph, Roles: c.Roles, Configuration: configuration, Log: log})
		if err != nil {
			t.Fatal(err)
		}
		c.Authorizer = auth
	}, nil
}

// A webhook decides about what its conditions match, once as long as its answer
// holds; if it fails, its policy decides; its file is read again when it changes.
func TestAuthorizationConfiguration(t *testing.T) {
	var mu sync.Mutex
	asked := map[string]int{}
	hanging := make(chan struct{}, 10)
	hook := service(t, func(w http.ResponseWriter, r *http.Request) {
		var review authorizationv1.SubjectAccessReview
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
			t.Error(err)
		}
		mu.Lock()
		asked[review.Spec.User]++
		mu.Unlock()
		switch review.Spec.User {
		case "allowed":
			review.Status.Allowed = true
		case "denied":
			review.Status = authorizationv1.SubjectAccessReviewStatus{Denied: true, Reason: "not on my watch"}
		case "known":
			review.Status.Allowed = review.Spec.UID == "k1" && slices.Equal(review.Spec.Extra["team"], authorizationv1.ExtraValue{"blue"})
		case "failing":
			http.Error(w, "out of order", http.StatusTeapot)
			return
		case "hanging":
			hanging <- struct{}{}
			<-r.Context().Done()
			return
		}
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(review); err != nil {
			t.Error(err)
		}
	})
	path := filepath.Join(t.TempDir(), "authorization.yaml")
	config := func(policy, condition string) string {
		return `apiVersion: apiserver.config.k8s.io/v1
kind: AuthorizationConfiguration
authorizers:
- type: Webhook
  name: hook
  webhook:
    timeout: 3s
    subjectAccessReviewVersion: v1
    matchConditionSubjectAccessReviewVersion: v1
    failurePolicy: ` + policy + `
    connectionInfo: {type: KubeConfigFile, kubeConfigFile: ` + hook + `}
    matchConditions:
    - expression: ` + condition + `
- {type: Node, name: node}
- {type: RBAC, name: rbac}
`
	}
	const mine = `has(request.resourceAttributes) && request.resourceAttributes.resource == 'configmaps'`
	replace(t, path, config("Deny", mine))
	var log lines
	option, err := authorizing(t, slog.New(slog.NewTextHandler(&log, nil)), "--authorization-config", path)
	if err != nil {
		t.Fatal(err)
	}
	var auth *authz.Authorizer
	s := apitest.Start(t, option, func(c *api.Config) { auth = c.Authorizer })
	expect(t, s, "", []string{"create", "clusterrolebinding", "all-view", "--clusterrole=view", "--user=granted", "--user=denied", "--user=failing"}, "created")
	list := func(user, resource string) error {
		client := kubernetes.NewForConfigOrDie(s.API.InProcess(user, "system:authenticated"))
		if resource == "configmaps" {
			_, err := client.CoreV1().ConfigMaps("default").List(t.Context(), metav1.ListOptions{})
			return err
		}
		_, err := client.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{})
		return err
	}
	check := func(user, resource, refusal string) {
		t.Helper()
		err := list(user, resource)
		if refusal == "" && err != nil || refusal != "" && (err == nil || !strings.Contains(err.Error(), refusal)) {
			t.Errorf("%s lists %s: %v, want %q", user, resource, err, refusal)
		}
	}
	const no = "is forbidden"
	check("allowed", "configmaps", "")
	check("allowed", "configmaps", "")
	check("allowed", "pods", no)
	check("denied", "configmaps", "not on my watch")
	check("denied", "pods", "")
	check("granted", "configmaps", "")
	check("failing", "configmaps", "Internal Server Error") // as in Kubernetes
	check("failing", "pods", "")
	check("nobody", "configmaps", no)
	mu.Lock()
	if asked["allowed"] != 1 {
		t.Errorf("the webhook was asked %d times about the same, want once", asked["allowed"])
	}
	mu.Unlock()
	// Reviews, and what asks without a request, such as commits, ask the same.
	expect(t, s, "", []string{"auth", "can-i", "list", "configmaps", "--as", "allowed"}, "yes")
	configMaps := rbac.Request{Verb: "list", Resource: "configmaps", Namespace: "default"}
	for user, want := range map[string]bool{"allowed": true, "granted": true, "denied": false, "failing": false, "nobody": false} {
		if got, reason, err := auth.May(t.Context(), rbac.User{Name: user}, configMaps); got != want || (err != nil) != (user == "failing") {
			t.Errorf("%s may without a request: %v (%s), %v, want %v", user, got, reason, err, want)
		}
		if got, _, _ := auth.After(&rbac.Index{}).May(t.Context(), rbac.User{Name: user}, configMaps); got != (want && user != "granted") {
			t.Errorf("%s may without roles: %v", user, got)
		}
	}
	known := rbac.User{Name: "known", UID: "k1", Extra: map[string][]string{"team": {"blue"}}}
	if got, reason, err := auth.May(t.Context(), known, configMaps); !got || err != nil {
		t.Errorf("one whom the webhook knows by their UID and extra: %v (%s), %v", got, reason, err)
	}
	// A question ends with who asks it, long before its own time is over.
	leaving, leave := context.WithCancel(t.Context())
	go func() {
		<-hanging
		leave()
	}()
	if got, _, err := auth.May(leaving, rbac.User{Name: "hanging"}, configMaps); got || err == nil {
		t.Errorf("without an answer: %v, %v", got, err)
	}

	replace(t, path, config("Sometimes", mine))
	eventually(t, "a wrong policy is told", func() bool {
		return strings.Contains(log.String(), `authorizers[0].failurePolicy: Unsupported value: \"Sometimes\"`)
	})
	check("failing", "configmaps", "Internal Server Error") // as in Kubernetes
	replace(t, path, "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthorizationConfiguration\nauthorizers: [{type: AlwaysAllow, name: all}]\n")
	eventually(t, "that everything is allowed is refused", func() bool { return strings.Contains(log.String(), "AlwaysAllow is not allowed") })
	replace(t, path, config("NoOpinion", mine))
	eventually(t, "the changed file holds", func() bool { return list("failing", "configmaps") == nil })
	if got := metricsOf(t, s); !strings.Contains(got, `apiserver_authorization_config_controller_automatic_reloads_total{apiserver_id_hash="`) || !strings.Contains(got, `apiserver_authorization_decisions_total{decision="denied",name="hook",type="Webhook"}`) {
		t.Error("the metrics do not count reloads and decisions")
	}
}

// The modes are kube-apiserver's, in their order; what is not built, or would have
// no effect, is refused by name.
func TestAuthorizationFlags(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		replace(t, path, "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthorizationConfiguration\n"+content)
		return path
	}
	for name, tt := range map[string]struct {
		flags []string
		want  string
	}{
		"ABAC":           {[]string{"--authorization-mode", "ABAC"}, "authorization-mode ABAC is not supported"},
		"unknown":        {[]string{"--authorization-mode", "Node,Roles"}, `authorization-mode "Roles" is not a valid mode`},
		"twice":          {[]string{"--authorization-mode", "RBAC,RBAC"}, "has mode specified more than once"},
		"no service":     {[]string{"--authorization-mode", "RBAC,Webhook"}, "authorization-mode Webhook's authorization config file not passed"},
		"no mode":        {[]string{"--authorization-webhook-version", "v1"}, "cannot specify --authorization-webhook-* without mode Webhook"},
		"both":           {[]string{"--authorization-config", file("a", "authorizers: [{type: RBAC, name: a}]\n"), "--authorization-mode", "RBAC"}, "can not be specified when --authorization-mode is also specified"},
		"no file":        {[]string{"--authorization-config", filepath.Join(dir, "none")}, "no such file"},
		"nobody":         {[]string{"--authorization-config", file("b", "authorizers: []\n")}, "authorizers: Required value"},
		"a type":         {[]string{"--authorization-config", file("c", "authorizers: [{type: ABAC, name: a}]\n")}, "authorizers[0].type: Unsupported value: \"ABAC\""},
		"a field":        {[]string{"--authorization-config", file("d", "authorizers: [{type: RBAC, name: a, hook: {}}]\n")}, `unknown field "authorizers[0].hook"`},
		"in the cluster": {[]string{"--authorization-config", file("e", "authorizers: [{type: Webhook, name: a, webhook: {timeout: 3s, subjectAccessReviewVersion: v1, failurePolicy: Deny, connectionInfo: {type: InClusterConfig}}}]\n")}, "authorizers[0].connectionInfo.type: Unsupported value"},
		"no expression":  {[]string{"--authorization-config", file("f", "authorizers: [{type: Webhook, name: a, webhook: {timeout: 3s, subjectAccessReviewVersion: v1, matchConditionSubjectAccessReviewVersion: v1, failurePolicy: Deny, connectionInfo: {type: KubeConfigFile, kubeConfigFile: /none}, matchConditions: [{expression: 'request.'}]}}]\n")}, "matchConditions[0].expression: Invalid value"},
	} {
		if _, err := authorizing(t, slog.New(slog.DiscardHandler), tt.flags...); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
	// Without the mode RBAC roles grant nothing, and AlwaysDeny is the end; only
	// administrators go on.
	option, err := authorizing(t, slog.New(slog.DiscardHandler), "--authorization-mode", "Node,AlwaysDeny")
	if err != nil {
		t.Fatal(err)
	}
	s := apitest.Start(t, option)
	for user, want := range map[string]string{"kubernetes-admin": "", "ada": "Everything is forbidden."} {
		groups := []string{"system:authenticated"}
		if want == "" {
			groups = append(groups, "system:masters")
		}
		_, err := kubernetes.NewForConfigOrDie(s.API.InProcess(user, groups...)).CoreV1().Pods("").List(t.Context(), metav1.ListOptions{})
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", user, err, want)
		}
	}
}
