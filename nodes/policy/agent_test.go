package policy_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"headway.dev/manifests/nodepolicy"
	"headway.dev/nodes/network"
	"headway.dev/nodes/policy"
)

// hangUp is the revision with which the server ends the stream.
const hangUp = 99

// told is a server that tells what it is sent.
type told struct {
	*httptest.Server
	say chan nodepolicy.Change
}

func newTold(t *testing.T) *told {
	t.Helper()
	s := &told{say: make(chan nodepolicy.Change)}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != nodepolicy.Path("n1") {
			http.NotFound(w, r)
			return
		}
		for {
			select {
			case c, ok := <-s.say:
				if !ok || c.Revision == hangUp || json.NewEncoder(w).Encode(c) != nil || http.NewResponseController(w).Flush() != nil {
					return
				}
			case <-r.Context().Done():
				return
			}
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// startAgent runs an agent on the node until stop is called.
func (n *node) startAgent(s *told, warn ...func(format string, args ...any)) (a *policy.Agent, stop func()) {
	n.t.Helper()
	warn = append(warn, func(format string, args ...any) { n.t.Errorf(format, args...) })
	client, err := kubernetes.NewForConfig(&rest.Config{Host: s.URL})
	if err != nil {
		n.t.Fatal(err)
	}
	n.in(func() error {
		a = policy.New(policy.Config{
			NodeName: "n1", Client: client.CoreV1().RESTClient(), Attached: n.net.Attached,
			Warn: warn[0], Log: slog.New(slog.DiscardHandler),
		})
		return nil
	})
	ctx, cancel := context.WithCancel(context.WithoutCancel(n.t.Context()))
	done := make(chan error, 1)
	go func() { done <- inside(n.t, n.name, func() error { return a.Run(ctx) }) }()
	return a, func() {
		cancel()
		if err := <-done; err != nil {
			n.t.Error(err)
		}
	}
}

// A server of the time before policies keeps no pod from starting; one that refuses to
// tell does, and so does one that no longer knows what it has told of.
func TestServerWithoutPolicies(t *testing.T) {
	n := startNode(t, "a", "b")
	answer := make(chan int)
	s := newTold(t)
	tells := s.Config.Handler
	s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case code := <-answer:
			if code != http.StatusOK {
				http.Error(w, "as said", code)
				return
			}
			tells.ServeHTTP(w, r)
		case <-r.Context().Done():
		}
	})
	warned := make(chan string, 10)
	a, stop := n.startAgent(s, func(format string, args ...any) { warned <- fmt.Sprintf(format, args...) })
	defer stop()
	answer <- http.StatusForbidden
	answer <- http.StatusForbidden // the first is taken
	err := inside(t, n.name, func() error { return a.InForce(t.Context(), "a", []string{n.ips["a"]}) })
	if err == nil || !strings.Contains(err.Error(), "as said") {
		t.Errorf("the server refuses to tell: %v", err)
	}
	answer <- http.StatusNotFound
	if got := <-warned; !strings.Contains(got, "pods start without") {
		t.Errorf("the warning is %q", got)
	}
	if !n.inForce(a, "a", 10*time.Second) {
		t.Error("a pod does not start for want of policies that the server does not have")
	}
	answer <- http.StatusForbidden
	answer <- http.StatusOK
	s.say <- nodepolicy.Change{Reset: true, State: nodepolicy.State{Pods: map[types.UID]*nodepolicy.Pod{"a": {}}}}
	if !n.inForce(a, "a", 10*time.Second) {
		t.Error("a pod that nothing isolates does not start")
	}
	s.say <- nodepolicy.Change{Revision: hangUp}
	answer <- http.StatusNotFound
	answer <- http.StatusNotFound // the first is taken
	if !n.inForce(a, "a", patience) || n.inForce(a, "b", patience) {
		t.Error("want the pod that the server told of, and not the one that it did not")
	}
	if len(warned) != 0 {
		t.Errorf("warned of %q", <-warned)
	}
}

