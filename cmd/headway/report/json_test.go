package report

import (
	"bytes"
	"testing"
)

// Each object carries the version, and stays what it was otherwise.
func TestJSONHasVersion(t *testing.T) {
	for _, c := range []struct {
		value any
		want  string
	}{
		{map[string]any{"a": 1}, `{"apiVersion":"cli.headway.dev/v1","a":1}`},
		{struct{}{}, `{"apiVersion":"cli.headway.dev/v1"}`},
		{[]map[string]any{{"a": 1}, {}}, `[{"apiVersion":"cli.headway.dev/v1","a":1},{"apiVersion":"cli.headway.dev/v1"}]`},
		{[]string(nil), `[]`},
	} {
		var out bytes.Buffer
		if err := PrintJSONLine(&out, c.value); err != nil || out.String() != c.want+"\n" {
			t.Errorf("%v: %s, %v; want %s", c.value, &out, err, c.want)
		}
	}
}
