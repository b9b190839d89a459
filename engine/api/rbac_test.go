package api_test

import (
	"context"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"headway.dev/engine/api/apitest"
)

// refuseAs runs kubectl with another kubeconfig, which has to fail with want.
func refuseAs(t *testing.T, s *apitest.Server, kubeconfig, want string, args ...string) {
	t.Helper()
	stdout, stderr, err := s.KubectlAs(t, kubeconfig, "", args...)
	if err == nil || !strings.Contains(stdout+stderr, want) {
		t.Errorf("kubectl %s: %v\n%s%s\nwant %q", strings.Join(args, " "), err, stdout, stderr, want)
	}
}

// Roles and bindings decide, kubectl makes and shows them, and nobody grants
// more than they have.
func TestRBAC(t *testing.T) {
	s := apitest.Start(t)
	s.Namespace(t, "shop")
	expect(t, s, "", []string{"get", "clusterroles"}, "CREATED AT", "cluster-admin", "admin", "edit", "view", "system:discovery", "system:basic-user", "headway:plan")
	expect(t, s, "", []string{"get", "clusterrolebindings", "-o", "wide"}, "ClusterRole/cluster-admin", "system:masters")
	expect(t, s, "", []string{"describe", "clusterrole", "admin"}, "deployments.apps", "rolebindings.rbac.authorization.k8s.io")
	expect(t, s, "", []string{"explain", "rolebinding.roleRef"}, "roleRef")

	ada := s.KubeconfigFor(t, "ada", "devs")
	refuseAs(t, s, ada, `deployments.apps is forbidden: User "ada" cannot list resource "deployments" in API group "apps" in the namespace "shop"`, "get", "deployments", "-n", "shop")
	refuseAs(t, s, ada, "no", "auth", "can-i", "create", "deployments", "-n", "shop")
	expect(t, s, "", []string{"create", "rolebinding", "devs", "-n", "shop", "--clusterrole=admin", "--group=devs"}, "rolebinding.rbac.authorization.k8s.io/devs created")
	expect(t, s, "", []string{"get", "rolebindings", "-n", "shop", "-o", "wide"}, "ROLE", "ClusterRole/admin", "devs")
	if out, stderr, err := s.KubectlAs(t, ada, deployment, "apply", "-n", "shop", "-f", "-"); err != nil {
		t.Errorf("apply with the role admin: %v %s%s", err, out, stderr)
	}
	refuseAs(t, s, ada, `deployments.apps is forbidden: User "ada" cannot list resource "deployments" in API group "apps" in the namespace "default"`, "get", "deployments", "-n", "default")
	refuseAs(t, s, ada, `nodes is forbidden: User "ada" cannot list resource "nodes" in API group "" at the cluster scope`, "get", "nodes")

	// Escalation.
	refuseAs(t, s, ada, `user "ada" (groups=["devs" "system:authenticated"]) is attempting to grant RBAC permissions not currently held:`,
		"create", "role", "up", "-n", "shop", "--verb=*", "--resource=nodes")
	refuseAs(t, s, ada, `rolebindings.rbac.authorization.k8s.io "up" is forbidden: user "ada"`, "create", "rolebinding", "up", "-n", "shop", "--clusterrole=cluster-admin", "--user=ada")
	refuseAs(t, s, ada, `clusterrolebindings.rbac.authorization.k8s.io is forbidden: User "ada" cannot create resource "clusterrolebindings"`, "create", "clusterrolebinding", "up", "--clusterrole=cluster-admin", "--user=ada")
	if out, stderr, err := s.KubectlAs(t, ada, "", "create", "rolebinding", "view", "-n", "shop", "--clusterrole=view", "--user=bob"); err != nil {
		t.Errorf("bind what one has: %v %s%s", err, out, stderr)
	}
	// What a role refers to cannot change.
	refuse(t, s, "", []string{"patch", "rolebinding", "view", "-n", "shop", "--type=merge", "-p", `{"roleRef":{"name":"edit"}}`}, "cannot change roleRef")

	// Who may ask about and act as whom.
	expect(t, s, "", []string{"auth", "can-i", "list", "pods", "-n", "shop", "--as", "bob"}, "yes")
	refuse(t, s, "", []string{"auth", "can-i", "delete", "pods", "-n", "shop", "--as", "bob"}, "no")
	expect(t, s, "", []string{"auth", "can-i", "--list", "-n", "shop", "--as", "x", "--as-group", "devs"}, "deployments.apps", "selfsubjectaccessreviews.authorization.k8s.io")
	refuse(t, s, "", []string{"delete", "deployment", "web", "-n", "shop", "--as", "bob"}, `deployments.apps "web" is forbidden: User "bob" cannot delete resource "deployments" in API group "apps" in the namespace "shop"`)
	refuseAs(t, s, ada, `users "root" is forbidden: User "ada" cannot impersonate resource "users" in API group "" at the cluster scope`, "get", "pods", "-n", "shop", "--as", "root")
}

