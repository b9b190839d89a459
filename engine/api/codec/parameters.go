package codec

import (
	"fmt"
	"net/url"
	"reflect"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Parameters decodes query parameters into the option types of subresources
// (PodLogOptions, PodExecOptions, ServiceProxyOptions, …) by the JSON names of their fields; the
// scheme holds no conversions for them. Other types go to the codec it wraps.
type Parameters struct{ runtime.ParameterCodec }

var corev1Path = reflect.TypeFor[corev1.PodLogOptions]().PkgPath()

// DecodeParameters implements runtime.ParameterCodec.
func (p Parameters) DecodeParameters(values url.Values, from schema.GroupVersion, into runtime.Object) error {
	v := reflect.ValueOf(into)
	if v.Kind() != reflect.Pointer || v.Type().Elem().PkgPath() != corev1Path || !strings.HasSuffix(v.Type().Elem().Name(), "Options") {
		return p.ParameterCodec.DecodeParameters(values, from, into)
	}
	v = v.Elem()
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		given, ok := values[name]
		if name == "" || !ok || len(given) == 0 {
			continue
		}
		if err := setParameter(v.Field(i), given); err != nil {
			return fmt.Errorf("parameter %s: %w", name, err)
		}
	}
	return nil
}

func setParameter(field reflect.Value, given []string) error {
	first := given[0]
	switch target := field.Addr().Interface().(type) {
	case *string:
		*target = first
	case **string:
		*target = &first
	case *[]string:
		*target = given
	case *bool:
		// As Kubernetes reads them: a parameter without a value is true.
		switch strings.ToLower(first) {
		case "false", "0":
			*target = false
		default:
			*target = true
		}
	case **int64:
		if first == "" {
			return nil
		}
		n, err := strconv.ParseInt(first, 10, 64)
		if err != nil {
			return err
		}
		*target = &n
	case *[]int32:
		for _, part := range given {
			for s := range strings.SplitSeq(part, ",") {
				n, err := strconv.ParseInt(s, 10, 32)
				if err != nil {
					return err
				}
				*target = append(*target, int32(n))
			}
		}
	case **metav1.Time:
		if first == "" {
			return nil
		}
		t := &metav1.Time{}
		if err := t.UnmarshalQueryParameter(first); err != nil {
			return err
		}
		*target = t
	default:
		return fmt.Errorf("a %s cannot be given as a query parameter", field.Type())
	}
	return nil
}
