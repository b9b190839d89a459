package edit_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	syaml "sigs.k8s.io/yaml"

	"headway.dev/manifests/yaml/edit"
)

// writer writes random YAML in all the ways that people write it, and
// remembers on which lines it wrote which field.
type writer struct {
	r     *rand.Rand
	lines []string
	// fields are the paths of the fields, with their first and last line.
	fields map[string][2]int
	paths  []string
	// values are the scalars by path.
	values map[string]any
	maps   []string // paths of the mappings in block style
}

func (w *writer) one(in int) bool { return w.r.IntN(in) == 0 }

func (w *writer) comment() {
	switch w.r.IntN(6) {
	case 0:
		w.lines = append(w.lines, strings.Repeat(" ", w.r.IntN(6))+"# a: comment, \"with\" 'signs' {and: more}")
	case 1:
		w.lines = append(w.lines, "")
	}
}

func (w *writer) trailing() string {
	return []string{"", "", "", " # why: {not}", "   #", " "}[w.r.IntN(6)]
}

var words = []string{"web", "a b", "x-1", "it's", `say "hi"`, "ä€😀", "true", "12", "1.5", "yes", "null", "~", "a: b", "a #b", "#c", "- d", "{e}", "[f", "*g", "&h", "!i", "%j", "@k", "trailing ", "", "0x1F", "1e3", "2024-01-01", "12:30:45", "\ttab", "back\\slash", "<<", "=", "a,b", "x: [y]", "|", ">", "?", "? z"}

// scalar is a random value and one of its forms.
func (w *writer) scalar() (any, string) {
	switch w.r.IntN(8) {
	case 0:
		n := w.r.IntN(1000) - 100
		return int64(n), strconv.Itoa(n)
	case 1:
		return w.one(2), ""
	case 2:
		return nil, "null"
	case 3:
		return 1.25, "1.25"
	}
	s := words[w.r.IntN(len(words))]
	return s, ""
}

func (w *writer) form(v any, flow bool) string {
	s, isString := v.(string)
	if !isString {
		raw, _ := json.Marshal(v)
		return string(raw)
	}
	quoted, _ := json.Marshal(s)
	forms := []string{string(quoted)}
	if !strings.ContainsAny(s, "\t\n") {
		forms = append(forms, "'"+strings.ReplaceAll(s, "'", "''")+"'")
	}
	plain := map[string]bool{"web": true, "x-1": true, "it's": true, "ä€😀": true, `say "hi"`: true, "a b": true, "a,b": !flow, "back\\slash": true}
	if plain[s] {
		forms = append(forms, s, s)
	}
	return forms[w.r.IntN(len(forms))]
}

func (w *writer) flow(depth int) (any, string) {
	switch {
	case depth > 0 && w.one(4):
		m, parts := map[string]any{}, []string{}
		for i := range w.r.IntN(4) {
			v, text := w.flow(depth - 1)
			m["f"+strconv.Itoa(i)] = v
			parts = append(parts, "f"+strconv.Itoa(i)+": "+text)
		}
		return m, "{" + strings.Join(parts, ", ") + "}"
	case depth > 0 && w.one(4):
		list, parts := []any{}, []string{}
		for range w.r.IntN(4) {
			v, text := w.flow(depth - 1)
			list, parts = append(list, v), append(parts, text)
		}
		return list, "[" + strings.Join(parts, ",  ") + "]"
	}
	v, text := w.scalar()
	if text == "" {
		text = w.form(v, true)
	}
	return v, text
}

// value writes a value behind "key:" or "-" and returns it.
func (w *writer) value(path, head string, indent, depth int) any {
	first := len(w.lines)
	defer func() {
		w.fields[path] = [2]int{first, len(w.lines) - 1}
		w.paths = append(w.paths, path)
	}()
	line := func(text string) { w.lines = append(w.lines, head+" "+text+w.trailing()) }
	switch {
	case depth > 0 && w.one(3):
		w.lines = append(w.lines, head+w.trailing())
		return w.mapping(path, indent+1+w.r.IntN(4), depth-1)
	case depth > 0 && w.one(3):
		w.lines = append(w.lines, head+w.trailing())
		pad := indent + w.r.IntN(3)
		if strings.HasSuffix(head, "-") {
			pad = indent + 1 + w.r.IntN(3)
		}
		list := []any{}
		for i := range 1 + w.r.IntN(3) {
			w.comment()
			list = append(list, w.value(path+"/"+strconv.Itoa(i), strings.Repeat(" ", pad)+"-", pad, depth-1))
		}
		return list
	case w.one(4):
		v, text := w.flow(2)
		line(text)
		return v
	case w.one(5):
		return w.block(path, head, indent)
	}
	v, text := w.scalar()
	if text == "" {
		text = w.form(v, false)
	}
	line(text)
	w.values[path] = v
	return v
}

