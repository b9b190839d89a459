package api_test

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"headway.dev/engine/api"
	"headway.dev/engine/api/apitest"
)

// service is what a webhook of the server's asks, and the path of a kubeconfig
// that leads there.
func service(t *testing.T, answer http.HandlerFunc) (kubeconfig string) {
	t.Helper()
	server := httptest.NewTLSServer(answer)
	t.Cleanup(server.Close)
	config := clientcmdapi.NewConfig()
	config.Clusters["hook"] = &clientcmdapi.Cluster{
		Server: server.URL, CertificateAuthorityData: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}),
	}
	config.Contexts["hook"] = &clientcmdapi.Context{Cluster: "hook"}
	config.CurrentContext = "hook"
	path := filepath.Join(t.TempDir(), "hook.kubeconfig")
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// A webhook is asked about the tokens that nobody else knows, once as long as its
// answer holds; what it does wrong is the trouble of its tokens alone.
func TestTokenWebhook(t *testing.T) {
	var mu sync.Mutex
	asked := map[string]int{}
	hang := make(chan struct{})
	path := service(t, func(w http.ResponseWriter, r *http.Request) {
		var review authenticationv1.TokenReview
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
			t.Error(err)
		}
		mu.Lock()
		asked[review.Spec.Token]++
		mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		switch review.Spec.Token {
		case "good-one":
			review.Status = authenticationv1.TokenReviewStatus{Authenticated: true, User: authenticationv1.UserInfo{Username: "ada", UID: "7", Groups: []string{"staff"}}}
		case "of-vault":
			review.Status = authenticationv1.TokenReviewStatus{Authenticated: true, User: authenticationv1.UserInfo{Username: "ada"}, Audiences: []string{"vault"}}
		case "hanging":
			select {
			case <-hang:
			case <-r.Context().Done():
				return
			}
		case "endless":
			review.Status.Error = strings.Repeat("x", 2<<20)
		case "nonsense":
			fmt.Fprint(w, "{")
			return
		}
		if err := json.NewEncoder(w).Encode(review); err != nil && review.Spec.Token != "endless" {
			t.Error(err)
		}
	})
	defer close(hang)
	m, err := methods(t, slog.New(slog.DiscardHandler), "--authentication-token-webhook-config-file", path, "--authentication-token-webhook-version", "v1", "--authentication-token-webhook-cache-ttl", "1h")
	if err != nil {
		t.Fatal(err)
	}
	var log lines
	s := apitest.Start(t, func(c *api.Config) {
		c.Authentication, c.Tokens, c.RequestTimeout = m, tokens{"own": "robot"}, 2*time.Second
		c.Log = slog.New(slog.NewTextHandler(&log, nil))
	})
	// Who waits for a webhook that hangs holds up nobody.
	waiting := make(chan error, 1)
	go func() {
		_, err := as(s, "hanging").AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
		waiting <- err
	}()
	for range 2 {
		got, err := who(t, s, "good-one")
		if want := (authenticationv1.UserInfo{Username: "ada", UID: "7", Groups: []string{"staff", "system:authenticated"}}); err != nil || !cmp.Equal(got, want) {
			t.Errorf("%+v, %v, want %+v", got, err, want)
		}
	}
	if got, err := who(t, s, "own"); err != nil || got.Username != "robot" {
		t.Errorf("a token of the file: %+v, %v", got, err)
	}
	for _, token := range []string{"unknown", "of-vault", "endless", "nonsense"} {
		if got, err := who(t, s, token); err == nil {
			t.Errorf("the token %s is %q's", token, got.Username)
		}
	}
	if err := <-waiting; err == nil {
		t.Error("a webhook that hangs lets someone in")
	}
	mu.Lock()
	defer mu.Unlock()
	if asked["good-one"] != 1 || asked["own"] != 0 {
		t.Errorf("the webhook was asked %d times about its token, and %d times about another's", asked["good-one"], asked["own"])
	}
	for _, token := range []string{"good-one", "of-vault", "endless", "nonsense"} {
		if strings.Contains(log.String(), token) {
			t.Errorf("the log has the token %s", token)
		}
	}
}

