package validation

import (
	"math"
	"net"
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"
)

// invalid makes one error of every message.
func invalid(path *field.Path, value any, messages []string) field.ErrorList {
	var errs field.ErrorList
	for _, msg := range messages {
		errs = append(errs, field.Invalid(path, value, msg))
	}
	return errs
}

func dnsLabel(value string, path *field.Path) field.ErrorList {
	return invalid(path, value, validation.IsDNS1123Label(value))
}

func dnsSubdomain(value string, path *field.Path) field.ErrorList {
	return invalid(path, value, validation.IsDNS1123Subdomain(value))
}

// objectName is a required reference to an object with a subdomain name.
func objectName(value string, path *field.Path) field.ErrorList {
	if value == "" {
		return field.ErrorList{field.Required(path, "")}
	}
	return invalid(path, value, apivalidation.NameIsDNSSubdomain(value, false))
}

// oneOf is an enumeration; unset is an error, as defaults come first.
func oneOf[T ~string](value T, path *field.Path, allowed ...T) field.ErrorList {
	if value == "" {
		return field.ErrorList{field.Required(path, "")}
	}
	return optionalOneOf(value, path, allowed...)
}

func optionalOneOf[T ~string](value T, path *field.Path, allowed ...T) field.ErrorList {
	if value == "" || slices.Contains(allowed, value) {
		return nil
	}
	return field.ErrorList{field.NotSupported(path, value, allowed)}
}

func nonNegative[T ~int32 | ~int64](value T, path *field.Path) field.ErrorList {
	return apivalidation.ValidateNonnegativeField(int64(value), path)
}

func optionalNonNegative[T ~int32 | ~int64](value *T, path *field.Path) field.ErrorList {
	if value == nil {
		return nil
	}
	return nonNegative(*value, path)
}

// seconds31 is a positive number of seconds that fits 31 bits.
func seconds31(value *int64, path *field.Path) field.ErrorList {
	if value == nil || *value >= 1 && *value <= math.MaxInt32 {
		return nil
	}
	return field.ErrorList{field.Invalid(path, *value, validation.InclusiveRangeError(1, math.MaxInt32))}
}

func portNumber(port int32, path *field.Path) field.ErrorList {
	return invalid(path, port, validation.IsValidPortNum(int(port)))
}

func portNumberOrName(port intstr.IntOrString, path *field.Path) field.ErrorList {
	if port.Type == intstr.Int {
		return invalid(path, port.IntValue(), validation.IsValidPortNum(port.IntValue()))
	}
	return invalid(path, port.StrVal, validation.IsValidPortName(port.StrVal))
}

// intOrPercent is a count or a percentage of at least 0.
func intOrPercent(value intstr.IntOrString, path *field.Path) field.ErrorList {
	if value.Type == intstr.String {
		return invalid(path, value, validation.IsValidPercent(value.StrVal))
	}
	return nonNegative(value.IntVal, path)
}

// immutable compares as the API does: nil and empty are the same.
func immutable(value, old any, path *field.Path) field.ErrorList {
	if equality.Semantic.DeepEqual(value, old) {
		return nil
	}
	return field.ErrorList{field.Invalid(path, value, apivalidation.FieldImmutableErrorMsg)}
}

// address is an IP address that another host can reach.
func address(value string, path *field.Path) field.ErrorList {
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
