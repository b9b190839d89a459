package containerd

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"headway.dev/nodes/runtime/capture"
	"headway.dev/nodes/runtime/fsutil"
)

// containerIO is what a container's standard streams are connected to.
type containerIO struct {
	paths ioPaths
	logs  *capture.Copier
	once  sync.Once
}

type ioPaths struct {
	stdin    string
	attached string // is there once somebody was attached
	log      capture.Paths
}

func (r *Runtime) ioPaths(c *container) ioPaths {
	base := filepath.Join(r.runDir(c.info.Pod.UID), "io", c.info.Name+"-"+strconv.Itoa(c.info.Attempt))
	p := ioPaths{attached: base + ".attached", log: capture.Paths{Stdout: base + ".out", Position: base + ".pos", File: c.info.LogPath}}
	if !c.tty {
		p.log.Stderr = base + ".err"
	}
	if c.stdin {
		p.stdin = base + ".in"
	}
	return p
}

// openIO connects the container's streams, unless they are.
func (r *Runtime) openIO(c *container) error {
	if c.streams.Load() != nil {
		return nil
	}
	paths := r.ioPaths(c)
	if err := os.MkdirAll(filepath.Dir(paths.log.Stdout), 0o711); err != nil {
		return fmt.Errorf("make FIFO directory: %w", err)
	}
	// The shim opens both ends of this one too, so that the container's input
	// goes on when who was attached leaves, or this process ends.
	if paths.stdin != "" {
		if err := capture.MakeFIFO(paths.stdin); err != nil {
			return err
		}
	}
	logs, err := capture.Start(paths.log, capture.Rotation{MaxSize: r.cfg.LogMaxSize, MaxFiles: r.cfg.LogMaxFiles}, r.tees, r.log.With("container", c.info.Name, "pod", c.info.Pod.UID))
	if err != nil {
		return err
	}
	c.streams.Store(&containerIO{paths: paths, logs: logs})
	return nil
}

// closeIO stops copying; what is in the FIFOs stays for the next process.
func (c *container) closeIO() { c.endIO(false) }

// finishIO copies the rest and stops.
func (c *container) finishIO() { c.endIO(true) }

func (c *container) endIO(drain bool) {
	if streams := c.streams.Load(); streams != nil {
		streams.once.Do(func() { streams.logs.Stop(drain) })
	}
}

func (c *container) removeIO(r *Runtime) error {
	p := r.ioPaths(c)
	var errs []error
	for _, path := range []string{p.stdin, p.attached, p.log.Stdout, p.log.Stderr, p.log.Position} {
		if path != "" {
			errs = append(errs, fsutil.IgnoreNotExist(os.Remove(path)))
		}
	}
	return errors.Join(errs...)
}
