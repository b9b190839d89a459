package bisect_test

import (
	"errors"
	"slices"
	"testing"

	"headway.dev/manifests/bisect"
)

// All are taken in but for those to blame, with few tries.
func TestAdmit(t *testing.T) {
	var tenths []int
	for i := 0; i < 1000; i += 10 {
		tenths = append(tenths, i)
	}
	for _, test := range []struct {
		n, tries int
		bad      []int
		out      int // how many stay out
	}{
		{1, 24, []int{0}, 1},
		{2, 24, []int{1}, 1},
		{7, 24, []int{0, 6}, 2},
		{1000, 24, []int{421}, 1},
		{4096, 24, []int{4095}, 1},
		{1000, 3, []int{0}, 500},
		{1000, 24, tenths, 981}, // too many to find all of them, and some are taken in
	} {
		things := make([]int, test.n)
		for i := range things {
			things[i] = i
		}
		in, tries := map[int]bool{}, 0
		bisect.Admit(things, test.tries, func(some []int) error {
			tries++
			for _, i := range some {
				if slices.Contains(test.bad, i) {
					return errors.New("refused")
				}
			}
			for _, i := range some {
				in[i] = true
			}
			return nil
		})
		if out := test.n - len(in); out != test.out || tries > test.tries {
			t.Errorf("%d of %d with %v: %d stay out, want %d, after %d tries", len(in), test.n, test.bad, out, test.out, tries)
		}
		for _, i := range test.bad {
			if in[i] {
				t.Errorf("%d is in", i)
			}
		}
	}
}
