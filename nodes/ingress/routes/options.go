package routes

import (
	"fmt"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
)

// The annotations of Ingresses that this proxy knows.
const (
	// TimeoutAnnotation is how long a backend may take until its answer begins, for
	// example 90s; default DefaultTimeout. 0 waits as long as the client does.
	TimeoutAnnotation = "headway.dev/ingress-timeout"
	// BodyLimitAnnotation is how large the body of a request may be, for example 10Mi;
	// there is no limit without it.
	BodyLimitAnnotation = "headway.dev/ingress-body-limit"
	// RedirectAnnotation set to "true" has requests by HTTP answered with a redirect to
	// HTTPS.
	RedirectAnnotation = "headway.dev/ingress-https-redirect"
)

// DefaultTimeout is how long a backend may take until its answer begins.
const DefaultTimeout = time.Minute

// Options are the settings of one Ingress, or of one rule of a route.
type Options struct {
	Timeout   time.Duration // until an answer begins; 0: none
	Whole     time.Duration // until an answer has ended; 0: none
	BodyLimit int64         // in bytes; 0: none
	Redirect  bool
}

// parseOptions reads annotations. What is wrong has its default, and is told.
func parseOptions(annotations map[string]string) (o Options, faults []string) {
	o.Timeout = DefaultTimeout
	fault := func(name, want string) {
		faults = append(faults, fmt.Sprintf("the annotation %s is %q, which is not %s", name, annotations[name], want))
	}
	if v, ok := annotations[TimeoutAnnotation]; ok {
		if d, err := time.ParseDuration(v); err == nil && d >= 0 {
			o.Timeout = d
		} else {
			fault(TimeoutAnnotation, "a duration such as 90s")
		}
	}
	if v, ok := annotations[BodyLimitAnnotation]; ok {
		if q, err := resource.ParseQuantity(v); err == nil && q.Value() > 0 {
			o.BodyLimit = q.Value()
		} else {
			fault(BodyLimitAnnotation, "an amount of bytes such as 10Mi")
		}
	}
	if v, ok := annotations[RedirectAnnotation]; ok {
		if b, err := strconv.ParseBool(v); err == nil {
			o.Redirect = b
		} else {
			fault(RedirectAnnotation, "true or false")
		}
	}
	return o, faults
}
