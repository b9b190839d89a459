package api_test

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"headway.dev/engine/api"
	"headway.dev/engine/api/apitest"
	"headway.dev/engine/api/audit"
	"headway.dev/engine/pki"
)

// auditLog makes a log with a policy's rules, and returns the path of its file.
func auditLog(t *testing.T, rules string, flags ...string) (option apitest.Option, path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "audit.log")
	return auditTo(t, path, rules, flags...), path
}

// auditTo makes a log at a path, as the flags do.
func auditTo(t *testing.T, path, rules string, flags ...string) apitest.Option {
	t.Helper()
	policy := filepath.Join(t.TempDir(), "policy.yaml")
	if err := os.WriteFile(policy, []byte("apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules:\n"+rules), 0o600); err != nil {
		t.Fatal(err)
	}
	var options audit.Options
	set := pflag.NewFlagSet("up", pflag.ContinueOnError)
	options.AddFlags(set)
	if err := set.Parse(append([]string{"--audit-policy-file", policy, "--audit-log-path", path}, flags...)); err != nil {
		t.Fatal(err)
	}
	if err := options.Check(); err != nil {
		t.Fatal(err)
	}
	log, err := options.Open()
	if err != nil {
		t.Fatal(err)
	}
	return func(c *api.Config) { c.Audit = log }
}

// auditEvents reads the log's file.
func auditEvents(t *testing.T, path string) (events []auditv1.Event) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(data) {
		var e auditv1.Event
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		events = append(events, e)
	}
	return events
}

