package audit

import (
	"errors"
	"sync/atomic"

	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	"k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/server/options"
	buffer "k8s.io/apiserver/plugin/pkg/audit/buffered"
)

// maxWaiting bounds the bytes of the events that wait for a backend in batch
// mode. The library bounds only their number: ten thousand Pods or ConfigMaps,
// with what was sent and what was answered, may be gigabytes.
const maxWaiting = 64 << 20

// eventBytes is what an event takes besides its objects, roughly.
const eventBytes = 2 << 10

var errWaiting = errors.New("too much is waiting to be written")

// buffered applies the mode of a backend: whether requests wait for it.
func buffered(b audit.Backend, o options.AuditBatchOptions) audit.Backend {
	switch o.Mode {
	case options.ModeBlockingStrict:
		return b
	case options.ModeBlocking:
		return tolerant{b}
	}
	w := &waiting{most: int64(o.BatchConfig.BufferSize)}
	w.Backend = buffer.NewBackend(settled{b, w}, o.BatchConfig)
	return w
}

// tolerant lets requests succeed whose events could not be written, which the
// backend has counted and logged.
type tolerant struct{ audit.Backend }

// ProcessEvents implements audit.Backend.
func (t tolerant) ProcessEvents(events ...*auditinternal.Event) bool {
	t.Backend.ProcessEvents(events...)
	return true
}

// waiting counts what the library's buffer holds, and drops what would be more
// than it may.
type waiting struct {
	audit.Backend
	most          int64
	events, bytes atomic.Int64
}

// ProcessEvents implements audit.Backend.
func (w *waiting) ProcessEvents(events ...*auditinternal.Event) bool {
	for _, e := range events {
		events, bytes := w.events.Add(1), w.bytes.Add(weight(e))
		if events > w.most || bytes > maxWaiting {
			w.settle(e)
			audit.HandlePluginError(buffer.PluginName, errWaiting, e)
			continue
		}
		w.Backend.ProcessEvents(e)
	}
	return true
}

func (w *waiting) settle(e *auditinternal.Event) {
	w.events.Add(-1)
	w.bytes.Add(-weight(e))
}

func weight(e *auditinternal.Event) int64 {
	size := eventBytes + len(e.RequestURI)
	if e.RequestObject != nil {
		size += len(e.RequestObject.Raw)
	}
	if e.ResponseObject != nil {
		size += len(e.ResponseObject.Raw)
	}
	return int64(size)
}

// settled tells waiting what has been written.
type settled struct {
	audit.Backend
	waiting *waiting
}

// ProcessEvents implements audit.Backend.
func (s settled) ProcessEvents(events ...*auditinternal.Event) bool {
	defer func() {
		for _, e := range events {
			s.waiting.settle(e)
		}
	}()
	return s.Backend.ProcessEvents(events...)
}
