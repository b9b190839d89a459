package up

import "testing"

// What names no host is refused.
func TestServingNamesAreChecked(t *testing.T) {
	for listen, sans := range map[string][]string{"localhost": nil, "localhost:1": {"two words"}, "127.0.0.1:1": {"under_score"}} {
		if _, err := servingNames(listen, sans); err == nil {
			t.Errorf("--listen %s --tls-san %s was accepted", listen, sans)
		}
	}
}