// A Secret of the right type, in kube-system, lets in who has its token, until it
// says otherwise; without the flag none does.
func TestBootstrapTokens(t *testing.T) {
	m, err := methods(t, slog.New(slog.DiscardHandler), "--enable-bootstrap-token-auth")
	if err != nil {
		t.Fatal(err)
	}
	s := apitest.Start(t, func(c *api.Config) { c.Authentication = m })
	s.Namespace(t, "kube-system")
	admin := kubernetes.NewForConfigOrDie(s.Config)
	secret := func(id string, edit func(*corev1.Secret)) {
		t.Helper()
		one := &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "bootstrap-token-" + id},
			Type:       corev1.SecretTypeBootstrapToken,
			StringData: map[string]string{"token-id": id, "token-secret": "0123456789abcdef", "usage-bootstrap-authentication": "true"},
		}
		edit(one)
		if _, err := admin.CoreV1().Secrets(one.Namespace).Create(t.Context(), one, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	in := func(d time.Duration) string { return time.Now().Add(d).Format(time.RFC3339) }
	secret("aaaaaa", func(*corev1.Secret) {})
	secret("bbbbbb", func(s *corev1.Secret) {
		s.StringData["auth-extra-groups"] = "system:bootstrappers:team,system:bootstrappers:rack-1"
		s.StringData["expiration"] = in(time.Hour)
	})
	secret("cccccc", func(s *corev1.Secret) { s.StringData["expiration"] = in(-time.Hour) })
	secret("dddddd", func(s *corev1.Secret) { delete(s.StringData, "usage-bootstrap-authentication") })
	secret("eeeeee", func(s *corev1.Secret) { s.StringData["auth-extra-groups"] = "system:masters" })
	secret("ffffff", func(s *corev1.Secret) { s.StringData["token-id"] = "aaaaaa" })
	secret("gggggg", func(s *corev1.Secret) { s.Type = corev1.SecretTypeOpaque })
	secret("hhhhhh", func(s *corev1.Secret) { s.StringData["expiration"] = "tomorrow" })
	secret("iiiiii", func(s *corev1.Secret) { s.Namespace = "default" })
	const rest = ".0123456789abcdef"
	for token, want := range map[string]string{
		"aaaaaa" + rest:           "system:bootstrap:aaaaaa [system:bootstrappers system:authenticated]",
		"bbbbbb" + rest:           "system:bootstrap:bbbbbb [system:bootstrappers system:bootstrappers:rack-1 system:bootstrappers:team system:authenticated]",
		"aaaaaa.0123456789abcdee": "", "aaaaaa": "", "jjjjjj" + rest: "",
		"cccccc" + rest: "", "dddddd" + rest: "", "eeeeee" + rest: "", "ffffff" + rest: "", "gggggg" + rest: "", "hhhhhh" + rest: "", "iiiiii" + rest: "",
	} {
		got, err := who(t, s, token)
		if is := fmt.Sprint(got.Username, " ", got.Groups); want == "" && err == nil || want != "" && (err != nil || is != want) {
			t.Errorf("the token %s is of %s (%v), want %q", token, is, err, want)
		}
	}
	if err := admin.CoreV1().Secrets("kube-system").Delete(t.Context(), "bootstrap-token-aaaaaa", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if got, err := who(t, s, "aaaaaa"+rest); err == nil {
		t.Errorf("the token of a deleted Secret is %q's", got.Username)
	}
	without := apitest.Start(t)
	without.Namespace(t, "kube-system")
	admin = kubernetes.NewForConfigOrDie(without.Config)
	secret("aaaaaa", func(*corev1.Secret) {})
	if got, err := who(t, without, "aaaaaa"+rest); err == nil {
		t.Errorf("without the flag, a bootstrap token is %q's", got.Username)
	}
}

// Who listens on all addresses tells those who check tokens of accounts one at which
// they find the keys.
func TestAccountIssuerOnAllAddresses(t *testing.T) {
	s := apitest.Start(t, func(c *api.Config) {
		all, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "0.0.0.0:0")
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Listener.Close(); err != nil {
			t.Fatal(err)
		}
		c.Listener = all
		c.Address = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), netip.MustParseAddrPort(all.Addr().String()).Port())
	})
	client := kubernetes.NewForConfigOrDie(s.Config).RESTClient()
	var configuration struct {
		JWKSURI string `json:"jwks_uri"`
	}
	content, err := client.Get().AbsPath("/.well-known/openid-configuration").DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(content, &configuration); err != nil || configuration.JWKSURI != s.URL+"/openid/v1/jwks" {
		t.Errorf("%s, %v", content, err)
	}
	verifier := clientOf(t, s.Config, "HTTP/2.0")
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, configuration.JWKSURI, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := verifier.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if keys, err := io.ReadAll(answer.Body); err != nil || !strings.Contains(string(keys), `"kty":"EC"`) {
		t.Errorf("keys: %s, %v", keys, err)
	}
	// The address of the API's own documents is the same.
	content, err = client.Get().AbsPath("/api").DoRaw(t.Context())
	if host := strings.TrimPrefix(s.URL, "https://"); err != nil || !strings.Contains(string(content), `"serverAddress":"`+host+`"`) {
		t.Errorf("/api: %s, %v", content, err)
	}
}