// Where pods cannot be bound to their addresses, those that are isolated do not start.
func TestUnbound(t *testing.T) {
	n := startNode(t, "a", "b", "c")
	nft, err := exec.LookPath("nft")
	if err != nil {
		t.Fatal(err)
	}
	// A kernel that takes no rules of bridges, as far as this can be had: the program
	// refuses.
	dir := t.TempDir()
	script := "#!/bin/sh\nin=$(mktemp -p " + dir + ")\ncase \"$*\" in *-f*) cat > $in;; esac\n" +
		"if [ -e " + dir + "/broken ] && grep -q 'table bridge' $in; then rm $in; echo 'Error: Operation not supported' >&2; exit 1; fi\n" +
		"" + nft + " \"$@\" < $in; code=$?; rm $in; exit $code\n"
	if err := os.WriteFile(filepath.Join(dir, "nft"), []byte(script), 0o755); err != nil { //nolint:gosec // it is a program
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	s := newTold(t)
	a, stop := n.startAgent(s)
	defer stop()
	broken := filepath.Join(dir, "broken")
	if err := os.WriteFile(broken, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s.say <- nodepolicy.Change{Reset: true, State: n.isolating(true)}
	if !n.inForce(a, "a", 10*time.Second) {
		t.Error("a pod that nothing isolates does not start")
	}
	err = inside(t, n.name, func() error { return a.InForce(t.Context(), "b", []string{n.ips["b"]}) })
	if err == nil || !strings.Contains(err.Error(), "bind pods to their addresses") {
		t.Errorf("an isolated pod that may send by any address: %v", err)
	}
	if err := os.Remove(broken); err != nil {
		t.Fatal(err)
	}
	if !n.inForce(a, "b", 10*time.Second) {
		t.Error("the pod does not start once it is bound")
	}
}

// A node without nft says so, and starts the pods that nothing isolates.
func TestWithoutProgram(t *testing.T) {
	s := newTold(t)
	client, err := kubernetes.NewForConfig(&rest.Config{Host: s.URL})
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", t.TempDir())
	warned := make(chan string, 1)
	a := policy.New(policy.Config{
		NodeName: "n1", Client: client.CoreV1().RESTClient(), Attached: func() []network.Attachment { return nil },
		Warn: func(format string, args ...any) { warned <- fmt.Sprintf(format, args...) }, Log: slog.New(slog.DiscardHandler),
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	if got := <-warned; !strings.Contains(got, "install the package nftables") {
		t.Errorf("the warning is %q", got)
	}
	s.say <- nodepolicy.Change{Reset: true, State: nodepolicy.State{
		Pods: map[types.UID]*nodepolicy.Pod{"a": {}, "b": {Egress: "e1"}}, Profiles: map[string]*nodepolicy.Profile{"e1": {Egress: true}},
	}}
	if err := a.InForce(ctx, "a", []string{"10.0.0.1"}); err != nil {
		t.Errorf("a pod that nothing isolates: %v", err)
	}
	if err := a.InForce(ctx, "b", []string{"10.0.0.2"}); err == nil || !strings.Contains(err.Error(), "this node cannot keep to them") {
		t.Errorf("a pod that is isolated: %v", err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// inForce asks for a pod, and reports whether the rules are there within a time.
func (n *node) inForce(a *policy.Agent, pod string, limit time.Duration) bool {
	ctx, cancel := context.WithTimeout(n.t.Context(), limit)
	defer cancel()
	return inside(n.t, n.name, func() error { return a.InForce(ctx, types.UID(pod), []string{n.ips[pod]}) }) == nil
}

// A pod's containers wait until its policies are in the kernel; what was in force stays
// while the agent and the server are away, and until the server has told all.
func TestInForce(t *testing.T) {
	n := startNode(t, "a", "b", "c")
	n.serve("b", 8080)
	s := newTold(t)
	a, stop := n.startAgent(s)
	if n.inForce(a, "b", patience) {
		t.Fatal("rules are said to be in force before the server told them")
	}
	s.say <- nodepolicy.Change{Reset: true, State: nodepolicy.State{Pods: map[types.UID]*nodepolicy.Pod{"a": {}}}}
	if !n.inForce(a, "a", 10*time.Second) || n.inForce(a, "b", patience) {
		t.Fatal("want the pod that the server knows, and not the one that it does not know yet")
	}
	shut := n.isolating(false)
	s.say <- nodepolicy.Change{State: shut}
	if !n.inForce(a, "b", 10*time.Second) {
		t.Fatal("the rules of the pod are not in force")
	}
	n.expect("told", map[string]bool{"a tcp b 8080": false, "node tcp b 8080": true})

	// Another agent, whose server is not there at first.
	stop()
	n.expect("without an agent", map[string]bool{"a tcp b 8080": false})
	a, stop = n.startAgent(s)
	defer func() { stop() }()
	if n.inForce(a, "b", patience) {
		t.Error("the new agent says that rules are in force which nobody told it")
	}
	n.expect("before the server told anything", map[string]bool{"a tcp b 8080": false})
	s.say <- nodepolicy.Change{Reset: true, State: n.isolating(false, nodepolicy.Rule{Any: true})}
	if !n.inForce(a, "b", 10*time.Second) {
		t.Fatal("the rules of the pod are not in force")
	}
	n.expect("told by the next", map[string]bool{"a tcp b 8080": true})

	// The server ends the stream, and tells more in the next.
	s.say <- nodepolicy.Change{Revision: hangUp}
	s.say <- nodepolicy.Change{Reset: true, State: shut}
	for limit := time.Now().Add(20 * time.Second); n.reaches("a", "tcp", n.ips["b"], 8080); {
		if time.Now().After(limit) {
			t.Fatal("what the next stream told is not in force")
		}
	}
}

// A pod whose policies come to too many rules does not start, and is told why; those that
// run are shut, and others change.
func TestTooMuchPolicy(t *testing.T) {
	n := startNode(t, "a", "b", "c")
	n.serve("b", 8080)
	n.serve("c", 8080)
	s := newTold(t)
	warned := make(chan string, 10)
	a, stop := n.startAgent(s, func(format string, args ...any) { warned <- fmt.Sprintf(format, args...) })
	defer stop()
	state := n.isolating(false, nodepolicy.Rule{Any: true})
	s.say <- nodepolicy.Change{Reset: true, State: state}
	if !n.inForce(a, "b", 10*time.Second) {
		t.Fatal("the rules of the pod are not in force")
	}
	n.expect("open", map[string]bool{"a tcp b 8080": true})
	var large nodepolicy.Rule
	for i := range 1000 {
		large.Groups = append(large.Groups, "ga")
		large.Blocks = append(large.Blocks, nodepolicy.Block{CIDR: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 77, byte(i >> 8), byte(i)}), 32)})
		large.Ports = append(large.Ports, nodepolicy.Port{Protocol: "TCP", Name: fmt.Sprint("p", i)})
	}
	s.say <- nodepolicy.Change{State: nodepolicy.State{
		Pods:     map[types.UID]*nodepolicy.Pod{"c": {Ingress: "i2"}},
		Profiles: map[string]*nodepolicy.Profile{"i1": {Rules: []nodepolicy.Rule{large}}, "i2": {}},
	}}
	if got := <-warned; !strings.Contains(got, "1 pods") || !strings.Contains(got, "more than 10000 rules") {
		t.Errorf("the warning is %q", got)
	}
	n.expect("large", map[string]bool{"a tcp b 8080": false, "a tcp c 8080": false})
	err := inside(t, n.name, func() error { return a.InForce(t.Context(), "b", []string{n.ips["b"]}) })
	if err == nil || !strings.Contains(err.Error(), "more than 10000 rules") {
		t.Errorf("a pod of too many rules: %v", err)
	}
	if !n.inForce(a, "c", 10*time.Second) {
		t.Error("another pod does not start")
	}
}
