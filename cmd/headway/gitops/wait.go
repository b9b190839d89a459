package gitops

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"headway.dev/cmd/headway/cli"
	"headway.dev/cmd/headway/report"
	"headway.dev/manifests/guard"
	"headway.dev/syncer/wire"
)

const (
	// silence is how long a wait prints nothing before it says that it goes on.
	silence = 15 * time.Second
	// maxBreaks is how often in a row an answer may break off without having
	// printed anything new, and breakPause how long is waited in between.
	maxBreaks  = 30
	breakPause = time.Second
)

// waitOptions are the flags of the commands that wait until the cluster has
// followed Git.
type waitOptions struct {
	no      bool
	timeout time.Duration
}

func (w *waitOptions) register(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&w.no, "no-wait", false, "do not wait until it is applied and healthy")
	cmd.Flags().DurationVar(&w.timeout, "timeout", 0, "how long to wait (default: until each Kustomization has its verdict, for which its spec.timeout is the limit)")
}

func (w *waitOptions) check() error {
	if w.timeout < 0 {
		return fmt.Errorf("--timeout %s: must not be negative", w.timeout)
	}
	return nil
}

// errWaited ends a wait that took as long as it may.
var errWaited = errors.New("the time to wait is over")

// bound ends a wait after --timeout.
func (w *waitOptions) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	if w.timeout == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeoutCause(ctx, w.timeout, errWaited)
}

// wait is a person's or a program's view of a sync.
type wait struct {
	client *cli.Client
	format cli.Format
	out    io.Writer
	names  report.Naming
	start  time.Time
	// last is the newest line, and open the newest of what is waited for.
	last, open string
	begun      bool // an answer has been read
	acted      bool // something was applied, judged or refused
}

// answer is one element of the server's stream, or how it broke off.
type answer struct {
	event wire.Event
	err   error
}

// syncAndWait asks for a sync and prints its steps until it ends. An answer that
// breaks off (a restart of the server, a network that drops connections) is
// asked for again.
func syncAndWait(ctx context.Context, c *cli.Client, request wire.SyncRequest, waiting waitOptions, format cli.Format, out io.Writer) error {
	if waiting.no {
		return c.Call(ctx, http.MethodPost, "/headway/v1/sync", request, nil)
	}
	request.Wait = true
	ctx, cancel := waiting.bound(ctx)
	defer cancel()
	w := &wait{client: c, format: format, out: out, names: namingOf(ctx, c), start: time.Now()}
	for breaks := 0; ; breaks++ {
		printed, err := w.once(ctx, request)
		if printed {
			breaks = 0
		}
		switch {
		case ctx.Err() != nil:
			return w.interrupted(ctx, waiting)
		case err == nil:
			return nil
		case !errors.As(err, new(*brokenError)):
			return err
		case breaks == maxBreaks:
			return fmt.Errorf("the answer broke off %d times: %w; see `headway status`", breaks+1, err)
		}
		w.say("the connection broke off; asking again")
		select {
		case <-ctx.Done():
			return w.interrupted(ctx, waiting)
		case <-time.After(breakPause):
		}
	}
}

// brokenError is an answer that ended too early.
type brokenError struct{ err error }

func (e *brokenError) Error() string { return e.err.Error() }
func (e *brokenError) Unwrap() error { return e.err }

