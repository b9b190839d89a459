package resolv

import (
	"os"
	"path/filepath"
	"testing"
)

// The file is systemd-resolved's while /etc/resolv.conf names only its stub.
func TestChoose(t *testing.T) {
	dir := t.TempDir()
	etc, resolved := filepath.Join(dir, "etc"), filepath.Join(dir, "resolved")
	const behind = "nameserver 127.0.0.53\noptions edns0\n"
	for _, step := range []struct {
		name, etc, resolved, want string
	}{
		{"neither is there", "", "", etc},
		{"only the stub, and nothing behind it", behind, "", etc},
		{"the stub", behind, "nameserver 192.0.2.1\n", resolved},
		{"DHCP has written it", "nameserver 192.0.2.2\n", "nameserver 192.0.2.1\n", etc},
		{"the stub is one of two", behind + "nameserver 192.0.2.2\n", "nameserver 192.0.2.1\n", etc},
		{"no name servers", "search example.com\n", "nameserver 192.0.2.1\n", etc},
		{"the stub again", behind, "nameserver 192.0.2.1\n", resolved},
	} {
		for file, content := range map[string]string{etc: step.etc, resolved: step.resolved} {
			var err error
			if content == "" {
				_ = os.Remove(file)
			} else {
				err = os.WriteFile(file, []byte(content), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if got := choose(etc, resolved); got != step.want {
			t.Errorf("%s: %s, want %s", step.name, got, step.want)
		}
	}
	if got := File("/some/file"); got != "/some/file" {
		t.Errorf("a file that was named is %s", got)
	}
}
