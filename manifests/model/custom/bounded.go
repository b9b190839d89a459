package custom

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"

	"k8s.io/apiextensions-apiserver/pkg/apihelpers"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	openapierrors "k8s.io/kube-openapi/pkg/validation/errors"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"k8s.io/kube-openapi/pkg/validation/strfmt"
	"k8s.io/kube-openapi/pkg/validation/validate"

	"headway.dev/manifests/model/rule"
)

// The library compares each mistake that it finds with all that it has found, at
// every level of the object: 300,000 wrong items, which fit into a request, take
// hours. So it validates objects only that can have few; larger ones it validates
// value by value, and what it says of these is put together here, until there are
// more mistakes than are told.

const (
	// mostMistakes that an object can have make it one for the library.
	mostMistakes = 2_000
	// mostWork that an object may be for its schema: some seconds. A value that it is
	// compared with is 1, and all else that is said of a value oneValue.
	mostWork, oneValue = 10_000_000, 4
	// mostText of errors is put together, in bytes.
	mostText = 1 << 20
)

var (
	errMore = errors.New("further errors are not listed; correct the existing errors to complete validation")
	errWork = errors.New("validation takes too long: the object has too many values for what the schema compares each of them with")
)

// bounded validates by a schema in bounded time. It implements
// validation.SchemaValidator.
type bounded struct {
	validation.SchemaValidator
	schema  *spec.Schema
	breadth int
	// root says that the values are objects.
	root bool
	// right has the addresses of maps that were found right just now, and are not
	// looked at again.
	right *sync.Map
}

// found notes that a value was found right, until its caller has done with it.
func (b bounded) found(value any) (done func()) {
	if _, ok := value.(map[string]any); !ok || b.right == nil {
		return func() {}
	}
	address := reflect.ValueOf(value).Pointer()
	b.right.Store(address, true)
	return func() {
		b.right.Delete(address)
		runtime.KeepAlive(value)
	}
}

// isRight reports whether a value was found right.
func (b bounded) isRight(value any) bool {
	if _, ok := value.(map[string]any); !ok || b.right == nil {
		return false
	}
	_, ok := b.right.Load(reflect.ValueOf(value).Pointer())
	return ok
}

// Validate implements validation.SchemaValidator.
func (b bounded) Validate(value any, options ...validation.ValidationOption) *validate.Result {
	if b.few(value) {
		return b.SchemaValidator.Validate(value, options...)
	}
	return values(b.schema, value, nothing{})
}

// ValidateUpdate implements validation.SchemaValidator.
func (b bounded) ValidateUpdate(value, old any, options ...validation.ValidationOption) *validate.Result {
	if b.few(value) {
		return b.SchemaValidator.ValidateUpdate(value, old, options...)
	}
	if b.isRight(value) {
		return &validate.Result{MatchCount: 1}
	}
	if given := validation.NewValidationOptions(options...); given.Ratcheting && given.CorrelatedObject != nil {
		return values(b.schema, value, given.CorrelatedObject)
	}
	return values(b.schema, value, nothing{})
}

func (b bounded) few(value any) bool {
	if object, ok := value.(map[string]any); ok && b.root {
		return few(object, b.breadth)
	}
	return b.breadth < mostMistakes && count(value, mostMistakes/b.breadth) >= 0
}

// few reports whether an object has few enough values for the library. Who has set
// which field is not validated.
func few(object map[string]any, breadth int) bool {
	if meta, ok := object["metadata"].(map[string]any); ok && meta["managedFields"] != nil {
		meta, object = shallow(meta), shallow(object)
		delete(meta, "managedFields")
		object["metadata"] = meta
	}
	return breadth < mostMistakes && count(object, mostMistakes/breadth) >= 0
}

// count takes the number of values within value from left, and stops below 0.
func count(value any, left int) int {
	left--
	switch value := value.(type) {
	case map[string]any:
		for _, child := range value {
			if left = count(child, left); left < 0 {
				return left
			}
		}
	case []any:
		for _, child := range value {
			if left = count(child, left); left < 0 {
				return left
			}
		}
	}
	return left
}