// Others find out how to check tokens of accounts; a token may be bound to a node,
// and ends with it.
func TestAccountIssuer(t *testing.T) {
	s := apitest.Start(t)
	admin := kubernetes.NewForConfigOrDie(s.Config)
	var configuration struct {
		Issuer  string `json:"issuer"`
		JWKSURI string `json:"jwks_uri"`
	}
	read := func(path string) []byte {
		t.Helper()
		content, err := admin.RESTClient().Get().AbsPath(path).DoRaw(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return content
	}
	if err := json.Unmarshal(read("/.well-known/openid-configuration"), &configuration); err != nil {
		t.Fatal(err)
	}
	if configuration.Issuer != "https://kubernetes.default.svc.cluster.local" || configuration.JWKSURI != s.URL+"/openid/v1/jwks" {
		t.Errorf("%+v", configuration)
	}
	if keys := string(read("/openid/v1/jwks")); !strings.Contains(keys, `"kty":"EC"`) {
		t.Errorf("keys: %s", keys)
	}
	if _, err := admin.CoreV1().ServiceAccounts("default").Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "robot"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	node, err := admin.CoreV1().Nodes().Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	refuse(t, s, "", []string{"create", "token", "robot", "--bound-object-kind", "Node", "--bound-object-name", "n2"}, `nodes "n2" not found`)
	refuse(t, s, "", []string{"create", "token", "robot", "--bound-object-kind", "Node", "--bound-object-name", "n1", "--bound-object-uid", "other"}, "does not match the UID in record")
	token := strings.TrimSpace(kubectl(t, s, "", "create", "token", "robot", "--bound-object-kind", "Node", "--bound-object-name", "n1"))
	got, err := who(t, s, token)
	if err != nil || !cmp.Equal(got.Extra["authentication.kubernetes.io/node-name"], authenticationv1.ExtraValue{"n1"}) || !cmp.Equal(got.Extra["authentication.kubernetes.io/node-uid"], authenticationv1.ExtraValue{string(node.UID)}) {
		t.Errorf("%+v, %v", got, err)
	}
	if id := got.Extra["authentication.kubernetes.io/credential-id"]; len(id) != 1 || !strings.HasPrefix(id[0], "JTI=") {
		t.Errorf("credential-id %v", id)
	}
	if err := admin.CoreV1().Nodes().Delete(t.Context(), "n1", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := who(t, s, token); err == nil {
		t.Error("the token outlives its node")
	}
}
