package known_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"headway.dev/nodes/known"
)

// api is one that can be away.
type api struct {
	*fake.Clientset
	down atomic.Bool
}

func newAPI(objects ...apiruntime.Object) *api {
	a := &api{Clientset: fake.NewClientset(objects...)}
	a.PrependReactor("list", "*", func(clienttesting.Action) (bool, apiruntime.Object, error) {
		return a.down.Load(), nil, errors.New("the API is down")
	})
	return a
}

// run opens a cluster and runs it until stop, or the end of the test.
func run(t *testing.T, cfg known.Config) (c *known.Cluster, stop func()) {
	t.Helper()
	cfg.Log = slog.New(slog.DiscardHandler)
	c = known.Open(cfg)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := c.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	stop = sync.OnceFunc(func() {
		cancel()
		wg.Wait()
		if err := c.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	t.Cleanup(stop)
	return c, stop
}

// names are what a follower has, and how it was told.
type names struct {
	mu    sync.Mutex
	have  map[string]string // resourceVersions or labels by name; nil: nothing was told
	panic map[string]int    // how often to panic about a name
}

func (n *names) edit(f func()) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	f()
	return nil
}

func (n *names) set(obj any) {
	o := obj.(metav1.Object)
	if n.panic[o.GetName()] > 0 {
		n.panic[o.GetName()]--
		panic("this one is too much")
	}
	n.have[o.GetName()] = o.GetLabels()["v"]
}

func (n *names) Add(obj any) error    { return n.edit(func() { n.set(obj) }) }
func (n *names) Update(obj any) error { return n.edit(func() { n.set(obj) }) }
func (n *names) Resync() error        { return nil }
func (n *names) Delete(obj any) error {
	return n.edit(func() { delete(n.have, obj.(metav1.Object).GetName()) })
}

func (n *names) Replace(list []any, _ string) error {
	return n.edit(func() {
		n.have = map[string]string{}
		for _, obj := range list {
			n.set(obj)
		}
	})
}

func (n *names) text() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.have == nil {
		return "nothing yet"
	}
	var out []string
	for _, name := range slices.Sorted(maps.Keys(n.have)) {
		out = append(out, name+n.have[name])
	}
	return strings.Join(out, " ")
}

// follow follows a kind until the end of the test.
func follow(t *testing.T, with func(context.Context, *names)) *names {
	t.Helper()
	n := &names{panic: map[string]int{}}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { with(ctx, n) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	return n
}

func services(t *testing.T, c *known.Cluster) *names {
	t.Helper()
	return follow(t, func(ctx context.Context, n *names) { c.Services.Follow(ctx, n) })
}

func eventually(t *testing.T, want string, got func() string) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); got() != want; <-time.After(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it is %q, want %q", fmt.Sprintf("%.100s", got()), fmt.Sprintf("%.100s", want))
		}
	}
}

func service(name, v string) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{"v": v}}, Spec: corev1.ServiceSpec{ClusterIP: "10.43.0.1"}}
}

// kept waits until the file has what it should.
func kept(t *testing.T, path, want string) {
	t.Helper()
	copied := filepath.Join(t.TempDir(), "copy.db")
	eventually(t, want, func() string {
		data, err := os.ReadFile(path)
		if err != nil {
			return err.Error()
		}
		if err := os.WriteFile(copied, data, 0o600); err != nil {
			t.Fatal(err)
		}
		c := known.Open(known.Config{Client: newAPI(), Path: copied, Of: "us", Log: slog.New(slog.DiscardHandler)})
		defer func() { _ = c.Close() }()
		ctx, cancel := context.WithCancel(t.Context())
		n := &names{}
		var wg sync.WaitGroup
		wg.Go(func() { c.Services.Follow(ctx, n) })
		cancel()
		wg.Wait()
		return n.text()
	})
}