// kubectl create token makes tokens that the API knows, until what they depend
// on is gone.
func TestServiceAccountTokens(t *testing.T) {
	s := apitest.Start(t)
	admin := kubernetes.NewForConfigOrDie(s.Config)
	ctx := t.Context()
	s.Namespace(t, "shop")
	expect(t, s, "", []string{"create", "serviceaccount", "robot", "-n", "shop"}, "created")
	expect(t, s, "", []string{"create", "rolebinding", "robot", "-n", "shop", "--clusterrole=view", "--serviceaccount=shop:robot"}, "created")
	token := strings.TrimSpace(kubectl(t, s, "", "create", "token", "robot", "-n", "shop", "--duration", "20m"))

	as := func(token string) kubernetes.Interface {
		config := rest.AnonymousClientConfig(s.Config)
		config.BearerToken = token
		return kubernetes.NewForConfigOrDie(config)
	}
	me, err := as(token).AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got := me.Status.UserInfo; got.Username != "system:serviceaccount:shop:robot" || strings.Join(got.Groups, " ") != "system:serviceaccounts system:serviceaccounts:shop system:authenticated" {
		t.Errorf("the token is of %+v", got)
	}
	if _, err := as(token).CoreV1().Pods("shop").List(ctx, metav1.ListOptions{}); err != nil {
		t.Errorf("list what the account may: %v", err)
	}
	if _, err := as(token).CoreV1().Secrets("shop").List(ctx, metav1.ListOptions{}); err == nil || !strings.Contains(err.Error(), `secrets is forbidden: User "system:serviceaccount:shop:robot" cannot list resource "secrets"`) {
		t.Errorf("list secrets: %v", err)
	}
	review := func(token string, audiences ...string) authenticationv1.TokenReviewStatus {
		t.Helper()
		r, err := admin.AuthenticationV1().TokenReviews().Create(ctx, &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: audiences}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return r.Status
	}
	if got := review(token); !got.Authenticated || got.User.Username != "system:serviceaccount:shop:robot" {
		t.Errorf("token review: %+v", got)
	}
	if got := review(token, "vault"); got.Authenticated {
		t.Errorf("a token of another audience: %+v", got)
	}
	vault := strings.TrimSpace(kubectl(t, s, "", "create", "token", "robot", "-n", "shop", "--audience", "vault"))
	if got := review(vault, "vault"); !got.Authenticated || len(got.Audiences) != 1 || got.Audiences[0] != "vault" {
		t.Errorf("token review for vault: %+v", got)
	}
	// Change one character of the signature: the last one has unused bits.
	broken := []byte(token)
	broken[len(broken)-10] ^= 1
	for name, bad := range map[string]string{"of another audience": vault, "with a broken signature": string(broken)} {
		if _, err := as(bad).CoreV1().Pods("shop").List(ctx, metav1.ListOptions{}); err == nil || !strings.Contains(err.Error(), "Unauthorized") {
			t.Errorf("a token %s: %v, want Unauthorized", name, err)
		}
	}

	refuse(t, s, "", []string{"create", "token", "robot", "-n", "shop", "--duration", "1m"}, "may not specify a duration less than 10 minutes")
	refuse(t, s, "", []string{"create", "token", "nobody", "-n", "shop"}, `serviceaccounts "nobody" not found`)
	refuse(t, s, "", []string{"create", "token", "robot", "-n", "shop", "--bound-object-kind", "Pod", "--bound-object-name", "none"}, `pods "none" not found`)

	// A bound token ends with what it is bound to, all with the account.
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "p"}, Spec: corev1.PodSpec{
		ServiceAccountName: "robot", Containers: []corev1.Container{{Name: "c", Image: "example.com/c"}},
	}}
	if _, err := admin.CoreV1().Pods("shop").Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	bound := strings.TrimSpace(kubectl(t, s, "", "create", "token", "robot", "-n", "shop", "--bound-object-kind", "Pod", "--bound-object-name", "p"))
	if got := review(bound); !got.Authenticated || got.User.Extra["authentication.kubernetes.io/pod-name"][0] != "p" {
		t.Errorf("bound token: %+v", got)
	}
	expect(t, s, "", []string{"delete", "pod", "p", "-n", "shop", "--force", "--grace-period=0"}, "deleted")
	ends(ctx, t, "the pod", func() bool { return !review(bound).Authenticated })
	if !review(token).Authenticated {
		t.Error("the account's own token ended with a pod")
	}
	expect(t, s, "", []string{"delete", "serviceaccount", "robot", "-n", "shop"}, "deleted")
	expect(t, s, "", []string{"create", "serviceaccount", "robot", "-n", "shop"}, "created")
	if got := review(token); got.Authenticated || !strings.Contains(got.Error, "UID") {
		t.Errorf("a token of an account that was made anew: %+v", got)
	}
}

func ends(ctx context.Context, t *testing.T, with string, ended func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for !ended() {
		select {
		case <-ctx.Done():
			t.Fatalf("the token outlives %s", with)
		case <-time.After(10 * time.Millisecond):
		}
	}
}
