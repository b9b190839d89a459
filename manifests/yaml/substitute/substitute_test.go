package substitute_test

import (
	"strings"
	"testing"
	"time"

	"headway.dev/manifests/yaml/substitute"
)

func vars(t *testing.T) *substitute.Vars {
	t.Helper()
	v := substitute.New()
	for name, value := range map[string]string{"name": "podinfo", "path": "a/b/c.yaml", "empty": "", "lines": "one\ntwo\n", "n": "5"} {
		if err := v.Set(name, value, false); err != nil {
			t.Fatal(err)
		}
	}
	if err := v.Set("password", "hunter2hunter2", true); err != nil {
		t.Fatal(err)
	}
	return v
}

// The functions that Flux documents.
func TestFunctions(t *testing.T) {
	for text, want := range map[string]string{
		"a ${name} b":             "a podinfo b",
		"$name":                   "$name",
		"$${name}":                "${name}",
		"${unset:=default}":       "default",
		"${unset:-default}":       "default",
		"${name:=default}":        "podinfo",
		"${empty:-default}":       "default",
		"${unset:=${name}}":       "podinfo",
		"${name:3}":               "info",
		"${name:0:3}":             "pod",
		"${name/info/test}":       "podtest",
		"${name//o/0}":            "p0dinf0",
		"${name/#pod/x}":          "xinfo",
		"${name/%info/x}":         "podx",
		"${name^}":                "Podinfo",
		"${name^^}":               "PODINFO",
		"${name,,}":               "podinfo",
		"${#name}":                "7",
		"${path##*/}":             "c.yaml",
		"${path#*/}":              "b/c.yaml",
		"${path%.*}":              "a/b/c",
		"${lines}":                "onetwo",
		"cost: $5, ${n} and 100$": "cost: $5, 5 and 100$",
	} {
		if got, _, err := vars(t).Eval(text, false); err != nil || got != want {
			t.Errorf("Eval(%q) = %q, %v; want %q", text, got, err, want)
		}
	}
}

func TestSecretVariables(t *testing.T) {
	v := vars(t)
	for text, want := range map[string]bool{"${name}": false, "${password}": true, "${unset:=${password}}": true, "${password:0:3}": true} {
		if _, got, err := v.Eval(text, false); err != nil || got != want {
			t.Errorf("Eval(%q) says secret %v, %v; want %v", text, got, err, want)
		}
		got, _, err := v.Eval(text, true)
		if err != nil || strings.Contains(got, "hun") {
			t.Errorf("Eval(%q) with placeholders = %q, %v", text, got, err)
		}
	}
}

func TestNames(t *testing.T) {
	for _, name := range []string{"", "a-b", "1a", "a.b", "a b", "ä!"} {
		err := substitute.New().Set(name, "x", false)
		if err == nil || !strings.Contains(err.Error(), "var name is invalid, must match '^[_[:alpha:]][_[:alpha:][:digit:]]*$'") {
			t.Errorf("Set(%q) = %v", name, err)
		}
	}
}

// Small texts that would make large ones, or much work, are refused at once.
func TestBounds(t *testing.T) {
	big := substitute.New()
	for name, value := range map[string]string{"a": strings.Repeat("a", 1<<20), "b": "x"} {
		if err := big.Set(name, value, false); err != nil {
			t.Fatal(err)
		}
	}
	start := time.Now()
	for name, text := range map[string]string{
		"many":          strings.Repeat("${a}", 10),
		"replace":       "${a//a/" + strings.Repeat("b", 100) + "}",
		"empty pattern": "${a//" + "" + "/" + strings.Repeat("b", 100) + "}",
		"pattern":       "${a##*b*b*b}",
		"too many":      strings.Repeat("${b}", 30_000),
		"nested":        strings.Repeat("${c:-", 30_000) + strings.Repeat("}", 30_000),
		"overflow":      "${b:1:9223372036854775807}",
		"not closed":    "${b",
		"no name":       "${}",
	} {
		if out, _, err := big.Eval(text, false); err == nil && len(out) > 8<<20 {
			t.Errorf("%s: %d bytes came out", name, len(out))
		} else if err == nil && name != "overflow" {
			t.Errorf("%s: no error", name)
		}
	}
	if took := time.Since(start); took > time.Minute {
		t.Errorf("took %v", took)
	}
}

func TestID(t *testing.T) {
	a, b := substitute.New(), substitute.New()
	for _, v := range []*substitute.Vars{a, b} {
		if err := v.Set("x", "1", false); err != nil {
			t.Fatal(err)
		}
	}
	if a.ID() != b.ID() {
		t.Error("equal variables, different IDs")
	}
	if err := b.Set("x", "2", false); err != nil {
		t.Fatal(err)
	}
	if a.ID() == b.ID() {
		t.Error("different values, equal IDs")
	}
}

// A variable that is not set is refused unless the text says what stands in its
// place, in kustomize-controller's words.
func TestUnset(t *testing.T) {
	for _, text := range []string{"${unset}", "a ${unset} b", "${unset^^}", "${#unset}", "${unset/a/b}", "${unset##*/}"} {
		want := `variable substitution failed: variable not set (strict mode): "unset"`
		if got, _, err := vars(t).Eval(text, false); err == nil || err.Error() != want {
			t.Errorf("Eval(%q) = %q, %v; want %s", text, got, err, want)
		}
	}
	for text, want := range map[string]string{"${unset:=}": "", "${unset:-x}": "x", "$${unset}": "${unset}", "${empty}": ""} {
		if got, _, err := vars(t).Eval(text, false); err != nil || got != want {
			t.Errorf("Eval(%q) = %q, %v; want %q", text, got, err, want)
		}
	}
}
