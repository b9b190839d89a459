package uptest

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/spf13/pflag"

	"headway.dev/cmd/headway/datadir"
	"headway.dev/cmd/headway/headwaytest"
	"headway.dev/cmd/headway/up"
)

// Server is what `headway up -v` runs, but for what needs a node: in the
// test's own process, until the test ends.
type Server struct {
	*up.Cluster
	// Cfg is what it runs with.
	Cfg *up.Config
	// Out and Log are what it prints.
	Out, Log headwaytest.Output
}

// Options are what a test wants otherwise; the zero value wants nothing.
type Options struct {
	// Flags changes the flags.
	Flags func(*up.Options)
	// Local are further repositories on this machine, by NAMESPACE/NAME of
	// their GitRepository.
	Local map[string]string
	// Handler takes the log instead.
	Handler slog.Handler
	// Before sees the cluster before it runs.
	Before func(*Server)
}

// Start runs a cluster that follows the branch main of a repository.
func Start(tb testing.TB, repo string, want Options) *Server {
	tb.Helper()
	s := &Server{}
	flags := &up.Options{DataDir: filepath.Join(tb.TempDir(), "data"), Out: &s.Out, Err: &s.Log}
	flags.AddFlags(pflag.NewFlagSet("up", pflag.ContinueOnError))
	flags.Repo, flags.Interval, flags.Verbose = repo, time.Hour, true
	flags.NodeName, flags.NodeIP, flags.Listen = "node-1", "127.0.0.1", "127.0.0.1:0"
	if want.Flags != nil {
		want.Flags(flags)
	}
	before := slog.Default()
	var err error
	s.Cfg, err = flags.Config()
	tb.Cleanup(func() {
		slog.SetDefault(before)
		logrus.SetOutput(os.Stderr)
	})
	if err != nil {
		tb.Fatal(err)
	}
	s.Cfg.Local = want.Local
	if want.Handler != nil {
		s.Cfg.Log = slog.New(want.Handler)
	}
	unlock, err := datadir.Lock(s.Cfg.DataDir)
	if err != nil {
		tb.Fatal(err)
	}
	if s.Cluster, err = up.Open(context.Background(), s.Cfg, time.Now()); err != nil {
		unlock()
		tb.Fatal(err)
	}
	if want.Before != nil {
		want.Before(s)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.RunServer(ctx) }()
	tb.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			tb.Error(err)
		}
		unlock()
	})
	select {
	case <-s.Engine.Ready():
	case err := <-ended:
		ended <- nil
		tb.Fatalf("the cluster ended: %v", err)
	}
	return s
}

// URL is where the API is.
func (s *Server) URL() string { return "https://" + s.Listener.Addr().String() }
