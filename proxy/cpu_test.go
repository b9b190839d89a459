package proxy_test

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// cpu measures the processor time of this process and its children.
type cpu struct {
	b            *testing.B
	begun, total time.Duration
}

func newCPU(b *testing.B) *cpu {
	b.Helper()
	return &cpu{b: b}
}

func (c *cpu) used() time.Duration {
	var sum time.Duration
	for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
		var u unix.Rusage
		if err := unix.Getrusage(who, &u); err != nil {
			c.b.Fatal(err)
		}
		sum += time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	return sum
}

func (c *cpu) start()  { c.begun = c.used() }
func (c *cpu) stop()   { c.total += c.used() - c.begun }
func (c *cpu) report() { c.b.ReportMetric(float64(c.total.Milliseconds())/float64(c.b.N), "cpu-ms/op") }
