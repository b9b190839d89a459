package object_test

import (
	"encoding/json"
	"math"
	"testing"

	"headway.dev/manifests/model/object"
)

// The bytes are those of json.Marshal, whatever is encoded.
func FuzzAppendJSON(f *testing.F) {
	for _, text := range []string{
		`{"b":[1,-2,3.5,1e30,true,false,null,"x"],"a":{"z":{},"":[]},"<&>\u2028\"\\\n":"ä<&>\u2028\u0000\ud800"}`, `"\ufffd"`, `[]`, `{}`, `null`, `0.1`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, value := range []any{text, map[string]any{text: text}} {
			check(t, value)
		}
		var value any
		if json.Unmarshal([]byte(text), &value) == nil {
			check(t, value)
		}
	})
}

// Values that no decoder makes are encoded as well, and what has no JSON is an error.
func TestAppendJSON(t *testing.T) {
	t.Parallel()
	for _, value := range []any{
		int64(math.MinInt64), int32(7), map[string]any(nil), []any(nil),
		[]string{"a"},
		map[string]string{"b": "c"},
		json.Number("12.50"),
		map[string]any{"d": map[string]any{"c": []any{map[string]any{"b": int64(1), "a": nil}}}},
	} {
		check(t, value)
	}
	for _, value := range []any{math.NaN(), []any{math.Inf(1)}, map[string]any{"a": func() {}}} {
		if data, err := object.AppendJSON(nil, value); err == nil {
			t.Errorf("%v was encoded as %s", value, data)
		}
	}
}

func check(t *testing.T, value any) {
	t.Helper()
	want, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	got, err := object.AppendJSON([]byte("before "), value)
	if err != nil || string(got) != "before "+string(want) {
		t.Errorf("%q (%v), want %q", got, err, want)
	}
}
