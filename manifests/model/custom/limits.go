package custom

import (
	"fmt"
	"regexp/syntax"
	"strings"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"headway.dev/manifests/model/rule"
)

// What a definition may have at most. The library looks at each of these in time that
// grows faster than their number, or compiles each; no definition that anybody uses
// comes near.
const (
	// mostLevels of properties and items may be within each other.
	mostLevels = 100
	// mostRules of CEL may be in all of its versions together.
	mostRules = 2_000
	// mostPatterns is how large its patterns may be together, in characters and what
	// repeats them: compiled they are kept as long as the process runs.
	mostPatterns = 256 << 10
	// mostColumns a version may have. A path of one may look for something at any depth
	// once, and name few of several at once: others find more than there is.
	mostColumns, mostDescents, mostUnions = 100, 1, 10
)

// Overflow returns why a definition is not looked at any further: it has more than any
// may have, or a default of it has more mistakes than are told.
func Overflow(crd *apiextensions.CustomResourceDefinition) field.ErrorList {
	spec, l := field.NewPath("spec"), &limits{}
	if crd.Spec.Validation != nil {
		l.look(crd.Spec.Validation.OpenAPIV3Schema, spec.Child("validation", "openAPIV3Schema"), 0)
	}
	l.columns(crd.Spec.AdditionalPrinterColumns, spec.Child("additionalPrinterColumns"))
	for i, v := range crd.Spec.Versions {
		l.columns(v.AdditionalPrinterColumns, spec.Child("versions").Index(i).Child("additionalPrinterColumns"))
		if v.Schema != nil {
			l.look(v.Schema.OpenAPIV3Schema, spec.Child("versions").Index(i).Child("schema", "openAPIV3Schema"), 0)
		}
	}
	return rule.Bounded(l.errs, 0)
}

// limits counts what a definition has, until there is too much of something.
type limits struct {
	rules, patterns int
	known           map[string]bool // patterns
	errs            field.ErrorList
}

func (l *limits) columns(list []apiextensions.CustomResourceColumnDefinition, at *field.Path) {
	if len(list) > mostColumns {
		l.errs = append(l.errs, field.TooMany(at, len(list), mostColumns))
		return
	}
	for i, c := range list {
		if strings.Count(c.JSONPath, "..") > mostDescents || strings.Count(c.JSONPath, ",") > mostUnions {
			l.errs = append(l.errs, field.Invalid(at.Index(i).Child("jsonPath"), c.JSONPath, fmt.Sprintf("must have at most %d recursive descent and %d commas", mostDescents, mostUnions)))
		}
	}
}

// pattern counts a pattern that was not there before.
func (l *limits) pattern(text string) {
	if text == "" || l.known[text] {
		return
	}
	if l.known == nil {
		l.known = map[string]bool{}
	}
	l.known[text] = true
	l.patterns += len(text)
	if parsed, err := syntax.Parse(text, syntax.Perl); err == nil {
		l.patterns += size(parsed)
	}
}

// size is about how many instructions an expression is compiled to.
func size(r *syntax.Regexp) int {
	n := 1 + len(r.Rune)
	for _, sub := range r.Sub {
		n += size(sub)
	}
	if r.Op == syntax.OpRepeat {
		n *= max(r.Min, r.Max, 1)
	}
	return n
}

func (l *limits) look(s *apiextensions.JSONSchemaProps, at *field.Path, level int) {
	if s == nil || len(l.errs) > 0 {
		return
	}
	l.rules += len(s.XValidations)
	l.pattern(s.Pattern)
	switch {
	case level > mostLevels:
		l.errs = append(l.errs, field.Forbidden(at, fmt.Sprintf("must have at most %d levels of properties and items", mostLevels)))
	case l.rules > mostRules:
		l.errs = append(l.errs, field.Forbidden(at.Child("x-kubernetes-validations"), fmt.Sprintf("must have at most %d rules in all versions together", mostRules)))
	case l.patterns > mostPatterns:
		l.errs = append(l.errs, field.Forbidden(at.Child("pattern"), fmt.Sprintf("must have patterns of at most %d characters and repetitions in all versions together", mostPatterns)))
	case s.Default != nil:
		l.byDefault(s, at.Child("default"))
	}
	for name, p := range s.Properties {
		l.look(&p, at.Child("properties").Key(name), level+1)
	}
	if s.Items != nil {
		l.look(s.Items.Schema, at.Child("items"), level+1)
	}
	if s.AdditionalProperties != nil {
		l.look(s.AdditionalProperties.Schema, at.Child("additionalProperties"), level+1)
	}
	for of, branches := range map[string][]apiextensions.JSONSchemaProps{"allOf": s.AllOf, "anyOf": s.AnyOf, "oneOf": s.OneOf} {
		for i := range branches {
			l.look(&branches[i], at.Child(of).Index(i), level+1)
		}
	}
	l.look(s.Not, at.Child("not"), level+1)
}

// byDefault tells the mistakes of a default that has too many.
func (l *limits) byDefault(s *apiextensions.JSONSchemaProps, at *field.Path) {
	widest, _ := measure(s)
	own := bounded{breadth: min(widest, mostMistakes)}
	if own.few(any(*s.Default)) {
		return
	}
	var err error
	if own.SchemaValidator, own.schema, err = validation.NewSchemaValidator(s); err != nil {
		return // told elsewhere
	}
	if errs := validation.ValidateCustomResource(at, any(*s.Default), own); unfinished(errs) {
		l.errs = append(l.errs, errs...)
	}
}
