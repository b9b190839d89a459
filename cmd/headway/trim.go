package main

import (
	"context"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// settle is how long after the start memory is given back: the start touches
// most of the program once (tables, schemas, the example's build) and a third
// of it ever again.
const settle = 15 * time.Second

// trimAfterStart gives the memory of the start back to the kernel.
func trimAfterStart(ctx context.Context) error {
	timer := time.NewTimer(settle)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
	}
	debug.FreeOSMemory()
	// Without it the program only keeps some memory.
	maps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		return nil
	}
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return nil
	}
	for _, r := range untouched(string(maps), program) {
		// It fails harmlessly where the kernel does not want it.
		_, _, _ = unix.Syscall(unix.SYS_MADVISE, r.from, r.to-r.from, unix.MADV_DONTNEED)
	}
	return nil
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