// What kubectl asks for is in the log at the level of the policy's rule, with who
// asked; of Secrets and tokens there is never more than metadata, although the
// policy says so, and nowhere a byte of their contents.
func TestAuditLevels(t *testing.T) {
	option, path := auditLog(t, `
- {level: None, resources: [{group: "", resources: [services]}]}
- {level: None, nonResourceURLs: ["/api*", "/openapi*", "/apis*"]}
- {level: Request, verbs: [create, update, patch], resources: [{group: "", resources: [configmaps]}]}
- {level: Metadata, resources: [{group: "", resources: [configmaps]}]}
- {level: RequestResponse}
`)
	s := apitest.Start(t, option)
	const secret = "correct-horse-battery"
	const manifest = `{"apiVersion": "v1", "kind": %q, "metadata": {"name": "x", "namespace": "default"}, %q: {"k": %q}}`
	kubectl := func(stdin string, ok bool, args ...string) string {
		t.Helper()
		out, errOut, err := s.Kubectl(t, stdin, args...)
		if (err == nil) != ok {
			t.Errorf("kubectl %v: %v\n%s", args, err, errOut)
		}
		return out
	}
	kubectl(fmt.Sprintf(manifest, "ConfigMap", "data", "open-text"), true, "create", "-f", "-")
	kubectl("", true, "get", "configmap", "x")
	kubectl("", true, "get", "services")
	kubectl("", true, "create", "serviceaccount", "robot")
	kubectl(fmt.Sprintf(manifest, "Secret", "stringData", secret), true, "create", "-f", "-")
	kubectl("", true, "get", "secret", "x", "-o", "yaml")
	kubectl("", true, "patch", "secret", "x", "-p", `{"stringData": {"k": "`+secret+`-2"}}`)
	kubectl(fmt.Sprintf(manifest, "Secret", "data", secret), false, "create", "--validate=false", "-f", "-") // no base64
	kubectl("", false, "patch", "secret", "x", "-p", `{"data": {"k": 4711471147114711}}`)
	kubectl("", true, "delete", "secret", "x")
	token := strings.TrimSpace(kubectl("", true, "create", "token", "robot"))
	kubectl(fmt.Sprintf(`{"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": %q}}`, token), true, "create", "--validate=false", "-f", "-", "-o", "yaml")
	kubectl("", true, "get", "configmaps", "--as", "ada", "--as-group", "system:masters")
	s.Stop()

	type row struct {
		verb, resource, level string
		code                  int32
		request, response     bool
	}
	var rows []row
	for _, e := range auditEvents(t, path) {
		if e.ObjectRef == nil || e.User.Username != "kubernetes-admin" {
			continue
		}
		resource := e.ObjectRef.Resource
		if e.ObjectRef.Subresource != "" {
			resource += "/" + e.ObjectRef.Subresource
		}
		code := e.ResponseStatus.Code
		if code == http.StatusUnprocessableEntity {
			code = http.StatusBadRequest // which of them, is the library's matter
		}
		rows = append(rows, row{e.Verb, resource, string(e.Level), code, e.RequestObject != nil, e.ResponseObject != nil})
		if e.Annotations["authorization.k8s.io/decision"] != "allow" || e.AuditID == "" || e.Stage != auditv1.StageResponseComplete {
			t.Errorf("event %+v", e)
		}
	}
	for _, want := range []row{
		{"create", "configmaps", "Request", 201, true, false},
		{"get", "configmaps", "Metadata", 200, false, false},
		{"list", "configmaps", "Metadata", 200, false, false},
		{"create", "serviceaccounts", "RequestResponse", 201, true, true},
		{"create", "secrets", "Metadata", 201, false, false},
		{"create", "secrets", "Metadata", 400, false, false},
		{"get", "secrets", "Metadata", 200, false, false},
		{"patch", "secrets", "Metadata", 200, false, false},
		{"patch", "secrets", "Metadata", 400, false, false},
		{"delete", "secrets", "Metadata", 200, false, false},
		{"create", "serviceaccounts/token", "Metadata", 201, false, false},
		{"create", "tokenreviews", "Metadata", 201, false, false},
	} {
		if !slices.Contains(rows, want) {
			t.Errorf("no event %+v in:\n%+v", want, rows)
		}
	}
	for _, r := range rows {
		if r.resource == "services" {
			t.Errorf("there is %+v, which the policy leaves out", r)
		}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{secret, "Y29ycmVjdC1ob3JzZS1iYXR0ZXJ5", "4711471147114711", token, "unable to decode", "illegal base64"} {
		if bytes.Contains(data, []byte(text)) {
			t.Errorf("the log has %q in it", text)
		}
	}
	for _, text := range []string{"open-text", `"impersonatedUser":{"username":"ada"`} {
		if !bytes.Contains(data, []byte(text)) {
			t.Errorf("the log does not have %q in it", text)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("the log is %v, %v", info, err)
	}
}

// The response says under which id the request is logged; what admission plugins
// annotate is in its event; so is a request that authentication refuses. Without a
// policy responses have the id all the same.
func TestAuditAnnotationsAndIDs(t *testing.T) {
	option, path := auditLog(t, "- {level: Metadata}\n", "--audit-log-mode=batch")
	s := apitest.Start(t, option)
	s.Namespace(t, "watched")
	if _, errOut, err := s.Kubectl(t, "", "label", "ns", "watched", "pod-security.kubernetes.io/audit=restricted"); err != nil {
		t.Fatal(errOut)
	}
	pod := `{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "watched"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}`
	if _, errOut, err := s.Kubectl(t, pod, "create", "-f", "-"); err != nil {
		t.Fatal(errOut)
	}
	transport, err := rest.TransportFor(s.Config)
	if err != nil {
		t.Fatal(err)
	}
	get := func(transport http.RoundTripper, header http.Header) (code int, id string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/api/v1/nodes", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		r.Header = header
		response, err := transport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		return response.StatusCode, response.Header.Get("Audit-ID")
	}
	if _, got := get(transport, http.Header{"Audit-Id": {"mine"}}); got != "mine" {
		t.Errorf("the response's Audit-ID is %q, want the request's", got)
	}
	stranger, err := rest.TransportFor(&rest.Config{Host: s.URL, BearerToken: "wrong", TLSClientConfig: rest.TLSClientConfig{CAData: s.PKI.CACert}})
	if err != nil {
		t.Fatal(err)
	}
	code, id := get(stranger, http.Header{})
	if code != http.StatusUnauthorized || id == "" {
		t.Errorf("the stranger got %d with the id %q", code, id)
	}
	s.Stop()
	var mine, violation, unknown bool
	for _, e := range auditEvents(t, path) {
		mine = mine || e.AuditID == "mine" && e.Verb == "list" && e.ObjectRef.Resource == "nodes"
		unknown = unknown || string(e.AuditID) == id && e.ResponseStatus.Code == http.StatusUnauthorized
		violation = violation || e.ObjectRef != nil && e.ObjectRef.Resource == "pods" && strings.Contains(e.Annotations["pod-security.kubernetes.io/audit-violations"], "allowPrivilegeEscalation")
	}
	if !mine || !unknown || !violation {
		t.Errorf("the event of the given id is there: %v; of the refused request: %v; with PodSecurity's annotation: %v", mine, unknown, violation)
	}
}

// A log that cannot be written to, because the disk is full, stops no request, and
// neither does one that nobody reads: what waits is bounded.
func TestAuditLogIsStuck(t *testing.T) {
	for name, flags := range map[string][]string{"full": nil, "stuck": {"--audit-log-mode=batch", "--audit-log-batch-buffer-size=3"}} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			to := "/dev/full"
			if name == "stuck" {
				// A FIFO that is full: who writes to it waits.
				to = filepath.Join(dir, "fifo")
				if err := unix.Mkfifo(to, 0o600); err != nil {
					t.Fatal(err)
				}
				reader, err := os.OpenFile(to, os.O_RDWR, 0)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { reader.Close() }) // after the server's end
				go func() {
					<-t.Context().Done() // before the server's end, which waits for what is written
					_, _ = io.Copy(io.Discard, reader)
				}()
			}
			s := apitest.Start(t, auditTo(t, to, "- {level: RequestResponse}\n", append(flags, "--audit-log-maxsize=0")...))
			client := kubernetes.NewForConfigOrDie(s.Config)
			large := strings.Repeat("x", 100<<10) // more than a pipe holds
			var all sync.WaitGroup
			for i := range 20 {
				all.Go(func() {
					m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("m", i)}, Data: map[string]string{"x": large}}
					if _, err := client.CoreV1().ConfigMaps("default").Create(t.Context(), m, metav1.CreateOptions{}); err != nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
		})
	}
}

