package gateway_test

import (
	"strings"
	"testing"

	"headway.dev/manifests/gateway"
)

// Expressions match whole texts, and none costs more than a bounded amount of memory and
// time, however short it is.
func TestExpression(t *testing.T) {
	for text, refused := range map[string]string{
		`/shop/[a-z0-9-]{1,63}(/.*)?`:                "",
		`v[0-9]+\.[0-9]+|latest`:                     "",
		`/\p{L}+/\p{L}+/[\p{L}\p{N}]{1,63}`:          "",
		"(?:" + strings.Repeat("a", 900) + "){1000}": "repeats too much",
		`((a{30}){30}){30}`:                          "repeat", // of RE2 or of ours
		`a)|(?:b`:                                    "none of RE2",
		`(?=a)`:                                      "none of RE2",
	} {
		_, err := gateway.Expression(text)
		if refused == "" && err != nil || refused != "" && (err == nil || !strings.Contains(err.Error(), refused)) {
			t.Errorf("%.40s: %v, want %q", text, err, refused)
		}
	}
	if re, err := gateway.Expression("a|b"); err != nil || re.MatchString("ab") || !re.MatchString("b") {
		t.Errorf("a|b matches other texts, or not b: %v", err)
	}
}