func (w *writer) block(path, head string, indent int) any {
	chomp := []string{"", "-", "+"}[w.r.IntN(3)]
	w.lines = append(w.lines, head+" |"+chomp+[]string{"", "  # header"}[w.r.IntN(2)])
	pad := strings.Repeat(" ", indent+1+w.r.IntN(4))
	var lines []string
	for i := range 1 + w.r.IntN(4) {
		l := []string{"text: {x}", "# no comment", "  deeper", "", "'q"}[w.r.IntN(5)]
		if i == 0 {
			l = "first"
		}
		lines = append(lines, l)
		if l == "" {
			w.lines = append(w.lines, "")
		} else {
			w.lines = append(w.lines, pad+l)
		}
	}
	s := strings.Join(lines, "\n") + "\n"
	switch chomp {
	case "":
		s = strings.TrimRight(s, "\n") + "\n"
	case "-":
		s = strings.TrimRight(s, "\n")
	}
	// What follows must not be blank or indented, or it would belong to it.
	w.lines = append(w.lines, "# end")
	w.values[path] = s
	return s
}

func (w *writer) mapping(path string, indent, depth int) map[string]any {
	m := map[string]any{}
	w.maps = append(w.maps, path)
	for i := range 1 + w.r.IntN(4) {
		w.comment()
		key, text := fmt.Sprintf("k%d", i), ""
		switch text = key; w.r.IntN(6) {
		case 0:
			text = `"` + key + `"`
		case 1:
			text = "'" + key + "'"
		case 2:
			key = "äé/" + key
			text = key
		}
		m[key] = w.value(path+"/"+key, strings.Repeat(" ", indent)+text+[]string{":", ":", " :"}[w.r.IntN(3)], indent, depth)
	}
	return m
}

// document is a random document, its lines without line breaks.
func document(r *rand.Rand) (*writer, map[string]any) {
	w := &writer{r: r, fields: map[string][2]int{}, values: map[string]any{}}
	w.lines = append(w.lines, "apiVersion: v1", "kind: Test")
	m := w.mapping("", 0, 4)
	m["apiVersion"], m["kind"] = "v1", "Test"
	return w, m
}

// parent is the collection that holds the path's last step.
func parent(v any, path string) (any, string) {
	steps := strings.Split(path, "/")[1:]
	// Keys hold a slash as well.
	var joined []string
	for i := 0; i < len(steps); i++ {
		if strings.HasPrefix(steps[i], "äé") {
			joined = append(joined, steps[i]+"/"+steps[i+1])
			i++
			continue
		}
		joined = append(joined, steps[i])
	}
	for _, s := range joined[:len(joined)-1] {
		switch c := v.(type) {
		case map[string]any:
			v = c[s]
		case []any:
			i, _ := strconv.Atoi(s)
			v = c[i]
		}
	}
	return v, joined[len(joined)-1]
}

