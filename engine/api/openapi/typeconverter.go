package openapi

import (
	"fmt"
	"sync"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"sigs.k8s.io/structured-merge-diff/v6/typed"
)

// TypeConverter knows the fields of every kind for managedfields and
// server-side apply. The schemas are decoded on first use and then shared by
// all converters of the process.
func TypeConverter() managedfields.TypeConverter { return lazyConverter{} }

type lazyConverter struct{}

var sharedConverter = sync.OnceValues(func() (managedfields.TypeConverter, error) {
	schemas, err := definitions()
	if err != nil {
		return nil, err
	}
	for _, s := range schemas {
		// Merging does not read the documentation, which is most of it.
		s.Description = ""
	}
	converter, err := managedfields.NewTypeConverter(schemas, false)
	if err != nil {
		return nil, fmt.Errorf("OpenAPI definitions as merge schemas: %w", err)
	}
	return converter, nil
})

// ObjectToTyped implements managedfields.TypeConverter.
func (lazyConverter) ObjectToTyped(obj runtime.Object, opts ...typed.ValidationOptions) (*typed.TypedValue, error) {
	c, err := sharedConverter()
	if err != nil {
		return nil, err
	}
	return c.ObjectToTyped(obj, opts...)
}

// TypedToObject implements managedfields.TypeConverter.
func (lazyConverter) TypedToObject(v *typed.TypedValue) (runtime.Object, error) {
	c, err := sharedConverter()
	if err != nil {
		return nil, err
	}
	return c.TypedToObject(v)
}
