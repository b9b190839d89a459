// Package rule contains the rules about single values of which the validations
// of kinds are made, in the words of the Kubernetes API. All of it is pure and
// safe for concurrent use.
package rule

import (
	"math"
	"net"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/validate/content"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"
)

// The roots of an object's paths.
var (
	Metadata = field.NewPath("metadata")
	Spec     = field.NewPath("spec")
	Status   = field.NewPath("status")
)

// Protocols are the protocols that a port can have.
var Protocols = []corev1.Protocol{corev1.ProtocolSCTP, corev1.ProtocolTCP, corev1.ProtocolUDP}

// Invalid makes one error of each message.
func Invalid(path *field.Path, value any, messages []string) field.ErrorList {
	var errs field.ErrorList
	for _, msg := range messages {
		errs = append(errs, field.Invalid(path, value, msg))
	}
	return errs
}

// DNSLabel requires a DNS label.
func DNSLabel(value string, path *field.Path) field.ErrorList {
	return Invalid(path, value, validation.IsDNS1123Label(value))
}

// DNSSubdomain requires a DNS name.
func DNSSubdomain(value string, path *field.Path) field.ErrorList {
	return Invalid(path, value, validation.IsDNS1123Subdomain(value))
}

// PathSegmentName is what the names of all objects have to be, one segment of a URL's
// path: those of most kinds have to be DNS names besides.
func PathSegmentName(name string, prefix bool) []string {
	if prefix {
		return content.IsPathSegmentPrefix(name)
	}
	return content.IsPathSegmentName(name)
}

// ObjectName requires a reference to an object with a subdomain name.
func ObjectName(value string, path *field.Path) field.ErrorList {
	if value == "" {
		return field.ErrorList{field.Required(path, "")}
	}
	return Invalid(path, value, apivalidation.NameIsDNSSubdomain(value, false))
}

// OneOf requires one of several values; unset is an error, because defaults
// come first.
func OneOf[T ~string](value T, path *field.Path, allowed ...T) field.ErrorList {
	if value == "" {
		return field.ErrorList{field.Required(path, "")}
	}
	return OptionalOneOf(value, path, allowed...)
}

// OptionalOneOf requires one of several values, or none.
func OptionalOneOf[T ~string](value T, path *field.Path, allowed ...T) field.ErrorList {
	if value == "" || slices.Contains(allowed, value) {
		return nil
	}
	return field.ErrorList{field.NotSupported(path, value, allowed)}
}

// NotSupported requires one of several values; none is an error like any other.
func NotSupported[T ~string](value T, path *field.Path, allowed ...T) field.ErrorList {
	if slices.Contains(allowed, value) {
		return nil
	}
	return field.ErrorList{field.NotSupported(path, value, allowed)}
}

// NonNegative requires at least 0.
func NonNegative[T ~int32 | ~int64](value T, path *field.Path) field.ErrorList {
	return apivalidation.ValidateNonnegativeField(int64(value), path)
}

// OptionalNonNegative requires at least 0, if set.
func OptionalNonNegative[T ~int32 | ~int64](value *T, path *field.Path) field.ErrorList {
	if value == nil {
		return nil
	}
	return NonNegative(*value, path)
}

// Seconds31 requires a positive number of seconds that fits in 31 bits.
func Seconds31(value *int64, path *field.Path) field.ErrorList {
	if value == nil || *value >= 1 && *value <= math.MaxInt32 {
		return nil
	}
	return field.ErrorList{field.Invalid(path, *value, validation.InclusiveRangeError(1, math.MaxInt32))}
}

// PortNumber requires a port number.
func PortNumber(port int32, path *field.Path) field.ErrorList {
	return Invalid(path, port, validation.IsValidPortNum(int(port)))
}

// PortNumberOrName requires the number or the name of a port.
func PortNumberOrName(port intstr.IntOrString, path *field.Path) field.ErrorList {
	if port.Type == intstr.Int {
		return Invalid(path, port.IntValue(), validation.IsValidPortNum(port.IntValue()))
	}
	return Invalid(path, port.StrVal, validation.IsValidPortName(port.StrVal))
}

// IntOrPercent requires a count or a percentage of at least 0.
func IntOrPercent(value intstr.IntOrString, path *field.Path) field.ErrorList {
	if value.Type == intstr.String {
		return Invalid(path, value, validation.IsValidPercent(value.StrVal))
	}
	return NonNegative(value.IntVal, path)
}

// Immutable requires that a field does not change, compared as the API does:
// nil and empty are equal.
func Immutable(value, old any, path *field.Path) field.ErrorList {
	if equality.Semantic.DeepEqual(value, old) {
		return nil
	}
	return field.ErrorList{field.Invalid(path, value, apivalidation.FieldImmutableErrorMsg)}
}

// Finalizer requires a finalizer with a domain, or one of Kubernetes' own.
func Finalizer(name string, path *field.Path) field.ErrorList {
	switch name {
	case string(corev1.FinalizerKubernetes), metav1.FinalizerOrphanDependents, metav1.FinalizerDeleteDependents:
		return nil
	}
	if strings.Contains(name, "/") {
		return nil
	}
	return field.ErrorList{field.Invalid(path, name, "name is neither a standard finalizer name nor is it fully qualified")}
}

// QualifiedName requires a name that may have a DNS name and a slash before it.
func QualifiedName(value string, path *field.Path) field.ErrorList {
	return Invalid(path, value, validation.IsQualifiedName(value))
}

// Address requires an IP address that another host can reach.
func Address(value string, path *field.Path) field.ErrorList {
	if errs := validation.IsValidIPForLegacyField(path, value, true, nil); len(errs) > 0 {
		return errs
	}
	return ordinary(netutils.ParseIPSloppy(value), value, path)
}

func ordinary(ip net.IP, value string, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if ip.IsUnspecified() {
		errs = append(errs, field.Invalid(path, value, "may not be unspecified ("+value+")"))
	}
	if ip.IsLoopback() {
		errs = append(errs, field.Invalid(path, value, "may not be in the loopback range (127.0.0.0/8, ::1/128)"))
	}
	if ip.IsLinkLocalUnicast() {
		errs = append(errs, field.Invalid(path, value, "may not be in the link-local range (169.254.0.0/16, fe80::/10)"))
	}
	if ip.IsLinkLocalMulticast() {
		errs = append(errs, field.Invalid(path, value, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"))
	}
	return errs
}
