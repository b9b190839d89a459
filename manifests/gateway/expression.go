package gateway

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
)

// mostExpression is how long an expression may be: what one is compiled to is a multiple.
const mostExpression = 1024

// expression tells of a regular expression that is none of RE2, whose matching takes time
// in proportion to the text.
func expression(where, text string, tell teller) {
	if len(text) > mostExpression {
		tell(where, fmt.Sprintf("a regular expression has %d characters at most", mostExpression))
		return
	}
	if _, err := Expression(text); err != nil {
		tell(where, err.Error())
	}
}

// mostInstructions bounds what an expression is compiled to: a repetition of repetitions
// takes tens of megabytes for some characters, and matching takes time in proportion to it.
const mostInstructions = 2000

// instructions is about how many instructions an expression is compiled to.
func instructions(re *syntax.Regexp) int64 {
	n := int64(1)
	if re.Op == syntax.OpLiteral { // of a class the runes are shared
		n = int64(max(1, len(re.Rune)))
	}
	for _, s := range re.Sub {
		n += instructions(s)
	}
	if re.Op == syntax.OpRepeat {
		n *= int64(max(re.Max, re.Min, 1))
	}
	return n
}

// Expression compiles a regular expression, which has to match the whole of a text.
func Expression(text string) (*regexp.Regexp, error) {
	parsed, err := syntax.Parse(text, syntax.Perl) // alone: what is put around it is no part of it
	if err == nil && instructions(parsed) > mostInstructions {
		return nil, errors.New("the regular expression repeats too much")
	}
	var re *regexp.Regexp
	if err == nil {
		re, err = regexp.Compile("^(?:" + text + ")$")
	}
	if err != nil {
		return nil, fmt.Errorf("the regular expression is none of RE2: %w", err)
	}
	return re, nil
}
