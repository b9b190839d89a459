package memory

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// settle is how long after the start memory is given back: the start touches
// most of the program once (tables, schemas, the example's build) and a third
// of it ever again.
const settle = 15 * time.Second

// Every trimInterval memory is given back if there is more to give than is
// worth a collection: more than minIdle, and more than a half of what is in
// use. That is what the heap grew by since the last time, which may be garbage,
// and what a collection found free since: of what was in use at the last time
// and is not any more. An idle program collects every two minutes. What grew is
// looked at once more two intervals later: much of what serves requests is kept for
// half a minute after them, and then is garbage that no collection comes for.
const (
	trimInterval = 30 * time.Second
	minIdle      = 64 << 20
)

// Trim returns the memory of the start to the kernel, and from then on the
// memory that large requests leave behind. The collector would do so too, but
// only after the next one or two collections, for which an idle program has no
// reason: two minutes and more each.
func Trim(ctx context.Context) error {
	if !pause(ctx, settle) {
		return ctx.Err()
	}
	giveBack()
	var t trimmer
	for pause(ctx, trimInterval) {
		t.trim()
	}
	return ctx.Err()
}

// trimmer knows what the heap held when memory was given back last.
type trimmer struct {
	given uint64
	// look is in how many intervals what has grown is looked at once more; 0: it is not.
	look int
}

// trim gives memory back if that is worth it.
func (t *trimmer) trim() {
	used, free := heap()
	grown, due := used+free > t.given+max(minIdle, t.given/2), t.look == 1
	t.look = max(0, t.look-1)
	if grown {
		t.look = 2
	}
	if grown || due || free > max(minIdle, used/2) {
		giveBack()
		used, free = heap()
		t.given = used + free
		return
	}
	t.given = min(t.given, used+free)
}

// heap is the memory that the heap holds of the kernel's: what is in use or
// garbage, and what is free.
func heap() (used, free uint64) {
	samples := []metrics.Sample{{Name: "/memory/classes/heap/free:bytes"}, {Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/unused:bytes"}}
	metrics.Read(samples)
	return samples[1].Value.Uint64() + samples[2].Value.Uint64(), samples[0].Value.Uint64()
}

// pause reports whether d has passed before ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// giveBack returns what is free, and the program's pages: the start, and other work
// that is rare, touches many of them once.
func giveBack() {
	debug.FreeOSMemory()
	// Without it the program only keeps some memory.
	maps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		return
	}
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return
	}
	for _, r := range untouched(string(maps), program) {
		// It fails harmlessly where the kernel does not want it.
		_, _, _ = unix.Syscall(unix.SYS_MADVISE, r.from, r.to-r.from, unix.MADV_DONTNEED)
	}
}

// region is a range of addresses.
type region struct{ from, to uintptr }

// untouched finds, in the text of /proc/self/smaps, the read-only mappings of
// the program that hold exactly what is in the file. Their pages stay in the
// page cache when they are dropped, and come back when they are needed. A
// mapping with anonymous pages is left alone: the dynamic linker wrote to it
// before it made it read-only, and that would be lost.
func untouched(smaps, program string) []region {
	var found []region
	var current region
	var candidate bool
	for line := range strings.Lines(smaps) {
		fields := strings.Fields(line)
		switch {
		case len(fields) >= 5 && !strings.HasSuffix(fields[0], ":"):
			candidate = len(fields) == 6 && fields[5] == program && !strings.Contains(fields[1], "w")
			if candidate {
				current, candidate = addresses(fields[0])
			}
		case candidate && fields[0] == "Anonymous:" && fields[1] == "0":
			found = append(found, current)
		}
	}
	return found
}

// addresses reads the "from-to" that a mapping begins with.
func addresses(field string) (region, bool) {
	first, second, _ := strings.Cut(field, "-")
	from, errFrom := strconv.ParseUint(first, 16, 64)
	to, errTo := strconv.ParseUint(second, 16, 64)
	return region{uintptr(from), uintptr(to)}, errFrom == nil && errTo == nil && from < to
}
