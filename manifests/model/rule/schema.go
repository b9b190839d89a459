package rule

import (
	"fmt"
	"regexp"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Interval is the pattern of durations in the custom resource definitions of Flux.
// The messages below are those that the API gives for a schema.
var Interval = regexp.MustCompile(`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`)

// NotEmpty requires a value.
func NotEmpty(value string, path *field.Path) field.ErrorList {
	if value == "" {
		return field.ErrorList{field.Required(path, "")}
	}
	return nil
}

// MaxLength requires at most limit bytes.
func MaxLength(value string, limit int, path *field.Path) field.ErrorList {
	if len(value) > limit {
		return field.ErrorList{field.TooLong(path, value, limit)}
	}
	return nil
}

// Matches requires a value that matches a pattern.
func Matches(value string, pattern *regexp.Regexp, path *field.Path) field.ErrorList {
	if value == "" {
		return field.ErrorList{field.Required(path, "")}
	}
	if pattern.MatchString(value) {
		return nil
	}
	return field.ErrorList{Mismatch(value, pattern, path)}
}

// Mismatch is the error for a value that does not match a pattern.
func Mismatch(value string, pattern *regexp.Regexp, path *field.Path) *field.Error {
	return field.Invalid(path, value, fmt.Sprintf("%s in body should match '%s'", path, pattern))
}

// Required requires a duration that matches a pattern.
func Required(d metav1.Duration, pattern *regexp.Regexp, path *field.Path) field.ErrorList {
	if d.Duration == 0 {
		return field.ErrorList{field.Required(path, "")}
	}
	return Matches(d.Duration.String(), pattern, path)
}

// OptionalDuration requires that a duration, if set, matches Interval.
func OptionalDuration(d *metav1.Duration, path *field.Path) field.ErrorList {
	if d == nil {
		return nil
	}
	return Matches(d.Duration.String(), Interval, path)
}
