package tokenfile_test

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"headway.dev/engine/api/tokenfile"
)

func write(t *testing.T, path, content string, mode os.FileMode) {
	t.Helper()
	next := path + ".next"
	if err := os.WriteFile(next, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, path); err != nil {
		t.Fatal(err)
	}
}

// Each line is a user; what changes in the file counts at once, and a broken
// file changes nothing.
func TestUsers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.csv")
	write(t, path, "aaa,ada,1,\"system:masters,team\"\nbbb,bob,2\n,nobody,3\nccc,old,4\nccc,carol,5,team\n", 0o600)
	var log bytes.Buffer
	f, err := tokenfile.Open(path, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	type who struct {
		Name, UID string
		Groups    []string
	}
	check := func(want map[string]who) {
		t.Helper()
		got := map[string]who{}
		for _, token := range []string{"", "aaa", "aa", "aaaa", "bbb", "ccc", "ddd"} {
			if info, ok := f.User(token); ok {
				got[token] = who{info.GetName(), info.GetUID(), info.GetGroups()}
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("users (-want +got):\n%s", diff)
		}
	}
	check(map[string]who{
		"aaa": {"ada", "1", []string{"system:masters", "team"}},
		"bbb": {"bob", "2", nil},
		"ccc": {"carol", "5", []string{"team"}},
	})

	write(t, path, "ddd,dan,1\n", 0o600)
	changed := map[string]who{"ddd": {"dan", "1", nil}}
	check(changed)
	for _, broken := range []struct {
		content string
		mode    os.FileMode
		want    string
	}{
		{"aaa,ada\n", 0o600, "line 1 must have at least 3 columns"},
		{"aaa,,1\n", 0o600, "line 1 has no user name"},
		{"aaa,\"ada,1\n", 0o600, "parse error"},
		{"aaa,ada,1\n", 0o640, "chmod 600"},
		{"aaa,ada,1\n", 0o604, "chmod 600"},
		{strings.Repeat("x", 1<<20+1), 0o600, "larger than"},
	} {
		log.Reset()
		write(t, path, broken.content, broken.mode)
		check(changed)
		if got := log.String(); strings.Count(got, "Token file not read") != 1 || !strings.Contains(got, broken.want) || strings.Contains(got, "aaa") {
			t.Errorf("log has %s, want %q once and no token", got, broken.want)
		}
		if _, err := tokenfile.Open(path, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), broken.want) {
			t.Errorf("open: got %v, want %q", err, broken.want)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	check(changed)
	write(t, path, "", 0o600)
	check(map[string]who{})
}
