package satoken_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/engine/satoken"
)

// What is not a token of this cluster is foreign, and left to others; what says
// that it is one has to be signed, in time and for the audience.
func TestCheck(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "ada", UID: "1"}}
	now := time.Now()
	issuer, err := satoken.New(key, one{account}, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	good, _, err := issuer.Issue(account, []string{satoken.URL, "vault"}, time.Hour, satoken.Bound{})
	if err != nil {
		t.Fatal(err)
	}
	var claims jwt.MapClaims
	parsed, parts, err := jwt.NewParser().ParseUnverified(good, &claims)
	if err != nil {
		t.Fatal(err)
	}
	// made is a token like the good one but for an edit, signed with a method
	// and a key.
	made := func(method jwt.SigningMethod, key any, edit func(header map[string]any, claims jwt.MapClaims)) string {
		other := maps.Clone(claims)
		token := jwt.NewWithClaims(method, other)
		token.Header["kid"] = parsed.Header["kid"]
		if edit != nil {
			edit(token.Header, other)
		}
		text, err := token.SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	another, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	es256 := jwt.SigningMethodES256
	const foreign = "foreign"
	for name, tt := range map[string]struct {
		token     string
		audiences []string
		at        time.Duration
		want      string // in the error; empty: none
	}{
		"good":                  {token: good},
		"for an audience":       {token: good, audiences: []string{"vault", "else"}},
		"for another audience":  {token: good, audiences: []string{"else"}, want: "invalid for the target audiences"},
		"no token":              {token: "a.b", want: foreign},
		"no JSON":               {token: "e30." + "bm8." + parts[2], want: foreign},
		"of another key's name": {token: made(es256, key, func(h map[string]any, _ jwt.MapClaims) { h["kid"] = "x" }), want: foreign},
		"of another issuer":     {token: made(es256, key, func(_ map[string]any, c jwt.MapClaims) { c["iss"] = "x" }), want: foreign},
		"an unknown method":     {token: "eyJhbGciOiJYIn0." + parts[1] + "." + parts[2], want: foreign},
		"signed by another":     {token: made(es256, another, nil), want: "service account token: token signature is invalid: "},
		"cut off":               {token: parts[0] + "." + parts[1] + ".", want: "service account token: token signature is invalid: "},
		"unsigned":              {token: made(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, nil), want: "service account token: token signature is invalid: signing method none is invalid"},
		"signed with the name of the key": {
			token: made(jwt.SigningMethodHS256, []byte("public"), nil), want: "service account token: token signature is invalid: signing method HS256 is invalid",
		},
		"late":         {token: good, at: 2 * time.Hour, want: "service account token: token has invalid claims: token is expired"},
		"early":        {token: good, at: -time.Hour, want: "service account token: token has invalid claims: token is not valid yet"},
		"for ever":     {token: made(es256, key, func(_ map[string]any, c jwt.MapClaims) { delete(c, "exp") }), want: "service account token: token has invalid claims: token is missing required claim: exp claim is required"},
		"of nobody":    {token: made(es256, key, func(_ map[string]any, c jwt.MapClaims) { c["sub"] = "x" }), want: "the subject is not its account"},
		"of a Secret":  {token: made(es256, another, func(_ map[string]any, c jwt.MapClaims) { c["iss"] = "kubernetes/serviceaccount" }), want: "service account token: token signature is invalid: "},
		"of no Secret": {token: made(es256, key, func(_ map[string]any, c jwt.MapClaims) { c["iss"] = "kubernetes/serviceaccount" }), want: "the UID of the ServiceAccount"},
	} {
		t.Run(name, func(t *testing.T) {
			before := now
			defer func() { now = before }()
			now = now.Add(tt.at)
			id, err := issuer.Check(tt.token, tt.audiences)
			switch {
			case tt.want == "":
				if err != nil || id.Name != "system:serviceaccount:default:ada" {
					t.Errorf("%+v, %v", id, err)
				}
			case tt.want == foreign:
				if !errors.Is(err, satoken.ErrForeign) {
					t.Errorf("%v, want that it is foreign", err)
				}
			case err == nil || errors.Is(err, satoken.ErrForeign) || !strings.Contains(err.Error(), tt.want):
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}