// measure is about how many mistakes one value can make at most.
func (v *Version) measure() int {
	given, err := apihelpers.GetSchemaForVersion(v.of.definition(), v.spec.Name)
	if err != nil || given == nil || given.OpenAPIV3Schema == nil {
		return 1
	}
	internal := &apiextensions.JSONSchemaProps{}
	if apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(given.OpenAPIV3Schema, internal, nil) != nil {
		return 1 // compiling it tells
	}
	widest, _ := measure(internal)
	return min(widest, mostMistakes)
}

// measure returns the most mistakes that one value can make, and those that all of
// the schema can.
func measure(s *apiextensions.JSONSchemaProps) (widest, all int) {
	own := max(1, len(s.Required)) + len(s.Enum)/50
	below := func(child *apiextensions.JSONSchemaProps) {
		w, sum := measure(child)
		widest, all = max(widest, w), all+sum
	}
	for _, p := range s.Properties {
		below(&p)
	}
	if s.AdditionalProperties != nil && s.AdditionalProperties.Schema != nil {
		below(s.AdditionalProperties.Schema)
	}
	if s.Items != nil && s.Items.Schema != nil {
		below(s.Items.Schema)
	}
	for _, branches := range [][]apiextensions.JSONSchemaProps{s.AllOf, s.AnyOf, s.OneOf} {
		for i := range branches {
			_, sum := measure(&branches[i])
			own += sum
		}
	}
	if s.Not != nil {
		_, sum := measure(s.Not)
		own += sum
	}
	return max(widest, own), all + own
}

// correlated is the old value of what is validated, if that is known.
type correlated[C any] interface {
	Key(field string) C
	Index(i int) C
	CachedDeepEqual() bool
}

// nothing is the old value of what has none.
type nothing struct{}

func (nothing) Key(string) nothing    { return nothing{} }
func (nothing) Index(int) nothing     { return nothing{} }
func (nothing) CachedDeepEqual() bool { return false }

// values validates value by a schema. Mistakes of what is as it was are none.
func values[C correlated[C]](s *spec.Schema, value any, old C) *validate.Result {
	v := &visit[C]{}
	found := v.value(s, value, "", old)
	if v.work > mostWork {
		found.errs = append(found.errs, errWork)
	} else if found.full() {
		found.errs = append(found.errs[:min(len(found.errs), rule.MostErrors)], errMore)
	}
	return &validate.Result{Errors: found.errs, MatchCount: found.matches}
}

// visit is one validation.
type visit[C correlated[C]] struct{ work int }

// found is what was found of a value, and of what is in it.
type found struct {
	errs    []error
	text    int
	matches int
}

func (f *found) add(errs ...error) {
	for _, err := range errs {
		f.text += len(err.Error())
	}
	f.errs = append(f.errs, errs...)
}

func (f *found) merge(other found) {
	f.errs, f.text, f.matches = append(f.errs, other.errs...), f.text+other.text, f.matches+other.matches
}

// full reports whether more need not be looked for.
func (f *found) full() bool { return len(f.errs) > rule.MostErrors || f.text > mostText }

// value validates one value, and what is in it. It stops when enough is found.
func (v *visit[C]) value(s *spec.Schema, value any, path string, old C) found {
	if old.CachedDeepEqual() {
		return found{matches: 1}
	}
	f := v.alone(s, value, path)
	stop := func() bool { return f.full() || v.work > mostWork }
	switch value := value.(type) {
	case map[string]any:
		for _, name := range s.Required {
			if _, ok := value[name]; !ok && !stop() {
				f.add(openapierrors.Required(path+"."+name, "body"))
			}
		}
		for _, key := range slices.Sorted(maps.Keys(value)) {
			if stop() {
				break
			}
			at := strings.TrimPrefix(path+"."+key, ".")
			child, ok := s.Properties[key]
			switch {
			case ok:
			case s.AdditionalProperties != nil && s.AdditionalProperties.Schema != nil:
				child = *s.AdditionalProperties.Schema
			default:
				continue
			}
			var was C
			if path != "" || key != "kind" && key != "apiVersion" {
				was = old.Key(key)
			}
			f.merge(v.value(&child, value[key], at, was))
		}
	case []any:
		if s.Items == nil || s.Items.Schema == nil {
			break
		}
		for i := range value {
			if stop() {
				break
			}
			f.merge(v.value(s.Items.Schema, value[i], fmt.Sprintf("%s[%d]", path, i), old.Index(i)))
		}
	}
	if value != nil && !stop() {
		v.alternatives(&f, s, value, path)
	}
	return f
}

