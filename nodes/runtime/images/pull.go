package images

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/containerd/containerd"
	"github.com/containerd/containerd/remotes"
	"github.com/containerd/containerd/remotes/docker"
	"github.com/containerd/log"
	"github.com/containerd/platforms"
	"github.com/sirupsen/logrus"

	"headway.dev/manifests/guard"
	"headway.dev/nodes/runtime"
)

// pullTimeout is how long a pull may go without receiving a byte. Unpacking
// what has arrived does not count: it is local work.
const pullTimeout = 5 * time.Minute

// fetch gets and unpacks the image with a normalised name. It tries the
// logins in order, anonymously if there are none, and returns the last error.
func fetch(ctx context.Context, client *containerd.Client, ref string, auths []runtime.Auth) (containerd.Image, error) {
	if len(auths) == 0 {
		auths = []runtime.Auth{{}}
	}
	var errs []error
	for _, auth := range auths {
		img, err := pull(ctx, client, ref, auth)
		if err == nil {
			return img, nil
		}
		errs = append(errs, fmt.Errorf("failed to pull and unpack image %q: %w", ref, err))
		if ctx.Err() != nil {
			break
		}
	}
	return nil, errs[len(errs)-1]
}

func pull(ctx context.Context, client *containerd.Client, ref string, auth runtime.Auth) (containerd.Image, error) {
	ctx, cancel := context.WithCancelCause(quiet(ctx))
	defer cancel(nil)
	transport := http.DefaultTransport.(*http.Transport).Clone()
	defer transport.CloseIdleConnections()
	progress := &progressTransport{next: transport, stall: pullTimeout, cancel: cancel}
	progress.timer = time.AfterFunc(pullTimeout, func() { guard.Do(ctx, "watch over a pull", progress.stalled) })
	defer progress.timer.Stop()

	img, err := client.Pull(ctx, ref,
		containerd.WithResolver(resolver(&http.Client{Transport: progress}, auth)),
		containerd.WithPlatformMatcher(platforms.Default()),
		containerd.WithPullUnpack,
		containerd.WithPullSnapshotter(Snapshotter),
		containerd.WithMaxConcurrentDownloads(3))
	if cause := context.Cause(ctx); err != nil && errors.Is(cause, errStalled) {
		return nil, cause
	}
	return img, err
}

// quiet keeps containerd's client from printing to the process's standard
// error, which it does unless told otherwise. What matters is in its errors.
func quiet(ctx context.Context) context.Context {
	nowhere := logrus.New()
	nowhere.SetOutput(io.Discard)
	return log.WithLogger(ctx, logrus.NewEntry(nowhere))
}

// resolver finds registries by their usual addresses.
func resolver(client *http.Client, auth runtime.Auth) remotes.Resolver {
	creds := func(string) (string, string, error) {
		if auth.IdentityToken != "" {
			// An empty user name tells the authorizer that this is a refresh token.
			return "", auth.IdentityToken, nil
		}
		return auth.Username, auth.Password, nil
	}
	return docker.NewResolver(docker.ResolverOptions{
		Hosts: docker.ConfigureDefaultRegistries(
			docker.WithClient(client),
			docker.WithPlainHTTP(docker.MatchLocalhost),
			docker.WithAuthorizer(docker.NewDockerAuthorizer(docker.WithAuthClient(client), docker.WithAuthCreds(creds))),
		),
	})
}

var errStalled = errors.New("no progress: the registry sent nothing for " + pullTimeout.String())

// progressTransport postpones its timer with every byte received.
type progressTransport struct {
	next   http.RoundTripper
	stall  time.Duration
	cancel context.CancelCauseFunc
	timer  *time.Timer
	open   atomic.Int64 // bodies being read
}

// stalled ends the pull, unless nothing is being waited for.
func (p *progressTransport) stalled() {
	if p.open.Load() == 0 {
		p.timer.Reset(p.stall)
		return
	}
	p.cancel(errStalled)
}

func (p *progressTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	p.timer.Reset(p.stall)
	p.open.Add(1)
	resp, err := p.next.RoundTrip(req)
	if err != nil {
		p.open.Add(-1)
		return nil, err
	}
	resp.Body = &progressBody{ReadCloser: resp.Body, transport: p}
	return resp, nil
}

type progressBody struct {
	io.ReadCloser
	transport *progressTransport
	closed    atomic.Bool
}

func (b *progressBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 {
		b.transport.timer.Reset(b.transport.stall)
	}
	return n, err
}

func (b *progressBody) Close() error {
	if b.closed.CompareAndSwap(false, true) {
		b.transport.open.Add(-1)
	}
	return b.ReadCloser.Close()
}
