package api_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"headway.dev/engine/api/apitest"
)

// matrix is what each identity may do: y is yes, a point is Forbidden, a minus is not
// asked. A request that is let in may still be answered that there is no such
// thing, or that its body says nothing. Bodies are named below.
const matrix = `
                                                                     anonymous
                                                                     | nobody
                                                                     | | viewer, of shop
                                                                     | | | editor, of shop
                                                                     | | | | admin, of shop
                                                                     | | | | | root, cluster-admin
                                                                     | | | | | | masters
                                                                     | | | | | | | robot, an account with view in shop
                                                                     | | | | | | | | node n1
                                                                     | | | | | | | | | root as viewer
                                                                     | | | | | | | | | | granter, of shop: escalate and bind
GET    /version                                                      y y y y y y y y y y y
GET    /apis                                                         . y y y y y y y y y y
GET    /metrics                                                      . . . . . y y . . . .
GET    /openid/v1/jwks                                               . . . . . y y y . . .
GET    /.well-known/openid-configuration                             . . . . . y y y . . .
GET    /api/v1/namespaces                                            . . . . . y y . y . .
GET    /api/v1/namespaces/shop                                       . . y y y y y y y y .
GET    /api/v1/nodes                                                 . . . . . y y . y . .
PUT    /api/v1/nodes/n1/status                                       . . . . . y y . y . .
PUT    /api/v1/nodes/n2/status                                       . . . . . y y . . . .
GET    /api/v1/namespaces/shop/pods                                  . . y y y y y y . y .
GET    /api/v1/namespaces/default/pods                               . . . . . y y . . . .
GET    /api/v1/namespaces/shop/pods?watch=1&timeoutSeconds=1         . . y y y y y y . y .
GET    /api/v1/pods?fieldSelector=spec.nodeName%3Dn1                 . . . . . y y . y . .
GET    /api/v1/pods?fieldSelector=spec.nodeName%3Dn2                 . . . . . y y . . . .
GET    /api/v1/namespaces/shop/pods/x/log                            . . y y y y y y . y .
POST   /api/v1/namespaces/shop/pods/x/exec?command=a                 . . . y y y y . . . .
POST   /api/v1/namespaces/shop/pods                                  . . . y y y y . . . .
PUT    /api/v1/namespaces/shop/pods/x/resize                         . . . y y y y . . . .
DELETE /api/v1/namespaces/shop/pods/x                                . . . y y y y . y . .
DELETE /api/v1/namespaces/shop/configmaps                            . . . y y y y . . . .
GET    /api/v1/namespaces/shop/secrets                               . . . y y y y . . . .
GET    /api/v1/namespaces/shop/secrets/x                             . . . y y y y . . . .
POST   /api/v1/namespaces/shop/serviceaccounts/robot/token           . . . y y y y . . . .
GET    /apis/apps/v1/namespaces/shop/deployments/x/scale             . . y y y y y y . y .
PUT    /apis/apps/v1/namespaces/shop/deployments/x/scale             . . . y y y y . . . .
PUT    /api/v1/namespaces/shop/resourcequotas/x                      . . . . . y y . . . .
GET    /apis/rbac.authorization.k8s.io/v1/clusterroles               . . . . . y y . . . .
GET    /apis/rbac.authorization.k8s.io/v1/namespaces/shop/roles      . . . . y y y . . . .
POST   /apis/rbac.authorization.k8s.io/v1/namespaces/shop/roles      . . . . y y y . . . y
POST   /apis/authorization.k8s.io/v1/selfsubjectaccessreviews        . y y y y y y y y y y
POST   /apis/authorization.k8s.io/v1/subjectaccessreviews            . . . . . y y . y . .
POST   /apis/authorization.k8s.io/v1/namespaces/shop/localsubjectaccessreviews . . . . y y y . y . .
POST   /apis/authentication.k8s.io/v1/tokenreviews                   . . . . . y y . y . .
role   that reads pods                                               . . . . y y y . . . y
role   that impersonates users                                       . . . . . y y . . . y
bind   view                                                          . . . . y y y . . . y
bind   cluster-admin                                                 . . . . . y y . . . y
as     ada                                                           . . . . . y y . . - .
as     system:serviceaccount:shop:robot                              . . . y y y y . . - .
as     system:serviceaccount:default:default                         . . . . . y y . . - .
group  system:masters                                                . . . . . y y . . - .
`

const roleHead = `{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "made"}, "rules": `

// bodies are what rows without a method send.
var bodies = map[string]string{
	"role that reads pods":         roleHead + `[{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]}`,
	"role that impersonates users": roleHead + `[{"apiGroups": [""], "resources": ["users"], "verbs": ["impersonate"]}]}`,
}

