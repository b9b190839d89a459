package report

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/pmezard/go-difflib/difflib"
	"sigs.k8s.io/yaml"

	"headway.dev/syncer/wire"
)

const (
	// maxInline bounds two values that are shown on one line, in bytes.
	maxInline = 120
	// maxLine bounds a line of a value, in characters.
	maxLine = 200
	// maxCompared bounds the lines of values that are compared line by line.
	maxCompared = 5000
	// around is how many equal lines are shown beside those that differ.
	around = 3
)

// inline is a change that fits on one line; ok is false for one that does not.
func inline(f wire.Field) (text string, ok bool) {
	was, is := planValue(f.Old), planValue(f.New)
	if len(was)+len(is) > maxInline || strings.Contains(was+is, "\n") {
		return "", false
	}
	return printable(was) + " → " + printable(is), true
}

// fieldLines is a change line by line, in at most so many: those that go begin
// with -, those that come with +, and what is beside them with a space.
func fieldLines(f wire.Field, most int) []string {
	if f.Old == nil {
		return bounded(marked("+", valueLines(f.New)), most)
	}
	if f.New == nil {
		return bounded(marked("-", valueLines(f.Old)), most)
	}
	was, is := valueLines(f.Old), valueLines(f.New)
	if len(was) > maxCompared || len(is) > maxCompared {
		return []string{fmt.Sprintf("- %d lines", len(was)), fmt.Sprintf("+ %d lines, too many to compare", len(is))}
	}
	var lines []string
	for i, group := range difflib.NewMatcher(was, is).GetGroupedOpCodes(around) {
		if i > 0 || group[0].I1 > 0 {
			lines = append(lines, fmt.Sprintf("  … line %d", group[0].J1+1))
		}
		for _, op := range group {
			goes, comes := was[op.I1:op.I2], is[op.J1:op.J2]
			if op.Tag == 'e' {
				lines = append(lines, marked(" ", comes)...)
				continue
			}
			if len(goes) == len(comes) {
				goes, comes = aroundDifference(goes, comes)
			}
			lines = append(append(lines, marked("-", goes)...), marked("+", comes)...)
		}
	}
	return bounded(lines, most)
}

// objectLines is an object's manifest, in at most so many lines.
func objectLines(object map[string]any, most int) []string {
	if object == nil {
		return nil
	}
	return bounded(valueLines(object), most)
}

// valueLines is a value as a person writes it: text as it is, the rest as YAML.
func valueLines(value any) []string {
	text, ok := value.(string)
	if !ok {
		data, err := yaml.Marshal(value)
		if err != nil {
			data = fmt.Append(nil, value)
		}
		text = string(data)
	}
	return strings.Split(strings.TrimSuffix(text, "\n"), "\n")
}

func marked(mark string, lines []string) []string {
	out := make([]string, len(lines))
	for i, line := range lines {
		out[i] = strings.TrimRight(mark+" "+cutLine(printable(line), 0), " ")
	}
	return out
}

func bounded(lines []string, most int) []string {
	if len(lines) <= most {
		return lines
	}
	return append(lines[:most:most], fmt.Sprintf("  … %d more lines: -o json has all", len(lines)-most))
}

// aroundDifference cuts long lines, pair by pair, so that what differs is seen.
func aroundDifference(was, is []string) (a, b []string) {
	for i := range was {
		equal := 0
		x, y := []rune(was[i]), []rune(is[i])
		for equal < len(x) && equal < len(y) && x[equal] == y[equal] {
			equal++
		}
		from := 0
		if max(len(x), len(y)) > maxLine {
			from = max(0, equal-maxLine/4)
		}
		a, b = append(a, cutLine(was[i], from)), append(b, cutLine(is[i], from))
	}
	return a, b
}

// cutLine is the part of a long line that begins at a character.
func cutLine(line string, from int) string {
	if from == 0 && utf8.RuneCountInString(line) <= maxLine+1 {
		return line
	}
	runes := []rune(line)
	from = min(from, len(runes))
	part := string(runes[from:min(len(runes), from+maxLine)])
	if from > 0 {
		part = "…" + part
	}
	if from+maxLine < len(runes) {
		part += "…"
	}
	return part
}

// planValue is a value in a word.
func planValue(value any) string {
	if value == nil {
		return "(none)"
	}
	if text, ok := value.(string); ok {
		if text == "" {
			return `""`
		}
		return text
	}
	data, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprint(value)
	}
	return string(data)
}
