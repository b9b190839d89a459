package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/cmd/headway/headwaytest"
	"headway.dev/cmd/headway/up"
	"headway.dev/cmd/headway/up/uptest"
	"headway.dev/manifests/model/object"
)

// The benchmarks measure what is between a push and the store, with all parts
// of a server as `headway up` opens them (API, admission, controllers, the
// store on disk with its fsync, a bare repository on disk, the git program that
// pushes); no node. One operation is one story, so run them with
// -benchtime=1x and -count for more samples: `make bench` does.
//
// Metrics: ms are of wall time, medians where a story is told several times;
// cpu-s/op is the processor time of the whole test process for one change, git
// programs aside, which are git-cpu-s/op. rendered, compared and written count
// objects of the last change: decoded or rendered, applied onto what is stored,
// and written to it.

// server is a `headway up` without its node, in this process.
type server struct {
	*uptest.Server
	b          *testing.B
	bare, work string
	syncs      *appliedLog
	n          int // commits
}

// startServer runs a server that follows an empty branch, and applies the
// directory path of it.
func startServer(b *testing.B, path string) *server {
	b.Helper()
	dir := b.TempDir()
	s := &server{b: b, bare: filepath.Join(dir, "repo.git"), work: filepath.Join(dir, "work"), syncs: &appliedLog{}}
	s.git("init", "-q", "--bare", "-b", "main", s.bare)
	s.git("init", "-q", "-b", "main", s.work)
	s.write(map[string]string{path + "/empty.yaml": "# Nothing yet.\n"})
	s.commit()
	s.git("remote", "add", "origin", s.bare)
	s.git("push", "-q", "origin", "main")
	// Git's housekeeping would be measured now and then.
	s.git("config", "gc.auto", "0")
	s.git("-C", s.bare, "config", "gc.auto", "0")

	s.Server = uptest.Start(b, s.bare, uptest.Options{Handler: s.syncs, Flags: func(up *up.Options) {
		up.Out, up.Err, up.Path, up.Verbose = io.Discard, io.Discard, path, false
		up.NodeName, up.CgroupRoot = "none", "none"
		up.ClusterCIDR = "10.128.0.0/12" // the default has ranges for 256 nodes
	}})
	s.eventually("the first commit is applied", func() bool { return s.applied(s.head()) })
	return s
}

