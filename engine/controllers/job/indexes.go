package job

import (
	"math"
	"slices"
	"strconv"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// unknown is the index of a pod that has none.
const unknown = -1

// indexes is a set of completion indexes: intervals in order that do not touch.
type indexes []interval

type interval struct{ first, last int }

// parseIndexes reads text like "1,3-5", of indexes below completions. What cannot be
// read is left out: validation has refused it.
func parseIndexes(text string, completions int) indexes {
	var set indexes
	for part := range strings.SplitSeq(text, ",") {
		from, to, span := strings.Cut(part, "-")
		first, err := strconv.Atoi(from)
		if err != nil || first >= completions {
			continue
		}
		last := first
		if span {
			if last, err = strconv.Atoi(to); err != nil {
				continue
			}
		}
		set = set.add(interval{first, min(last, completions-1)})
	}
	return set
}

// add adds an interval.
func (s indexes) add(in interval) indexes {
	merged := make(indexes, 0, len(s)+1)
	for i, have := range s {
		if have.last+1 < in.first {
			merged = append(merged, have)
			continue
		}
		if in.last+1 < have.first {
			return append(append(merged, in), s[i:]...)
		}
		in = interval{min(in.first, have.first), max(in.last, have.last)}
	}
	return append(merged, in)
}

func (s indexes) with(index int) indexes { return s.add(interval{index, index}) }

func (s indexes) union(other indexes) indexes {
	for _, in := range other {
		s = s.add(in)
	}
	return s
}

func (s indexes) has(index int) bool {
	_, found := slices.BinarySearchFunc(s, index, func(in interval, index int) int {
		switch {
		case in.last < index:
			return -1
		case in.first > index:
			return 1
		}
		return 0
	})
	return found
}

func (s indexes) total() int {
	n := 0
	for _, in := range s {
		n += in.last - in.first + 1
	}
	return n
}

// common is how many indexes both sets have.
func (s indexes) common(other indexes) int {
	n := 0
	for _, a := range s {
		for _, b := range other {
			n += max(0, min(a.last, b.last)-max(a.first, b.first)+1)
		}
	}
	return n
}

// missing returns the first n indexes below completions that are not in the set.
func (s indexes) missing(n, completions int) []int {
	var free []int
	next := 0
	for _, in := range append(slices.Clone(s), interval{math.MaxInt, math.MaxInt}) {
		for ; next < min(in.first, completions) && len(free) < n; next++ {
			free = append(free, next)
		}
		next = max(next, in.last+1)
		if next < 0 || next >= completions {
			break
		}
	}
	return free
}

// String is the form of the status: three or more in a row are a span.
func (s indexes) String() string {
	var parts []string
	for _, in := range s {
		first, last := strconv.Itoa(in.first), strconv.Itoa(in.last)
		switch {
		case in.first == in.last:
			parts = append(parts, first)
		case in.first+1 == in.last:
			parts = append(parts, first, last)
		default:
			parts = append(parts, first+"-"+last)
		}
	}
	return strings.Join(parts, ",")
}

// indexOf is the completion index of a pod.
func indexOf(pod *corev1.Pod) int {
	index, err := strconv.Atoi(pod.Annotations[batchv1.JobCompletionIndexAnnotation])
	if err != nil || index < 0 {
		return unknown
	}
	return index
}

// tally is a number that an annotation says, 0 if it says none.
func tally(pod *corev1.Pod, annotation string) int {
	n, err := strconv.ParseInt(pod.Annotations[annotation], 10, 32)
	if err != nil || n < 0 {
		return 0
	}
	return int(n)
}

// failuresBefore is how often the pods before this one of its index failed, by the
// annotations that it was created with.
func failuresBefore(pod *corev1.Pod) (counted, ignored int) {
	return tally(pod, batchv1.JobIndexFailureCountAnnotation), tally(pod, batchv1.JobIndexIgnoredFailureCountAnnotation)
}
