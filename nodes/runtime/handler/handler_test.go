package handler_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"headway.dev/nodes/runtime/handler"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]string{
		"kata=io.containerd.kata.v2":     "",
		"runc=io.containerd.runc.v1":     "",
		"kata":                           "want NAME=RUNTIME",
		"kata=":                          "want NAME=RUNTIME",
		"kata=/usr/bin/kata-runtime":     "want NAME=RUNTIME",
		"kata=io..v2":                    "want NAME=RUNTIME",
		"Kata=io.containerd.kata.v2":     "a lowercase RFC 1123 label",
		"=io.containerd.kata.v2":         "a lowercase RFC 1123 label",
		"k=io.a.b.v2,k=io.containerd.v2": "is given twice",
	} {
		_, err := handler.Parse(strings.Split(text, ","))
		if got := ""; err != nil {
			if got = err.Error(); want == "" || !strings.Contains(got, want) {
				t.Errorf("Parse(%q) = %q, want %q", text, got, want)
			}
		} else if want != "" {
			t.Errorf("Parse(%q) succeeds, want %q", text, want)
		}
	}
}

// A handler is what is configured; runc and the empty one always are.
func TestFind(t *testing.T) {
	set, err := handler.Parse([]string{"kata=io.containerd.kata.v2", "old=io.containerd.runc.v1"})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"", "kata", "old", "runc"}, set.Names()); d != "" {
		t.Errorf("names (-want +got):\n%s", d)
	}
	for name, want := range map[string]struct {
		runtime string
		options bool
	}{
		"": {"io.containerd.runc.v2", true}, "runc": {"io.containerd.runc.v2", true},
		"old": {"io.containerd.runc.v1", true}, "kata": {"io.containerd.kata.v2", false},
	} {
		got, err := set.Find(name, "/run/x")
		if err != nil || got.Name != want.runtime || (got.Options != nil) != want.options {
			t.Errorf("Find(%q) = %+v, %v; want %+v", name, got, err, want)
		}
	}
	if _, err := set.Find("gvisor", ""); err == nil || err.Error() != `failed to get sandbox runtime: no runtime for "gvisor" is configured` {
		t.Errorf("an unknown handler: %v", err)
	}
}
