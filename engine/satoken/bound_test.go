package satoken_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/engine/satoken"
	"headway.dev/manifests/model/object"
)

// some are a reader of objects of different names.
type some map[string]object.Object

func (s some) Get(key object.Key) object.Object { return s[key.Kind+" "+key.Name] }

func (s some) List(schema.GroupKind, string) ([]object.Object, uint64) { return nil, 0 }

// A token ends with what it is bound to: a Secret at once, a pod or a node a minute
// after the time of its deletion, and all when another has taken its name. The
// node of a token's pod is only told.
func TestBound(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().Truncate(time.Second)
	meta := func(name, uid string, deleted ...time.Duration) metav1.ObjectMeta {
		m := metav1.ObjectMeta{Namespace: "shop", Name: name, UID: "1"}
		if uid != "" {
			m.UID = "2"
		}
		for _, d := range deleted {
			m.DeletionTimestamp = &metav1.Time{Time: now.Add(d)}
		}
		return m
	}
	account := &corev1.ServiceAccount{ObjectMeta: meta("robot", "")}
	pod, node, secret := &corev1.Pod{ObjectMeta: meta("p", "")}, &corev1.Node{ObjectMeta: meta("n", "")}, &corev1.Secret{ObjectMeta: meta("s", "")}
	onNode := satoken.Bound{Pod: pod, Node: node}
	const gone, replaced, invalidated = "does not exist", "the UID of the", "service account token has been invalidated"
	for name, tt := range map[string]struct {
		bound satoken.Bound
		now   some
		want  string
	}{
		"all there":             {onNode, some{"Pod p": pod, "Node n": node}, ""},
		"the pod's node gone":   {onNode, some{"Pod p": pod}, ""},
		"the pod gone":          {onNode, some{"Node n": node}, gone},
		"the pod replaced":      {onNode, some{"Pod p": &corev1.Pod{ObjectMeta: meta("p", "2")}}, replaced},
		"the pod ends":          {onNode, some{"Pod p": &corev1.Pod{ObjectMeta: meta("p", "", 30*time.Second)}}, ""},
		"the pod should be off": {onNode, some{"Pod p": &corev1.Pod{ObjectMeta: meta("p", "", -59*time.Second)}}, ""},
		"the pod does not go":   {onNode, some{"Pod p": &corev1.Pod{ObjectMeta: meta("p", "", -61*time.Second)}}, invalidated},
		"the node there":        {satoken.Bound{Node: node}, some{"Node n": node}, ""},
		"the node gone":         {satoken.Bound{Node: node}, some{}, gone},
		"the node replaced":     {satoken.Bound{Node: node}, some{"Node n": &corev1.Node{ObjectMeta: meta("n", "2")}}, replaced},
		"the node does not go":  {satoken.Bound{Node: node}, some{"Node n": &corev1.Node{ObjectMeta: meta("n", "", -61*time.Second)}}, invalidated},
		"the Secret there":      {satoken.Bound{Secret: secret}, some{"Secret s": secret}, ""},
		"the Secret goes":       {satoken.Bound{Secret: secret}, some{"Secret s": &corev1.Secret{ObjectMeta: meta("s", "", 0)}}, invalidated},
	} {
		tt.now["ServiceAccount robot"] = account
		issuer, err := satoken.New(key, tt.now, func() time.Time { return now })
		if err != nil {
			t.Fatal(err)
		}
		token, _, err := issuer.Issue(account, []string{satoken.URL}, time.Hour, tt.bound)
		if err != nil {
			t.Fatal(err)
		}
		id, err := issuer.Check(token, nil)
		if tt.want != "" {
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: %v, want %q", name, err, tt.want)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		delete(id.Extra, "authentication.kubernetes.io/credential-id")
		want := map[string][]string{}
		if tt.bound.Pod != nil {
			want["authentication.kubernetes.io/pod-name"], want["authentication.kubernetes.io/pod-uid"] = []string{"p"}, []string{"1"}
		}
		if tt.bound.Node != nil {
			want["authentication.kubernetes.io/node-name"], want["authentication.kubernetes.io/node-uid"] = []string{"n"}, []string{"1"}
		}
		if diff := cmp.Diff(want, id.Extra); diff != "" {
			t.Errorf("%s: extra (-want +got):\n%s", name, diff)
		}
	}
}

// Whoever has the published key can check a token without the server.
func TestKeys(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "robot", UID: "1"}}
	issuer, err := satoken.New(key, one{account}, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	token, _, err := issuer.Issue(account, []string{"vault"}, time.Hour, satoken.Bound{})
	if err != nil {
		t.Fatal(err)
	}
	content, err := issuer.Keys()
	if err != nil {
		t.Fatal(err)
	}
	var set struct {
		Keys []struct{ Kty, Kid, Crv, Alg, Use, X, Y string }
	}
	if err := json.Unmarshal(content, &set); err != nil || len(set.Keys) != 1 {
		t.Fatalf("%v: %s", err, content)
	}
	k := set.Keys[0]
	if k.Kty != "EC" || k.Crv != "P-256" || k.Alg != "ES256" || k.Use != "sig" {
		t.Errorf("%+v", k)
	}
	number := func(text string) *big.Int {
		b, err := base64.RawURLEncoding.DecodeString(text)
		if err != nil || len(b) != 32 {
			t.Errorf("%q: %d bytes, %v", text, len(b), err)
		}
		return new(big.Int).SetBytes(b)
	}
	public := &ecdsa.PublicKey{Curve: elliptic.P256(), X: number(k.X), Y: number(k.Y)} //nolint:staticcheck // as a client would
	parsed, err := jwt.Parse(token, func(t *jwt.Token) (any, error) { return public, nil }, jwt.WithIssuer(satoken.URL), jwt.WithAudience("vault"))
	if err != nil || parsed.Header["kid"] != k.Kid {
		t.Errorf("%v, %v", parsed, err)
	}
}
