package containerd

import (
	"context"
	"time"

	eventsapi "github.com/containerd/containerd/api/events"
	"github.com/containerd/containerd/events"
	"github.com/containerd/typeurl/v2"

	"headway.dev/manifests/guard"
)

// resyncEvery is how often the state is compared with containerd's though no
// event came: nothing depends on events being complete.
const resyncEvery = time.Minute

// adoptions is how often it is tried to read what there is at the start: the private
// containerd may be killed at any moment, and is started again.
const adoptions = 5

// watch follows containerd's events until ctx ends. Whenever the stream breaks
// it makes sure containerd runs, and compares everything anew. It reports the
// first comparison on ready.
func (r *Runtime) watch(ctx context.Context, ready chan<- error) {
	adopted := false
	for tries := 1; ctx.Err() == nil; tries++ {
		err := guard.Call(ctx, "follow containerd's events", func() error { return r.follow(ctx, &adopted, ready) })
		if !adopted && (r.daemon == nil || tries == adoptions || ctx.Err() != nil) {
			ready <- err
			return
		}
		if ctx.Err() != nil {
			return
		}
		r.log.Warn("lost containerd's events; connecting again", "err", err)
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
		if r.daemon == nil {
			continue
		}
		if err := guard.Call(ctx, "start containerd again", func() error { return r.daemon.Ensure(ctx) }); err != nil && ctx.Err() == nil {
			r.log.Error("cannot start containerd again", "err", err)
		}
		// It answers now. Without this the connection would be tried again only after a
		// second or more, and until then each request would fail as the last did.
		r.client.Conn().ResetConnectBackoff()
	}
	if !adopted {
		ready <- ctx.Err()
	}
}

// follow subscribes, reads what there is, and handles events until the stream
// ends. It says on ready that what there is has been adopted, once.
func (r *Runtime) follow(ctx context.Context, adopted *bool, ready chan<- error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// Before reading, so that nothing falls in between.
	stream, errs := r.client.Subscribe(ctx,
		"namespace=="+r.cfg.Namespace+`,topic=="/tasks/exit"`,
		"namespace=="+r.cfg.Namespace+`,topic=="/tasks/oom"`,
		"namespace=="+r.cfg.Namespace+`,topic=="/images/update"`)
	if !*adopted {
		if err := r.adopt(ctx); err != nil {
			return err
		}
		*adopted = true
		ready <- nil
	} else if err := r.resync(ctx); err != nil {
		return err
	}
	tick := time.NewTicker(resyncEvery)
	defer tick.Stop()
	for {
		select {
		case e := <-stream:
			guard.Do(ctx, "take up an event of containerd", func() { r.handle(e) })
		case err := <-errs:
			return err
		case <-tick.C:
			if err := r.resync(ctx); err != nil {
				return err
			}
		}
	}
}

func (r *Runtime) handle(e *events.Envelope) {
	if e == nil || e.Event == nil {
		return
	}
	event, err := typeurl.UnmarshalAny(e.Event)
	if err != nil {
		r.log.Warn("unreadable containerd event", "topic", e.Topic, "err", err)
		return
	}
	switch event := event.(type) {
	case *eventsapi.TaskOOM:
		r.mu.Lock()
		if c := r.containers[event.ContainerID]; c != nil {
			c.oom = true
		}
		r.mu.Unlock()
	case *eventsapi.ImageUpdate:
		if event.Labels[labelImported] != "" {
			r.hints.emit("")
		}
	case *eventsapi.TaskExit:
		// Processes of exec have an ID of their own.
		if event.ID == event.ContainerID {
			r.exited(event.ContainerID, event.ExitStatus, event.ExitedAt.AsTime())
		}
	}
}
