package memory

import (
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Only read-only mappings of the program without pages of their own are
// dropped: others hold what is not in the file.
func TestUntouched(t *testing.T) {
	const smaps = `00400000-00500000 r-xp 00000000 fe:00 1                          /bin/headway
Size:               1024 kB
Anonymous:             0 kB
VmFlags: rd ex
00500000-00600000 r--p 00100000 fe:00 1                          /bin/headway
Anonymous:             8 kB
00600000-00700000 rw-p 00200000 fe:00 1                          /bin/headway
Anonymous:             0 kB
00700000-00800000 r-xp 00000000 fe:00 2                          /lib/libc.so
Anonymous:             0 kB
00800000-00900000 rw-p 00000000 00:00 0
Anonymous:             0 kB
`
	got := untouched(smaps, "/bin/headway")
	want := []region{{0x400000, 0x500000}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(region{})); diff != "" {
		t.Errorf("untouched mappings (-want +got):\n%s", diff)
	}
}

// What was in use when memory was given back last, and no longer is, is given
// back after the next collection; and so is growth.
func TestTrimAfterDeletions(t *testing.T) {
	const size = 512 << 20
	held := func() uint64 {
		used, free := heap()
		return used + free
	}
	var trims trimmer
	trims.trim()
	before := held()
	kept := make([][]byte, size>>20)
	for i := range kept {
		kept[i] = make([]byte, 1<<20)
	}
	trims.trim()
	if trims.given < before+size/2 {
		t.Fatalf("grown by %d, and not trimmed", held()-before)
	}
	runtime.KeepAlive(kept)
	runtime.GC() // the runtime's own comes every two minutes
	trims.trim()
	if now := held(); now > before+size/4 {
		t.Errorf("the heap holds %d MiB, and %d MiB before", now>>20, before>>20)
	}
}

// What is in use when grown memory is looked at, and is garbage soon after, is given back
// without a collection from elsewhere.
func TestTrimLooksAgain(t *testing.T) {
	const size = 512 << 20
	var trims trimmer
	trims.trim()
	used, free := heap()
	before := used + free
	func() {
		kept := make([][]byte, size>>20)
		for i := range kept {
			kept[i] = make([]byte, 1<<20)
		}
		trims.trim()
		runtime.KeepAlive(kept)
	}()
	trims.trim()
	trims.trim()
	if used, free := heap(); used+free > before+size/4 {
		t.Errorf("the heap holds %d MiB, and %d MiB before", (used+free)>>20, before>>20)
	}
}
