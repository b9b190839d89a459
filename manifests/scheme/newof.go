package scheme

import (
	"reflect"

	"k8s.io/apimachinery/pkg/runtime"
)

func newOf(t reflect.Type) runtime.Object {
	return reflect.New(t).Interface().(runtime.Object)
}
