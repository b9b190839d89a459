package rule

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

const (
	// MostErrors are told of one object. The API's message is put together in time
	// that grows with the square of their number: 20,000 wrong labels, which fit
	// into a request, took a minute and a half.
	MostErrors = 500
	// mostWords bounds their text, in bytes, if it is longer by more than a note: an
	// error may list all of an enumeration.
	mostWords, note = 1 << 20, 1 << 10
)

// Bounded leaves out errors behind the first ones, and says so. more are left out
// already. What it returns is not changed if it is bounded again, unless more come.
func Bounded(errs field.ErrorList, more int) field.ErrorList {
	most, fit, words := min(len(errs), MostErrors+1), 0, 0
	for i, err := range errs[:most] {
		if words += len(err.Error()); words <= mostWords {
			fit = i + 1
		}
	}
	if words > mostWords+note {
		most = max(fit, 1)
	}
	if most == len(errs) && more == 0 {
		return errs
	}
	if most == 0 {
		return nil
	}
	last := *errs[most-1]
	last.Detail = fmt.Sprintf("%s (%d further errors are not listed)", last.Detail, len(errs)-most+more)
	return append(slices.Clone(errs[:most-1]), &last)
}

// Words are those of an error for who has the file and the line of its field: without the
// value where that is a long one, such as a whole pod template.
func Words(err *field.Error) string {
	const most = 300
	if words := err.ErrorBody(); len(words)-len(err.Detail) <= most {
		return words
	}
	short := *err
	short.BadValue = field.OmitValueType{}
	return short.ErrorBody()
}
