package profile

import (
	"math"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// Type is how nodes are scored by what is left of their resources.
type Type int

// The types.
const (
	// LeastAllocated prefers nodes of which more would be left.
	LeastAllocated Type = iota
	// MostAllocated prefers those of which less would be left.
	MostAllocated
	// RequestedToCapacityRatio goes by a curve.
	RequestedToCapacityRatio
)

// highest is the highest score.
const highest = 100

// Resource is one that counts for a score.
type Resource struct {
	Name   corev1.ResourceName
	Weight int64
}

var cpuAndMemory = []Resource{{corev1.ResourceCPU, 1}, {corev1.ResourceMemory, 1}}

// Point is one of a curve: the score of a part in use, both of 100.
type Point struct{ Used, Score int64 }

// Strategy scores nodes by what is left of their resources.
type Strategy struct {
	Type      Type
	Resources []Resource
	Curve     []Point
}

// Usual reports whether it is the one that is if nobody says anything.
func (s *Strategy) Usual() bool {
	return s.Type == LeastAllocated && slices.Equal(s.Resources, cpuAndMemory)
}

// Score returns a score between 0 and 100. amounts tells of a resource how much would be
// in use and how much there is; 0 if it does not count.
func (s *Strategy) Score(amounts func(corev1.ResourceName) (used, have int64)) int64 {
	var sum, weights int64
	for _, r := range s.Resources {
		used, have := amounts(r.Name)
		if have == 0 {
			continue
		}
		score := s.one(used, have)
		if s.Type == RequestedToCapacityRatio && score <= 0 {
			continue
		}
		sum += score * r.Weight
		weights += r.Weight
	}
	switch {
	case weights == 0:
		return 0
	case s.Type == RequestedToCapacityRatio:
		return int64(math.Round(float64(sum) / float64(weights)))
	default:
		return sum / weights
	}
}

func (s *Strategy) one(used, have int64) int64 {
	used = min(used, have)
	switch s.Type {
	case MostAllocated:
		return share(used, have)
	case RequestedToCapacityRatio:
		return along(s.Curve, share(used, have))
	case LeastAllocated:
	}
	return share(have-used, have)
}

// share is a part of 100.
func share(part, whole int64) int64 {
	if part > math.MaxInt64/highest {
		return int64(float64(part) / float64(whole) * highest)
	}
	return part * highest / whole
}

// along is the value of a curve between its points.
func along(curve []Point, at int64) int64 {
	for i, p := range curve {
		switch {
		case at > p.Used:
		case i == 0:
			return p.Score
		default:
			before := curve[i-1]
			return before.Score + (p.Score-before.Score)*(at-before.Used)/(p.Used-before.Used)
		}
	}
	return curve[len(curve)-1].Score
}

// Even is higher the closer the parts in use of resources are to each other.
func Even(parts []float64) int64 {
	var deviation float64
	switch len(parts) {
	case 0, 1:
	case 2:
		deviation = math.Abs(parts[0]-parts[1]) / 2
	default:
		var mean, sum float64
		for _, p := range parts {
			mean += p / float64(len(parts))
		}
		for _, p := range parts {
			sum += (p - mean) * (p - mean)
		}
		deviation = math.Sqrt(sum / float64(len(parts)))
	}
	return int64((1 - deviation) * highest)
}