// once asks once, and reports whether anything was printed.
func (w *wait) once(ctx context.Context, request wire.SyncRequest) (printed bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	body, err := w.client.Open(ctx, http.MethodPost, "/headway/v1/sync", request)
	if err != nil {
		if apierrors.IsServiceUnavailable(err) || cli.IsUnanswered(err) && w.begun {
			err = &brokenError{err}
		}
		return false, err
	}
	answers := make(chan answer)
	done := make(chan struct{})
	go func() {
		defer close(done)
		guard.Do(ctx, "read the answer", func() { read(ctx, body, answers) })
	}()
	defer func() {
		cancel()
		_ = body.Close() // nothing more is wanted of it
		<-done
	}()
	quiet := time.NewTimer(silence)
	defer quiet.Stop()
	for {
		select {
		case <-ctx.Done():
			return printed, ctx.Err()
		case <-done:
			// Each answer that the reader sent was received, and the last one
			// ends this loop: it went without.
			if ctx.Err() != nil {
				return printed, ctx.Err()
			}
			return printed, errors.New("the server's answer could not be read: the cluster goes on by itself; see `headway status`")
		case <-quiet.C:
			w.say(cmp.Or(w.open, "still waiting") + w.elapsed())
			quiet.Reset(silence)
		case a := <-answers:
			if a.err != nil {
				return printed, &brokenError{a.err}
			}
			printed, w.begun = true, true
			printed, err := w.tell(a.event)
			if err != nil {
				return printed, err
			}
			if printed {
				quiet.Reset(silence)
			}
			if a.event.Done && !a.event.OK {
				return printed, errors.New("not everything is applied and healthy; see `headway status`")
			}
			if a.event.Done {
				return printed, nil
			}
		}
	}
}

// read decodes events until the last one, or until nobody wants more.
func read(ctx context.Context, body io.Reader, answers chan<- answer) {
	decoder := json.NewDecoder(body)
	for {
		var a answer
		if a.err = decoder.Decode(&a.event); errors.Is(a.err, io.EOF) {
			a.err = errors.New("the server ended the answer before the sync was done")
		}
		select {
		case <-ctx.Done():
			return
		case answers <- a:
		}
		if a.err != nil || a.event.Done {
			return
		}
	}
}

// tell prints one step, and reports whether it did.
func (w *wait) tell(event wire.Event) (bool, error) {
	if w.format.JSON() {
		return true, report.PrintJSONLine(w.out, event)
	}
	line := w.names.Line(event)
	if event.Done && event.OK && !w.acted && line == "" {
		line = "nothing new: all is applied and healthy"
	}
	w.acted = w.acted || event.Phase != wire.PhaseFetch && line != ""
	// The source and each Kustomization that follows it tell of a commit, and
	// the last event says once more why the one before it is a failure.
	if line == "" || line == w.last || event.Phase == wire.PhaseHealth && samePull(line, w.last) || event.Done && event.Message != "" && strings.HasSuffix(w.last, event.Message) {
		return false, nil
	}
	w.last = line
	if event.Phase == wire.PhaseHealth || event.Done || event.Phase == wire.PhaseVerdict {
		line += w.elapsed()
	}
	if event.Phase == wire.PhaseHealth {
		w.open = w.last
	}
	_, err := fmt.Fprintln(w.out, line)
	return true, err
}

// samePull reports whether two lines tell of the same image that cannot be pulled:
// between its tries such a container waits for its back-off, which says nothing new.
func samePull(a, b string) bool {
	a, failsA := beforePull(a)
	b, failsB := beforePull(b)
	return failsA && failsB && a == b
}

func beforePull(line string) (string, bool) {
	for _, reason := range []string{"ErrImagePull", "ImagePullBackOff"} {
		if before, _, found := strings.Cut(line, reason); found {
			return before, true
		}
	}
	return line, false
}

// say prints a line that is no step; programs do not get it.
func (w *wait) say(line string) {
	if !w.format.JSON() {
		fmt.Fprintln(w.out, line)
	}
}

func (w *wait) elapsed() string {
	return fmt.Sprintf(" (%s)", time.Since(w.start).Round(100*time.Millisecond))
}

// interrupted says what is left undone when nobody waits any more.
func (w *wait) interrupted(ctx context.Context, waiting waitOptions) error {
	why := "interrupted"
	if errors.Is(context.Cause(ctx), errWaited) {
		why = fmt.Sprintf("not applied and healthy after %s", waiting.timeout)
	}
	if w.open != "" {
		why += " (" + w.open + ")"
	}
	return errors.New(why + ": the cluster goes on by itself; see `headway status`")
}
