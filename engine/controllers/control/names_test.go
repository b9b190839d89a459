package control_test

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/validation"

	"headway.dev/engine/controllers/control"
)

// TestNames: wherever an owner's name is cut off, what is made of it is valid, not too
// long, and no shorter than it has to be.
func TestNames(t *testing.T) {
	for _, most := range []int{validation.DNS1123LabelMaxLength, validation.DNS1123SubdomainMaxLength} {
		for length := 1; length <= validation.DNS1123SubdomainMaxLength; length++ {
			for _, pattern := range []string{"a", "a.", ".a", "-a", "a--", "b.a-"} {
				owner := strings.Trim(strings.Repeat(pattern, length)[:length], ".-")
				if owner == "" {
					continue
				}
				for _, name := range []string{control.Ending(owner, "-5d4f8c7b9", most), control.Generated(owner)} {
					if wrong := validation.IsDNS1123Subdomain(name); len(wrong) > 0 || len(name) > most {
						t.Fatalf("of %s (%d characters) is made %s (%d): %v", owner, len(owner), name, len(name), wrong)
					}
				}
				if name := control.Ending(owner, "-5d4f8c7b9", most); len(name) < min(most-3, len(owner)+10) {
					t.Fatalf("of %s (%d characters) only %s is left", owner, len(owner), name)
				}
			}
		}
	}
	if got := control.Ending("web", "-abc", 63); got != "web-abc" {
		t.Errorf("a short name becomes %s", got)
	}
}