// Flags that would have no effect, and a policy that is none, are refused.
func TestAuditFlags(t *testing.T) {
	dir := t.TempDir()
	policy := filepath.Join(dir, "policy.yaml")
	if err := os.WriteFile(policy, []byte("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Loud}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, flags := range map[string][]string{
		"--audit-log-path needs --audit-policy-file":            {"--audit-log-path=" + filepath.Join(dir, "log")},
		"--audit-policy-file needs --audit-log-path":            {"--audit-policy-file=" + policy},
		"--audit-webhook-config-file needs --audit-policy-file": {"--audit-webhook-config-file=x"},
		`Unsupported value: "Loud"`:                             {"--audit-policy-file=" + policy, "--audit-log-path=-"},
		"allowed formats":                                       {"--audit-policy-file=" + policy, "--audit-log-path=-", "--audit-log-format=xml"},
		"allowed modes":                                         {"--audit-policy-file=" + policy, "--audit-log-path=-", "--audit-log-mode=never"},
	} {
		var options audit.Options
		set := pflag.NewFlagSet("up", pflag.ContinueOnError)
		options.AddFlags(set)
		if err := set.Parse(flags); err != nil {
			t.Fatal(err)
		}
		if err := options.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %q", flags, err, want)
		}
	}
	var none audit.Options
	none.AddFlags(pflag.NewFlagSet("up", pflag.ContinueOnError))
	if log, err := none.Open(); log != nil || none.Check() != nil || err != nil {
		t.Errorf("without flags: %v, %v", log, err)
	}
}

// The webhook gets the events that the log gets.
func TestAuditWebhook(t *testing.T) {
	var mu sync.Mutex
	seen := map[string]bool{}
	hook := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var list auditv1.EventList
		if err := json.NewDecoder(r.Body).Decode(&list); err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		for _, e := range list.Items {
			seen[string(e.AuditID)] = true
		}
	}))
	defer hook.Close()
	kubeconfig := filepath.Join(t.TempDir(), "hook")
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: hook.Certificate().Raw})
	if err := pki.WriteKubeconfig(kubeconfig, hook.URL, authority, pki.Credentials{User: "audit"}); err != nil {
		t.Fatal(err)
	}
	option, path := auditLog(t, "- {level: Metadata}\n", "--audit-webhook-config-file", kubeconfig, "--audit-webhook-mode=blocking")
	s := apitest.Start(t, option)
	if _, errOut, err := s.Kubectl(t, "", "get", "nodes"); err != nil {
		t.Fatal(errOut)
	}
	s.Stop()
	mu.Lock()
	defer mu.Unlock()
	events := auditEvents(t, path)
	for _, e := range events {
		if !seen[string(e.AuditID)] {
			t.Errorf("the webhook has not seen %s %s", e.Verb, e.RequestURI)
		}
	}
	if len(events) == 0 {
		t.Error("nothing was logged")
	}
}
