package machine

import "testing"

// What the CPUs wait is not what they use.
func TestCPUNanos(t *testing.T) {
	got, err := cpuNanos("cpu  100 1 20 9000 700 3 4 50 0 0\ncpu0 1 2 3 4 5 6 7 8 9 10\n")
	if want := uint64(128 * 1e7); err != nil || got != want {
		t.Errorf("%d, %v, want %d", got, err, want)
	}
	for _, bad := range []string{"", "cpu 1 2", "cpu0 1 2 3 4 5 6 7 8", "cpu a 1 1 1 1 1 1 1"} {
		if got, err := cpuNanos(bad); err == nil {
			t.Errorf("%q: %d", bad, got)
		}
	}
}

func TestReadUsage(t *testing.T) {
	u, err := ReadUsage()
	if err != nil || u.CPUNanos == 0 || u.WorkingSetBytes == 0 || u.WorkingSetBytes > u.MemoryBytes {
		t.Errorf("%+v, %v", u, err)
	}
}