func (s *server) git(args ...string) string {
	s.b.Helper()
	cmd := exec.CommandContext(context.Background(), "git", args...)
	if _, err := os.Stat(s.work); err == nil {
		cmd.Dir = s.work
	}
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL="+os.DevNull,
		"GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.com", "GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=ada@example.com")
	out, err := cmd.CombinedOutput()
	if err != nil {
		s.b.Fatalf("git %q: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func (s *server) head() string { return s.git("rev-parse", "HEAD") }

// write writes files of the work tree.
func (s *server) write(files map[string]string) {
	s.b.Helper()
	headwaytest.WriteFiles(s.b, s.work, files)
}

// commit commits the work tree.
func (s *server) commit() {
	s.b.Helper()
	s.n++
	s.git("add", "-A")
	s.git("commit", "-q", "-m", fmt.Sprintf("change %d", s.n))
}

// commitMany is commit, of so much that Git had better pack it: pushing
// thousands of loose files is slow, and says nothing about Headway.
func (s *server) commitMany() {
	s.b.Helper()
	s.commit()
	s.git("repack", "-q", "-a", "-d")
}

// push pushes the newest commit, waits until done, and returns what it took.
func (s *server) push(done func() bool) timing {
	s.b.Helper()
	before, start := usage(s.b), time.Now()
	s.git("push", "-q", "origin", "main")
	pushed := time.Since(start)
	for deadline := start.Add(5 * time.Minute); !done(); {
		if time.Now().After(deadline) {
			s.b.Fatalf("what was pushed is not stored after five minutes\n%s", s.syncs.all())
		}
		<-time.After(200 * time.Microsecond)
	}
	stored := time.Since(start)
	ref, err := os.Stat(filepath.Join(s.bare, "refs/heads/main"))
	if err != nil {
		s.b.Fatal(err)
	}
	synced := time.Since(ref.ModTime())
	// What goes on in the background belongs to the change, too: journal of
	// the verdict, statuses, controllers.
	s.eventually("the commit is judged", func() bool { return s.applied(s.head()) })
	after := usage(s.b)
	return timing{stored: stored, synced: synced, pushed: pushed, cpu: after.self - before.self, git: after.children - before.children}
}

// applied reports whether all Kustomizations have applied a commit and judged it.
func (s *server) applied(sha string) bool {
	list, _ := s.Cluster.Engine.Store().List(rootKey("Kustomization").GroupKind, "")
	for _, o := range list {
		ks, ok := o.(*kustomizev1.Kustomization)
		if !ok || !strings.HasSuffix(ks.Status.LastAppliedRevision, ":"+sha) || !ready(ks) {
			return false
		}
	}
	return len(list) > 0
}

func (s *server) eventually(what string, done func() bool) {
	s.b.Helper()
	for deadline := time.Now().Add(5 * time.Minute); !done(); {
		if time.Now().After(deadline) {
			s.b.Fatalf("not after five minutes: %s\n%s", what, s.syncs.all())
		}
		<-time.After(time.Millisecond)
	}
}

func (s *server) get(kind schema.GroupKind, namespace, name string) object.Object {
	return s.Cluster.Engine.Store().Get(object.Key{GroupKind: kind, Namespace: namespace, Name: name})
}

// value is the value of a ConfigMap's only key.
func (s *server) value(name string) string {
	cm, _ := s.get(schema.GroupKind{Kind: "ConfigMap"}, "default", name).(*corev1.ConfigMap)
	if cm == nil {
		return ""
	}
	return cm.Data["key"]
}

// timing is what one change took.
type timing struct{ stored, synced, pushed, cpu, git time.Duration }

// report reports the medians of changes, and the work of the last one.
func (s *server) report(changes []timing) {
	middle := func(of func(timing) time.Duration) time.Duration {
		values := make([]time.Duration, len(changes))
		for i, c := range changes {
			values[i] = of(c)
		}
		slices.Sort(values)
		return values[len(values)/2]
	}
	s.b.ReportMetric(float64(middle(func(c timing) time.Duration { return c.stored }).Microseconds())/1000, "push-to-stored-ms")
	s.b.ReportMetric(float64(middle(func(c timing) time.Duration { return c.synced }).Microseconds())/1000, "branch-to-stored-ms")
	s.b.ReportMetric(float64(middle(func(c timing) time.Duration { return c.pushed }).Microseconds())/1000, "git-push-ms")
	s.b.ReportMetric(middle(func(c timing) time.Duration { return c.cpu }).Seconds(), "cpu-s/op")
	s.b.ReportMetric(middle(func(c timing) time.Duration { return c.git }).Seconds(), "git-cpu-s/op")
	for name, n := range s.syncs.last() {
		s.b.ReportMetric(float64(n), name)
	}
	s.b.ReportMetric(0, "ns/op") // includes what prepares the story
}

// processor is processor time.
type processor struct{ self, children time.Duration }

func usage(b *testing.B) processor {
	b.Helper()
	read := func(who int) time.Duration {
		var use syscall.Rusage
		if err := syscall.Getrusage(who, &use); err != nil {
			b.Fatal(err)
		}
		return time.Duration(use.Utime.Nano() + use.Stime.Nano())
	}
	return processor{read(syscall.RUSAGE_SELF), read(syscall.RUSAGE_CHILDREN)}
}

// appliedLog takes the server's log: it keeps what the syncer says
// about the work of each applied commit, and whatever is wrong.
type appliedLog struct {
	mu     sync.Mutex
	work   map[string]int64
	faults []string
}

func (l *appliedLog) Enabled(_ context.Context, level slog.Level) bool {
	return level >= slog.LevelInfo // below, libraries describe each request at length
}
func (l *appliedLog) WithAttrs([]slog.Attr) slog.Handler { return l }
func (l *appliedLog) WithGroup(string) slog.Handler      { return l }

func (l *appliedLog) Handle(_ context.Context, r slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.Level >= slog.LevelWarn {
		line := r.Message
		r.Attrs(func(a slog.Attr) bool { line += " " + a.String(); return true })
		l.faults = append(l.faults, line)
	}
	if r.Message == "applied" {
		l.work = map[string]int64{}
		r.Attrs(func(a slog.Attr) bool {
			switch a.Key {
			case "rendered", "compared":
				l.work[a.Key] = a.Value.Int64()
			case "changes":
				l.work["written"] = a.Value.Int64()
			}
			return true
		})
	}
	return nil
}

func (l *appliedLog) last() map[string]int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.work
}

func (l *appliedLog) all() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.faults, "\n")
}
