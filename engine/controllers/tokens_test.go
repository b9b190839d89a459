package controllers_test

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/engine/controllers/control"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

// A Secret for a token gets one that does not expire, with Kubernetes' claims,
// the certificates and the namespace. The token ends with what is in the
// Secret, and the Secret with its account.
func TestTokenSecrets(t *testing.T) {
	c := start(t, 0)
	in := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: "default", Name: name} }
	robot := &corev1.ServiceAccount{ObjectMeta: in("robot")}
	ask := func(name, account string) change.Change {
		s := &corev1.Secret{ObjectMeta: in(name), Type: corev1.SecretTypeServiceAccountToken}
		s.Annotations = map[string]string{corev1.ServiceAccountNameKey: account}
		return change.Create(s, time.Now())
	}
	key := func(name string) object.Key {
		return object.Key{GroupKind: control.Secret, Namespace: "default", Name: name}
	}
	secret := func(name string) *corev1.Secret { return control.Get[corev1.Secret](c.store, key(name)) }
	filled := func(name string) func() bool {
		return func() bool { s := secret(name); return s != nil && len(s.Data["token"]) > 0 }
	}
	c.commit(change.Create(robot, time.Now()), ask("token", "robot"), ask("other", "robot"), ask("stray", "nobody"))
	c.eventually("the token", filled("token"))
	c.eventually("the other token", filled("other"))
	c.eventually("the Secret without an account goes", func() bool { return secret("stray") == nil })

	s := secret("token")
	if got := s.Annotations[corev1.ServiceAccountUIDKey]; got != string(robot.UID) || string(s.Data["ca.crt"]) != rootCA || string(s.Data["namespace"]) != "default" || len(s.Data) != 3 {
		t.Errorf("UID %q, ca.crt %q, namespace %q in %d keys", got, s.Data["ca.crt"], s.Data["namespace"], len(s.Data))
	}
	token := string(s.Data["token"])
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]string
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{
		"iss": "kubernetes/serviceaccount", "sub": "system:serviceaccount:default:robot",
		"kubernetes.io/serviceaccount/namespace":            "default",
		"kubernetes.io/serviceaccount/secret.name":          "token",
		"kubernetes.io/serviceaccount/service-account.name": "robot",
		"kubernetes.io/serviceaccount/service-account.uid":  string(robot.UID),
	}, claims); diff != "" {
		t.Errorf("claims (-want +got):\n%s", diff)
	}
	id, err := c.tokens.Check(token, nil)
	if err != nil || id.Name != "system:serviceaccount:default:robot" || id.UID != string(robot.UID) || !slices.Contains(id.Groups, "system:serviceaccounts:default") {
		t.Errorf("Check = %+v, %v, want robot", id, err)
	}
	refused := func(when, token, want string, audiences ...string) {
		t.Helper()
		if _, err := c.tokens.Check(token, audiences); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: Check = %v, want %q", when, err, want)
		}
	}
	refused("another audience", token, "audiences", "vault")
	header, rest, _ := strings.Cut(token, ".")
	forged := base64.RawURLEncoding.EncodeToString([]byte(strings.Replace(string(payload), ":robot", ":admin", 1)))
	refused("another subject", header+"."+forged+rest[strings.Index(rest, "."):], "signature is invalid")

	c.commit(change.Patch(key("token"), func(obj object.Object) bool {
		delete(obj.(*corev1.Secret).Data, "token")
		return true
	}))
	c.eventually("a token again", filled("token"))
	refused("the token before", token, "not the one in its Secret")
	token = string(secret("token").Data["token"])
	if _, err := c.tokens.Check(token, nil); err != nil {
		t.Errorf("the new token: %v", err)
	}
	c.commit(change.Delete(key("token"), metav1.DeleteOptions{}, time.Now()))
	refused("without its Secret", token, "invalidated")
	other := string(secret("other").Data["token"])
	account := object.Key{GroupKind: control.ServiceAccount, Namespace: "default", Name: "robot"}
	c.commit(change.Delete(account, metav1.DeleteOptions{}, time.Now()))
	refused("without its account", other, "does not exist")
	c.eventually("the Secret goes with its account", func() bool { return secret("other") == nil })
}
