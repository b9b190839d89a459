package batch

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// interval is the indexes from first to last.
type interval struct{ first, last int }

// parseInterval reads "3" or "3-7", of indexes below completions.
func parseInterval(text string, completions int) (interval, error) {
	limits := strings.Split(text, "-")
	if len(limits) > 2 {
		return interval{}, fmt.Errorf("the fragment %q violates the requirement that an index interval can have at most two parts separated by '-'", text)
	}
	first, err := parseIndex(limits[0], completions)
	if err != nil || len(limits) == 1 {
		return interval{first, first}, err
	}
	last, err := parseIndex(limits[1], completions)
	if err != nil {
		return interval{}, err
	}
	if first >= last {
		return interval{}, outOfOrder(first, last)
	}
	return interval{first, last}, nil
}

func parseIndex(text string, completions int) (int, error) {
	index, err := strconv.Atoi(text)
	if err != nil {
		return 0, fmt.Errorf("cannot convert string to integer for index: %q", text)
	}
	if index >= completions {
		return 0, fmt.Errorf("too large index: %q", text)
	}
	return index, nil
}

func outOfOrder(previous, current int) error {
	return fmt.Errorf("non-increasing order, previous: %d, current: %d", previous, current)
}

// countIndexes checks text, which is like "1,3-5,7", and counts its indexes.
func countIndexes(text string, completions int) (int, error) {
	if text == "" {
		return 0, nil
	}
	total, before := 0, -1
	for part := range strings.SplitSeq(text, ",") {
		in, err := parseInterval(part, completions)
		if err != nil {
			return 0, err
		}
		if before >= in.first {
			return 0, outOfOrder(before, in.first)
		}
		total, before = total+in.last-in.first+1, in.last
	}
	return total, nil
}

// overlap finds an index that is in both lists; what cannot be read of them is
// reported elsewhere.
func overlap(completed, failed string, completions int) error {
	a, b := intervals(completed, completions), intervals(failed, completions)
	for len(a) > 0 && len(b) > 0 {
		switch {
		case a[0].first <= b[0].last && b[0].first <= a[0].last:
			return errors.New("failedIndexes and completedIndexes overlap at index: " + strconv.Itoa(max(a[0].first, b[0].first)))
		case a[0].first <= b[0].first:
			a = a[1:]
		default:
			b = b[1:]
		}
	}
	return nil
}

func intervals(text string, completions int) []interval {
	var found []interval
	for part := range strings.SplitSeq(text, ",") {
		if in, err := parseInterval(part, completions); err == nil {
			found = append(found, in)
		}
	}
	return found
}