// What was known is known after a start while the API is away, and the API's word
// takes its place.
func TestKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "network", "known.db")
	a := newAPI(service("one", "-1"), service("two", "-1"))
	c, stop := run(t, known.Config{Client: a, Path: path, Of: "us"})
	n := services(t, c)
	eventually(t, "one-1 two-1", n.text)
	if _, err := a.CoreV1().Services("default").Update(t.Context(), service("two", "-2"), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := a.CoreV1().Services("default").Delete(t.Context(), "one", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := a.CoreV1().Services("default").Create(t.Context(), service("three", "-1"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "three-1 two-2", n.text)
	kept(t, path, "three-1 two-2") // while it runs: nobody may say goodbye
	stop()

	a.down.Store(true)
	c, stop = run(t, known.Config{Client: a, Path: path, Of: "us"})
	n = services(t, c)
	fresh := follow(t, func(ctx context.Context, n *names) { c.Services.FollowAPI(ctx, n) })
	eventually(t, "three-1 two-2", n.text)
	if got := fresh.text(); got != "nothing yet" {
		t.Errorf("who waits for the API was told %q", got)
	}
	if err := a.CoreV1().Services("default").Delete(t.Context(), "two", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	a.down.Store(false)
	eventually(t, "three-1", n.text)
	eventually(t, "three-1", fresh.text)
	kept(t, path, "three-1")
	stop()

	other, stop := run(t, known.Config{Client: newAPI(service("theirs", "")), Path: path, Of: "them"})
	eventually(t, "theirs", services(t, other).text)
	stop()
	kept(t, path, "nothing yet") // "us" does not know theirs
}

// A damaged file is told of, and begun anew, whatever is damaged.
func TestDamage(t *testing.T) {
	whole := filepath.Join(t.TempDir(), "known.db")
	a := newAPI()
	for i := range 200 { // pages of branches, too
		_ = a.Tracker().Add(service(fmt.Sprintf("svc-%03d-%s", i, strings.Repeat("x", 40)), ""))
	}
	c, stop := run(t, known.Config{Client: a, Path: whole, Of: "us"})
	n := services(t, c)
	eventually(t, "200", func() string { return fmt.Sprint(len(strings.Fields(n.text()))) })
	all := n.text()
	kept(t, whole, all)
	stop()
	data, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	damages := map[string][]byte{"empty of sense": []byte(strings.Repeat("no", 20000)), "a directory's": nil}
	for _, part := range []int{2, 3, 5, 10} {
		damages[fmt.Sprint("cut to 1/", part)] = data[:len(data)/part]
	}
	for page := range min(len(data)/4096, 12) {
		zeroed, flipped := slices.Clone(data), slices.Clone(data)
		clear(zeroed[page*4096 : (page+1)*4096])
		for i := page * 4096; i < (page+1)*4096; i += 7 {
			flipped[i] ^= 0x55
		}
		damages[fmt.Sprint("zeroed page ", page)], damages[fmt.Sprint("flipped page ", page)] = zeroed, flipped
	}
	told := 0
	for what, damaged := range damages {
		path := filepath.Join(t.TempDir(), "known.db")
		if damaged == nil {
			err = os.Mkdir(path, 0o700)
		} else {
			err = os.WriteFile(path, damaged, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		warned := false
		away := newAPI(service("new", ""))
		away.down.Store(true)
		c, stop := run(t, known.Config{Client: away, Path: path, Of: "us", Warn: func(string, ...any) { warned = true }})
		n := services(t, c)
		// A page that is free harms nothing, and without the newer one of the two first
		// pages the file is as it was one transaction before.
		if got := n.text(); got != "nothing yet" && (warned || got != all) {
			t.Errorf("%s: of a damaged file %d bytes of names are known", what, len(got))
		}
		if warned {
			told++
		}
		away.down.Store(false)
		eventually(t, "new", n.text)
		stop()
		if told == 1 {
			kept(t, path, "new")
		}
	}
	if told < len(damages)/3 {
		t.Errorf("%d of %d damages were told", told, len(damages))
	}
}

// A follower that panics keeps nothing from the others, and is told again.
func TestFollowerPanics(t *testing.T) {
	a := newAPI(service("one", ""))
	c, _ := run(t, known.Config{Client: a})
	bad, good := services(t, c), services(t, c)
	eventually(t, "one", bad.text)
	eventually(t, "one", good.text)
	bad.mu.Lock()
	bad.panic["two"] = 1
	bad.mu.Unlock()
	for _, name := range []string{"two", "three"} {
		if _, err := a.CoreV1().Services("default").Create(t.Context(), service(name, ""), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "one three two", good.text)
	eventually(t, "one three two", bad.text)
}

// A heartbeat of a node is no change, and nothing is written for it.
func TestHeartbeats(t *testing.T) {
	path := filepath.Join(t.TempDir(), "known.db")
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}, Status: corev1.NodeStatus{Images: []corev1.ContainerImage{{Names: []string{"large"}}}}}
	a := newAPI(node, service("one", ""))
	c, stop := run(t, known.Config{Client: a, Path: path, Of: "us"})
	eventually(t, "one", services(t, c).text)
	eventually(t, "n1", follow(t, func(ctx context.Context, n *names) { c.Nodes.Follow(ctx, n) }).text)
	kept(t, path, "one")
	transactions := func() int {
		before, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		copied := filepath.Join(t.TempDir(), "copy.db")
		if err := os.WriteFile(copied, before, 0o600); err != nil {
			t.Fatal(err)
		}
		db, err := bolt.Open(copied, 0o600, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = db.Close() }()
		id := 0
		_ = db.View(func(tx *bolt.Tx) error { id = tx.ID(); return nil })
		return id
	}
	eventually(t, "settled", func() string { // both kinds are written
		first := transactions()
		<-time.After(1500 * time.Millisecond)
		if transactions() != first {
			return "not yet"
		}
		return "settled"
	})
	before := transactions()
	for i := range 10 {
		node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, LastHeartbeatTime: metav1.Unix(int64(i), 0)}}
		if _, err := a.CoreV1().Nodes().UpdateStatus(t.Context(), node, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := a.CoreV1().Services("default").Update(t.Context(), service("one", "-2"), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	kept(t, path, "one-2")
	stop()
	if wrote := transactions() - before; wrote != 1 {
		t.Errorf("%d transactions for ten heartbeats and a change, want 1", wrote)
	}
}