// The real server lets in whom the matrix says, and nobody else.
func TestMatrix(t *testing.T) {
	s := apitest.Start(t)
	s.Namespace(t, "shop")
	admin := kubernetes.NewForConfigOrDie(s.Config)
	if _, err := admin.CoreV1().ServiceAccounts("shop").Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "robot"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	granter := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "granter"}, Rules: []rbacv1.PolicyRule{
		{Verbs: []string{"create"}, APIGroups: []string{rbacv1.GroupName}, Resources: []string{"roles", "rolebindings"}},
		{Verbs: []string{"escalate"}, APIGroups: []string{rbacv1.GroupName}, Resources: []string{"roles"}},
		{Verbs: []string{"bind"}, APIGroups: []string{rbacv1.GroupName}, Resources: []string{"clusterroles"}},
	}}
	if _, err := admin.RbacV1().ClusterRoles().Create(t.Context(), granter, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"create", "rolebinding", "viewer", "-n", "shop", "--clusterrole=view", "--user=viewer", "--serviceaccount=shop:robot"},
		{"create", "rolebinding", "editor", "-n", "shop", "--clusterrole=edit", "--user=editor"},
		{"create", "rolebinding", "admin", "-n", "shop", "--clusterrole=admin", "--user=admin"},
		{"create", "rolebinding", "granter", "-n", "shop", "--clusterrole=granter", "--user=granter"},
		{"create", "clusterrolebinding", "root", "--clusterrole=cluster-admin", "--user=root"},
	} {
		expect(t, s, "", args, "created")
	}
	with := func(user string, groups ...string) *rest.Config {
		config, err := clientcmd.BuildConfigFromFlags("", s.KubeconfigFor(t, user, groups...))
		if err != nil {
			t.Fatal(err)
		}
		return config
	}
	robot := rest.AnonymousClientConfig(s.Config)
	robot.BearerToken = strings.TrimSpace(kubectl(t, s, "", "create", "token", "robot", "-n", "shop"))
	asViewer := rest.CopyConfig(with("root"))
	asViewer.Impersonate.UserName = "viewer"
	identities := []struct {
		name   string
		config *rest.Config
	}{
		{"anonymous", rest.AnonymousClientConfig(s.Config)},
		{"nobody", with("nobody")},
		{"viewer", with("viewer")},
		{"editor", with("editor")},
		{"admin", with("admin")},
		{"root", with("root")},
		{"masters", with("master", "system:masters")},
		{"robot", robot},
		{"node", with("system:node:n1", "system:nodes")},
		{"root as viewer", asViewer},
		{"granter", with("granter")},
	}
	asked := 0
	for i, id := range identities {
		client, err := rest.HTTPClientFor(id.config)
		if err != nil {
			t.Fatal(err)
		}
		for row := range strings.SplitSeq(strings.TrimSpace(matrix), "\n") {
			fields := strings.Fields(row)
			marks := len(fields) - len(identities)
			if marks < 2 || !strings.Contains("GET POST PUT DELETE role bind as group", fields[0]) {
				continue // the heading
			}
			want := fields[marks+i]
			if want == "-" {
				continue
			}
			asked++
			may, message, err := ask(t, client, s.URL, fields[0], strings.Join(fields[1:marks], " "))
			if got := map[bool]string{true: "y", false: "."}[may]; err != nil || got != want {
				t.Errorf("%s, %s: %v, want %q: %s (%v)", id.name, strings.Join(fields[:marks], " "), got, want, message, err)
			}
		}
	}
	if asked < 400 {
		t.Errorf("only %d questions were asked", asked)
	}
}

// ask makes a request, as a dry run, and reports whether it was let in.
func ask(t *testing.T, client *http.Client, server, verb, what string) (may bool, message string, err error) {
	t.Helper()
	method, path, body := verb, what, "{}"
	header := http.Header{"Content-Type": {"application/json"}}
	const roles = "/apis/rbac.authorization.k8s.io/v1/namespaces/shop/role"
	switch verb {
	case "role":
		method, path, body = http.MethodPost, roles+"s", bodies[verb+" "+what]
	case "bind":
		method, path = http.MethodPost, roles+"bindings"
		body = `{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "made"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "` + what + `"}}`
	case "as":
		method, path = http.MethodGet, "/apis"
		header.Set("Impersonate-User", what)
	case "group":
		method, path = http.MethodGet, "/apis"
		header.Set("Impersonate-User", "ada")
		header.Set("Impersonate-Group", what)
	}
	if method != http.MethodGet {
		path += map[bool]string{true: "&", false: "?"}[strings.Contains(path, "?")] + "dryRun=All"
	}
	request, err := http.NewRequestWithContext(t.Context(), method, server+path, strings.NewReader(body))
	if err != nil {
		return false, "", err
	}
	request.Header = header
	response, err := client.Do(request)
	if err != nil {
		return false, "", err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, 4<<10))
	switch response.StatusCode {
	case http.StatusForbidden:
		return false, string(answer), err
	case http.StatusUnauthorized, http.StatusInternalServerError, http.StatusServiceUnavailable:
		return false, string(answer), errors.New(response.Status)
	}
	return true, string(answer), err
}
