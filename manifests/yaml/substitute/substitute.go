// Package substitute replaces ${variables} in manifests as Flux's
// postBuild.substitute does, with the functions of a shell that envsubst knows:
// ${var:=default}, ${var:position:length}, ${var/old/new}, ${var##prefix} and
// the like; $${var} stays ${var}.
//
// Texts and values are somebody's input, and some functions make much of
// little: the work and the size of what comes out are bounded.
package substitute

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/fluxcd/pkg/envsubst"
	"github.com/fluxcd/pkg/envsubst/parse"
)

const (
	// maxSize bounds a text before and after, in bytes.
	maxSize = 8 << 20
	// maxDollars bounds the expressions of a text: the parser nests for each.
	maxDollars = 20_000
	// maxWork bounds the comparisons of patterns (${var##pattern}).
	maxWork = 50_000_000
)

// pattern is that of the names that Flux accepts.
const pattern = "^[_[:alpha:]][_[:alpha:][:digit:]]*$"

var validName = regexp.MustCompile(pattern)

// Vars holds variables and their values. Create it with New and Set.
type Vars struct {
	values map[string]variable
	// partial says that there may be others; see Forget.
	partial bool
}

type variable struct {
	value, placeholder string
	secret             bool
}

// New returns an empty set of variables.
func New() *Vars { return &Vars{values: map[string]variable{}} }

// Set sets a variable, or replaces it. Eval knows a secret one as such. Line
// breaks are removed from the value, as Flux does.
func (v *Vars) Set(name, value string, secret bool) error {
	if !validName.MatchString(name) {
		return fmt.Errorf("'%s' var name is invalid, must match '%s'", name, pattern)
	}
	value = strings.ReplaceAll(value, "\n", "")
	v.values[name] = variable{value: value, placeholder: placeholder(value), secret: secret}
	return nil
}

// Forget marks all variables that are not set later as unknown, because the
// sources of some of them must not be read.
func (v *Vars) Forget() { v.values, v.partial = map[string]variable{}, true }

// Partial reports whether there may be variables that are unknown.
func (v *Vars) Partial() bool { return v.partial }

// Unknown reports whether a text uses, or may use, a variable whose value is
// unknown. A text that cannot be parsed fails in Eval, which reads no values
// for that.
func (v *Vars) Unknown(text string) bool {
	if !v.partial || len(text) > maxSize || strings.Count(text, "$") > maxDollars {
		return false
	}
	tree, err := parse.Parse(text)
	return err == nil && v.unknown(tree.Root)
}

func (v *Vars) unknown(n parse.Node) bool {
	switch n := n.(type) {
	case *parse.ListNode:
		return slices.ContainsFunc(n.Nodes, v.unknown)
	case *parse.FuncNode:
		_, known := v.values[n.Param]
		return !known || slices.ContainsFunc(n.Args, v.unknown)
	}
	return false
}

// placeholder stands for a secret value. It says nothing of it but what kind
// of scalar it is, so that it fits where the value does.
func placeholder(value string) string {
	switch _, err := strconv.ParseInt(value, 10, 64); {
	case value == "":
		return ""
	case err == nil && value != "4711":
		return "4711"
	case err == nil:
		return "1147"
	case value == "true":
		return "false"
	case value == "false":
		return "true"
	}
	return "aGlkZGVu"
}

// Len returns the number of variables.
func (v *Vars) Len() int { return len(v.values) }

// ID is different for different variables or values.
func (v *Vars) ID() string {
	h := sha256.New()
	fmt.Fprintf(h, "%t\n", v.partial)
	for _, name := range slices.Sorted(maps.Keys(v.values)) {
		fmt.Fprintf(h, "%q %q %t\n", name, v.values[name].value, v.values[name].secret)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Contains reports whether there may be anything to substitute in a text of YAML
// or JSON.
func Contains(text []byte) bool {
	return strings.Contains(string(text), "$") || strings.Contains(string(text), `\u0024`)
}

// Eval substitutes variables, and reports whether a secret one was used. If
// placeholders is set, secret variables have placeholders instead of their
// values. A variable that is not set and has no default is an error, as in
// kustomize-controller since 1.9.
func (v *Vars) Eval(text string, placeholders bool) (out string, secret bool, err error) {
	if len(text) > maxSize {
		return "", false, fmt.Errorf("a manifest with variables may have %d bytes at most", maxSize)
	}
	if strings.Count(text, "$") > maxDollars {
		return "", false, fmt.Errorf("a manifest may have %d variables at most", maxDollars)
	}
	value := func(name string) (string, bool) {
		x, set := v.values[name]
		secret = secret || x.secret
		if x.secret && placeholders {
			return x.placeholder, true
		}
		return x.value, set
	}
	defer func() {
		if recover() != nil { // the library does, for absurd positions
			err = errors.New("variable substitution failed: bad substitution")
		}
	}()
	tree, err := parse.Parse(text)
	if err != nil {
		return "", secret, fmt.Errorf("variable substitution failed: %w", err)
	}
	c := cost{value: value}
	if size := c.size(tree.Root); size > maxSize || c.work > maxWork {
		return "", secret, errors.New("variable substitution failed: the result is too large, or too much work")
	}
	out, err = envsubst.Eval(text, value)
	if err != nil {
		return "", secret, fmt.Errorf("variable substitution failed: %w", err)
	}
	return out, secret, nil
}

// cost says beforehand how large the result can be, and how much work.
type cost struct {
	value func(string) (string, bool)
	work  int
}

func (c *cost) size(n parse.Node) int {
	switch n := n.(type) {
	case *parse.TextNode:
		return len(n.Value)
	case *parse.ListNode:
		total := 0
		for _, child := range n.Nodes {
			total = min(total+c.size(child), maxSize+1)
		}
		return total
	case *parse.FuncNode:
		value, _ := c.value(n.Param)
		size, args := len(value), 0
		for _, arg := range n.Args {
			args = min(args+c.size(arg), maxSize+1)
		}
		switch n.Name {
		case "#", "##", "%", "%%":
			// Every beginning of the value is compared with the pattern, from
			// every place that a star may reach.
			c.work = min(c.work+size*size*(1+min(args, maxWork)), maxWork+1)
		case "//": // each byte may be replaced, and an empty pattern matches between them
			return min((size+1)*(args+1)+size, maxSize+1)
		}
		return size + args
	}
	return 0
}
