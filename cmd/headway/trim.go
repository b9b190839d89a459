package main

import (
	"bufio"
	"bytes"
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
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return nil //nolint:nilerr // only costs memory
	}
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return nil //nolint:nilerr // only costs memory
	}
	unmapText(maps, program)
	return nil
}

// unmapText drops the read-only pages of the program from this process. They
// stay in the page cache and come back when they are needed.
func unmapText(maps []byte, program string) {
	lines := bufio.NewScanner(bytes.NewReader(maps))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 6 || fields[5] != program || strings.Contains(fields[1], "w") {
			continue
		}
		from, to, ok := addresses(fields[0])
		if !ok {
			continue
		}
		adviseDontNeed(from, to-from)
	}
}

// addresses reads the "from-to" of a line of /proc/self/maps.
func addresses(field string) (from, to uintptr, ok bool) {
	first, second, _ := strings.Cut(field, "-")
	a, errA := strconv.ParseUint(first, 16, 64)
	b, errB := strconv.ParseUint(second, 16, 64)
	return uintptr(a), uintptr(b), errA == nil && errB == nil && a < b
}

// adviseDontNeed is madvise(2) on a range that no Go value is in. It fails
// harmlessly where the kernel does not want it.
func adviseDontNeed(from, length uintptr) {
	_, _, _ = unix.Syscall(unix.SYS_MADVISE, from, length, unix.MADV_DONTNEED)
}
