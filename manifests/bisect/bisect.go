// Package bisect finds which of many things a whole is refused for (pure), so that one of
// them does not keep the others out.
package bisect

// Admit is for some things that were refused together, and that are out of a whole which
// works without them: it takes those in that are not to blame. with tries the whole with
// some of them besides those that are in it already, and returns an error if it is
// refused, after which they are out of it again. It is called tries times at most, about
// twice the logarithm of their number for one to blame: what has not been taken in by
// then stays out. The smaller parts of what was refused come first: with many to blame,
// some of the others are taken in all the same.
func Admit[K any](things []K, tries int, with func([]K) error) {
	for refused := [][]K{things}; len(refused) > 0; {
		last := len(refused) - 1
		some := refused[last]
		refused = refused[:last]
		if len(some) < 2 {
			continue
		}
		half := len(some) / 2
		for _, part := range [2][]K{some[:half], some[half:]} {
			if tries--; tries < 0 {
				return
			}
			if with(part) != nil {
				refused = append(refused, part)
			}
		}
	}
}