// For any YAML, an edit of one field makes it say exactly the old object with
// that field changed, and leaves all lines but the field's as they were.
func TestRandomEdits(t *testing.T) {
	runs := 400
	refused := 0
	for seed := range runs {
		r := rand.New(rand.NewPCG(uint64(seed), 1))
		if !randomEdit(t, r) {
			refused++
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	if refused > runs/100 {
		t.Errorf("%d of %d edits were refused", refused, runs)
	}
}

// randomEdit reports false if the edit was refused.
func randomEdit(t *testing.T, r *rand.Rand) bool {
	t.Helper()
	w, value := document(r)
	eol := []string{"\n", "\n", "\r\n"}[r.IntN(3)]
	text := strings.Join(w.lines, eol)
	if r.IntN(5) > 0 {
		text += eol
	}
	want, _, err := edit.Get("f.yaml", []byte(text), edit.ID{})
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if d := cmp.Diff(any(value), want); d != "" {
		t.Fatalf("the test wrote something else than it meant:\n%s\n%s", d, text)
	}
	var changed [2]int // lines that may change
	grows := false
	switch r.IntN(3) {
	case 0: // another scalar
		paths := slices.Sorted(func(yield func(string) bool) {
			for p := range w.values {
				if !yield(p) {
					return
				}
			}
		})
		if len(paths) == 0 {
			return true
		}
		path := paths[r.IntN(len(paths))]
		next, _ := w.scalar()
		if old, ok := w.values[path].(string); ok && strings.Contains(old, "\n") && r.IntN(2) == 0 {
			next = old + "more\n"
		}
		put(want, path, next)
		changed = w.fields[path]
	case 1: // a field less
		path := w.paths[r.IntN(len(w.paths))]
		c, last := parent(want, path)
		m, ok := c.(map[string]any)
		if !ok || len(m) == 1 {
			return true
		}
		delete(m, last)
		changed = w.fields[path]
	default: // a field more
		path := w.maps[r.IntN(len(w.maps))]
		c := want
		if path != "" {
			p, last := parent(want, path)
			c = child(p, last)
		}
		next, _ := w.flow(2)
		c.(map[string]any)["new"] = next
		grows = true
	}
	out, err := edit.Set("f.yaml", []byte(text), edit.ID{}, want)
	if err != nil {
		return false
	}
	var got any
	if err := syaml.Unmarshal(out, &got); err != nil {
		t.Errorf("%v\n%s", err, out)
		return true
	}
	if d := cmp.Diff(plainJSON(want), plainJSON(got)); d != "" {
		t.Errorf("the object is another (-want +got):\n%s\nbefore:\n%s\nafter:\n%s", d, text, out)
	}
	before, after := strings.SplitAfter(text, "\n"), strings.SplitAfter(string(out), "\n")
	head, tail := before[:changed[0]], before[min(len(before), changed[1]+1):]
	if grows {
		checkInserted(t, before, after, text, string(out))
		return true
	}
	if len(after) < len(head)+len(tail) || !slices.Equal(trimmed(head), trimmed(after[:len(head)])) || !slices.Equal(trimmed(tail), trimmed(after[len(after)-len(tail):])) {
		t.Errorf("other lines than %d to %d changed:\n%s\nbefore:\n%s\nafter:\n%s", changed[0]+1, changed[1]+1, cmp.Diff(before, after), text, out)
	}
	return true
}

// trimmed takes the line break from the last line, which may have got one.
func trimmed(lines []string) []string {
	out := slices.Clone(lines)
	if n := len(out); n > 0 {
		out[n-1] = strings.TrimRight(out[n-1], "\r\n")
	}
	return out
}

func checkInserted(t *testing.T, before, after []string, text, out string) {
	t.Helper()
	same := 0
	for same < min(len(before), len(after)) && strings.TrimRight(before[same], "\r\n") == strings.TrimRight(after[same], "\r\n") {
		same++
	}
	if rest := before[same:]; !slices.Equal(trimmed(rest), trimmed(after[len(after)-len(rest):])) {
		t.Errorf("a new field changed other lines:\n%s\nbefore:\n%s\nafter:\n%s", cmp.Diff(before, after), text, out)
	}
}

func child(c any, key string) any {
	if m, ok := c.(map[string]any); ok {
		return m[key]
	}
	i, _ := strconv.Atoi(key)
	return c.([]any)[i]
}

func put(v any, path string, next any) {
	c, last := parent(v, path)
	if m, ok := c.(map[string]any); ok {
		m[last] = next
		return
	}
	i, _ := strconv.Atoi(last)
	c.([]any)[i] = next
}

func plainJSON(v any) any {
	raw, _ := json.Marshal(v)
	var out any
	_ = json.Unmarshal(raw, &out)
	return out
}

// Whatever the file holds, an edit that is not refused says what was asked.
func FuzzSet(f *testing.F) {
	f.Add(web, "spec", "5")
	f.Add("apiVersion: v1\r\nkind: X\r\ndata: {a: [1, 'b']} # c\r\n", "data", "x: y")
	f.Add("a: |\n  b\n\n\n# c\nd: &x e\nf: *x\n", "a", "b\nc\n")
	f.Add("{\"a\": \"\\u00e9\"}", "a", "\u0085")
	f.Fuzz(func(t *testing.T, text, key, value string) {
		if len(text) > 4096 {
			return
		}
		want, _, err := edit.Get("f.yaml", []byte(text), edit.ID{})
		if err != nil {
			return
		}
		m, ok := want.(map[string]any)
		if !ok {
			return
		}
		m[key] = value
		out, err := edit.Set("f.yaml", []byte(text), edit.ID{}, want)
		if err != nil {
			return
		}
		got, _, err := edit.Get("f.yaml", out, edit.ID{})
		if err != nil {
			t.Fatalf("%v\n%q", err, out)
		}
		if d := cmp.Diff(plainJSON(want), plainJSON(got)); d != "" {
			t.Errorf("(-want +got):\n%s\nbefore %q\nafter %q", d, text, out)
		}
	})
}