// alone validates a value without what is in it, by what the schema itself says.
func (v *visit[C]) alone(s *spec.Schema, value any, path string) found {
	own := *s
	own.Properties, own.AdditionalProperties, own.Items, own.Required = nil, nil, nil, nil
	own.AllOf, own.AnyOf, own.OneOf, own.Not = nil, nil, nil, nil
	if v.work += oneValue + len(s.Enum); v.work > mostWork {
		return found{}
	}
	result := validate.NewSchemaValidator(&own, nil, path, strfmt.Default).Validate(value)
	f := found{matches: result.MatchCount}
	f.add(result.Errors...)
	return f
}

// alternatives validates a value by the schemas of which all, one, some or none must
// hold. What is wrong with its alternatives is told of the one that fits best.
func (v *visit[C]) alternatives(f *found, s *spec.Schema, value any, path string) {
	var none C
	// some tells how many of the list hold, and what is wrong with the one that fits
	// best of those that do not.
	some := func(list []spec.Schema) (valid int, best found) {
		for i := 0; i < len(list) && v.work <= mostWork; i++ {
			one := v.value(&list[i], value, path, none)
			if len(one.errs) == 0 {
				valid++
			} else if best.errs == nil || one.matches > best.matches {
				best = one
			}
		}
		return valid, best
	}
	if len(s.AnyOf) > 0 {
		if valid, best := some(s.AnyOf); valid == 0 {
			f.add(fmt.Errorf(validate.MustValidateAtLeastOneSchemaError, path))
			f.merge(best)
		}
	}
	if len(s.OneOf) > 0 {
		switch valid, best := some(s.OneOf); valid {
		case 1:
		case 0:
			f.add(fmt.Errorf(validate.MustValidateOnlyOneSchemaError, path, "Found none valid"))
			f.merge(best)
		default:
			f.add(fmt.Errorf(validate.MustValidateOnlyOneSchemaError, path, fmt.Sprintf("Found %d valid alternatives", valid)))
		}
	}
	v.all(f, s, value, path)
	if s.Not != nil {
		if one := v.value(s.Not, value, path, none); len(one.errs) == 0 && v.work <= mostWork {
			f.add(fmt.Errorf(validate.MustNotValidateSchemaError, path))
		}
	}
}

// all validates a value by the schemas that must hold all together.
func (v *visit[C]) all(f *found, s *spec.Schema, value any, path string) {
	var none C
	valid := 0
	for i := range s.AllOf {
		if f.full() || v.work > mostWork {
			return
		}
		one := v.value(&s.AllOf[i], value, path, none)
		if len(one.errs) == 0 {
			valid++
		}
		f.merge(one)
	}
	switch {
	case valid == len(s.AllOf):
	case valid == 0:
		f.add(fmt.Errorf(validate.MustValidateAllSchemasError, path, ". None validated"))
	default:
		f.add(fmt.Errorf(validate.MustValidateAllSchemasError, path, ""))
	}
}

// unfinished reports whether errs are not all that there are.
func unfinished(errs field.ErrorList) bool {
	return len(errs) > rule.MostErrors || slices.ContainsFunc(errs, func(err *field.Error) bool {
		return err.Detail == errMore.Error() || err.Detail == errWork.Error()
	})
}
