package runc

import (
	"slices"
	"testing"
)

func TestOpenEscapes(t *testing.T) {
	of2025 := []string{"CVE-2025-31133", "CVE-2025-52565", "CVE-2025-52881"}
	all := append([]string{"CVE-2024-21626"}, of2025...)
	debian := "runc (1.1.5+ds1-1+deb12u1) bookworm-security; urgency=high\n  * CVE-2024-21626: several container breakouts\n"
	for _, test := range []struct {
		version, changelog string
		want               []string
	}{
		{"1.1.5+ds1", "", all},
		{"1.1.5+ds1", debian, of2025},
		{"1.1.5+ds1", debian + "CVE-2025-31133 CVE-2025-52565 CVE-2025-52881", nil},
		{"1.1.12", "", of2025},
		{"1.1.15", "", of2025},
		{"1.2.7", "", of2025},
		{"1.2.8", "", nil},
		{"1.2.9", "", nil},
		{"1.3.2", "", of2025},
		{"1.3.3", "", nil},
		{"1.3.3-rc.1", "", of2025},
		{"1.4.0", "", nil},
		{"1.0.3", "", all},
		{"2.0.0", "", nil},
		{"unknown", "", nil},
	} {
		if got := openEscapes(test.version, test.changelog); !slices.Equal(got, test.want) {
			t.Errorf("%s with changelog %q: %v, want %v", test.version, test.changelog, got, test.want)
		}
	}
}
