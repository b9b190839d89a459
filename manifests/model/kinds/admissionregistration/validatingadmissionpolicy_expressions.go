package admissionregistration

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	plugincel "k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/matchconditions"
	"k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/environment"

	"headway.dev/manifests/model/rule"
)

// mostConditions is how many match conditions there may be.
const mostConditions = 64

// expressions are those of an object that is stored: they are read as the version
// that stored them did, so that they stay valid.
type expressions map[string]bool

func (e expressions) conditions(list []admissionregistrationv1.MatchCondition) {
	for _, c := range list {
		e[strings.TrimSpace(c.Expression)] = true
	}
}

// env is the language in which an expression is read.
func (e expressions) env(expression string) environment.Type {
	if e[expression] {
		return environment.StoredExpressions
	}
	return environment.NewExpressions
}

// stateless compiles expressions that have no variables of their policy.
var stateless = sync.OnceValue(func() plugincel.Compiler {
	return plugincel.NewCompiler(environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion()))
})

// composed returns a compiler that knows the variables of one policy once they
// have been compiled.
func composed() (*plugincel.CompositedCompiler, error) {
	return plugincel.NewCompositedCompiler(environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion()))
}

// compile returns what is wrong with an expression.
func compile(c plugincel.Compiler, e plugincel.ExpressionAccessor, options plugincel.OptionalVariableDeclarations, stored expressions, at *field.Path) field.ErrorList {
	return expressionFault(c.CompileCELExpression(e, options, stored.env(e.GetExpression())).Error, e.GetExpression(), at)
}

func expressionFault(err *cel.Error, expression string, at *field.Path) field.ErrorList {
	if err == nil {
		return nil
	}
	switch err.Type {
	case cel.ErrorTypeRequired:
		return field.ErrorList{field.Required(at, err.Detail)}
	case cel.ErrorTypeInvalid:
		return field.ErrorList{field.Invalid(at, expression, err.Detail)}
	case cel.ErrorTypeInternal:
		return field.ErrorList{field.InternalError(at, err)}
	}
	return field.ErrorList{field.InternalError(at, fmt.Errorf("unsupported error type: %w", err))}
}

func validateConditions(list []admissionregistrationv1.MatchCondition, params bool, stored expressions, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(list) > mostConditions {
		errs = append(errs, field.TooMany(path, len(list), mostConditions))
		list = list[:mostConditions] // to compile the others would cost whoever reads them
	}
	names := map[string]bool{}
	for i, c := range list {
		at := path.Index(i)
		if expression := strings.TrimSpace(c.Expression); expression == "" {
			errs = append(errs, field.Required(at.Child("expression"), ""))
		} else {
			errs = append(errs, compile(stateless(), &matchconditions.MatchCondition{Expression: expression},
				plugincel.OptionalVariableDeclarations{HasParams: params, HasAuthorizer: true}, stored, at.Child("expression"))...)
		}
		if c.Name == "" {
			errs = append(errs, field.Required(at.Child("name"), ""))
			continue
		}
		errs = append(errs, rule.Invalid(at.Child("name"), c.Name, validation.IsQualifiedName(c.Name))...)
		errs = append(errs, rule.Unique(names, c.Name, at.Child("name"))...)
	}
	return errs
}

var (
	identifier = regexp.MustCompile("^[_a-zA-Z][_a-zA-Z0-9]*$")
	reserved   = []string{
		"true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import", "let",
		"loop", "package", "namespace", "return", "var", "void", "while",
	}
)

// validateVariables compiles the variables of a policy into a compiler.
func validateVariables(c *plugincel.CompositedCompiler, list []admissionregistrationv1.Variable, params bool, stored expressions, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, v := range list {
		at := path.Index(i)
		if strings.TrimSpace(v.Name) == "" {
			errs = append(errs, field.Required(at.Child("name"), "name is not specified"))
		} else if !identifier.MatchString(v.Name) || slices.Contains(reserved, v.Name) {
			errs = append(errs, field.Invalid(at.Child("name"), v.Name, "name is not a valid CEL identifier"))
		}
		if strings.TrimSpace(v.Expression) == "" {
			errs = append(errs, field.Required(at.Child("expression"), "expression is not specified"))
			continue
		}
		result := c.CompileAndStoreVariable(&validating.Variable{Name: v.Name, Expression: v.Expression},
			plugincel.OptionalVariableDeclarations{HasParams: params, HasAuthorizer: true}, stored.env(v.Expression))
		errs = append(errs, expressionFault(result.Error, v.Expression, at.Child("expression"))...)
	}
	return errs
}

func validateParamKind(p *admissionregistrationv1.ParamKind, path *field.Path) field.ErrorList {
	if p == nil {
		return nil
	}
	var errs field.ErrorList
	at := path.Child("apiVersion")
	if gv, err := schema.ParseGroupVersion(p.APIVersion); p.APIVersion == "" {
		errs = append(errs, field.Required(at, ""))
	} else if err != nil {
		errs = append(errs, field.Invalid(at, p.APIVersion, err.Error()))
	} else {
		if msgs := validation.IsDNS1123Subdomain(gv.Group); gv.Group != "" && len(msgs) > 0 {
			errs = append(errs, field.Invalid(at, gv.Group, strings.Join(msgs, ",")))
		}
		if msgs := validation.IsDNS1035Label(gv.Version); gv.Version == "" {
			errs = append(errs, field.Invalid(at, p.APIVersion, "version must be specified"))
		} else if len(msgs) > 0 {
			errs = append(errs, field.Invalid(at, gv.Version, strings.Join(msgs, ",")))
		}
	}
	if msgs := validation.IsDNS1035Label(strings.ToLower(p.Kind)); p.Kind == "" {
		errs = append(errs, field.Required(path.Child("kind"), ""))
	} else if len(msgs) > 0 {
		errs = append(errs, field.Invalid(path.Child("kind"), p.Kind, "may have mixed case, but should otherwise match: "+strings.Join(msgs, ",")))
	}
	return errs
}

// errCompiler tells that CEL itself does not work.
func errCompiler(err error) field.ErrorList {
	return field.ErrorList{field.InternalError(specPath, errors.Join(errors.New("failed to initialize CEL compiler"), err))}
}
