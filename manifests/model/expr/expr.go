// Package expr evaluates the conditions in the Common Expression Language that
// Flux's kinds contain: spec.healthCheckExprs and spec.dependsOn[].readyExpr of
// Kustomizations. See https://cel.dev for the language.
//
// An expression comes from a repository: its length and the cost of an
// evaluation are bounded, and it can access only the objects it is given.
package expr

import (
	"errors"
	"fmt"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/ext"
)

const (
	// maxLength bounds an expression, in bytes.
	maxLength = 10_000
	// maxCost bounds one evaluation, in CEL's units: some tenths of a second.
	maxCost = 1_000_000
)

// Condition is a compiled expression that yields true or false. It is safe for
// concurrent use.
type Condition struct{ program cel.Program }

// Compile checks an expression in which the given variables may occur, each an
// object of unknown fields.
func Compile(source string, variables ...string) (*Condition, error) {
	if len(source) > maxLength {
		return nil, fmt.Errorf("the expression is longer than %d bytes", maxLength)
	}
	opts := []cel.EnvOption{
		cel.HomogeneousAggregateLiterals(), cel.EagerlyValidateDeclarations(true), cel.DefaultUTCTimeZone(true),
		cel.CrossTypeNumericComparisons(true), cel.OptionalTypes(), cel.ASTValidators(cel.ValidateRegexLiterals(), cel.ValidateDurationLiterals(), cel.ValidateTimestampLiterals()),
		ext.Strings(), ext.Sets(), ext.Lists(), ext.Math(), ext.Encoders(),
	}
	for _, v := range variables {
		opts = append(opts, cel.Variable(v, cel.DynType))
	}
	env, err := cel.NewEnv(opts...)
	if err != nil {
		return nil, fmt.Errorf("prepare the expression's environment: %w", err)
	}
	ast, issues := env.Compile(source)
	if issues.Err() != nil {
		return nil, fmt.Errorf("failed to parse expression: %w", issues.Err())
	}
	if t := ast.OutputType(); t != types.BoolType && t != types.DynType {
		return nil, fmt.Errorf("expression output type mismatch: expected bool, got %s", t)
	}
	program, err := env.Program(ast, cel.CostLimit(maxCost), cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		return nil, fmt.Errorf("prepare the expression: %w", err)
	}
	return &Condition{program: program}, nil
}

// Holds evaluates the condition for the values of its variables.
func (c *Condition) Holds(values map[string]any) (bool, error) {
	out, _, err := c.program.Eval(values)
	if err != nil {
		return false, fmt.Errorf("failed to evaluate the expression: %w", err)
	}
	result, ok := out.Value().(bool)
	if !ok {
		return false, errors.New("the expression is neither true nor false")
	}
	return result, nil
}
