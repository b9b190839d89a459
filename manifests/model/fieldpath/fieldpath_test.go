package fieldpath_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"headway.dev/manifests/model/fieldpath"
)

func TestParse(t *testing.T) {
	got := fieldpath.Parse(`spec.ports[port=53,protocol=UDP].name[0]["a.b/c"].x[`)
	want := []fieldpath.Segment{{"spec", false}, {"ports", false}, {"port=53,protocol=UDP", true}, {"name", false}, {"0", true}, {"a.b/c", true}, {"x", false}}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// What Join wrote, Parse reads.
func TestJoin(t *testing.T) {
	path := ""
	keys := []string{"metadata", "annotations", "example.com/key", "plain", "", "with space"}
	for _, k := range keys {
		path = fieldpath.Join(path, k)
	}
	if want := "metadata.annotations[example.com/key].plain[][with space]"; path != want {
		t.Errorf("Join = %q, want %q", path, want)
	}
	var got []string
	for _, s := range fieldpath.Parse(path) {
		got = append(got, s.Text)
	}
	if d := cmp.Diff(keys, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
