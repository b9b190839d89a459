package loadbalancer_test

import (
	"testing"

	"headway.dev/engine/controllers/loadbalancer"
)

func TestParsePool(t *testing.T) {
	for text, want := range map[string]string{
		"":                               "",
		"10.0.0.240-10.0.0.250":          "10.0.0.240-10.0.0.250",
		"10.1.0.0/28,\n 10.2.0.7":        "10.1.0.1-10.1.0.14 10.2.0.7-10.2.0.7",
		"10.1.0.4/31 10.1.0.9/32":        "10.1.0.4-10.1.0.5 10.1.0.9-10.1.0.9",
		"10.0.0.9-10.0.0.1":              "fault",
		"10.0.0.1/28":                    "fault",
		"10.0.0.0/8":                     "fault",
		"fd00::1":                        "fault",
		"fd00::/120":                     "fault",
		"fd00::1-fd00::2":                "fault",
		"10.0.0.240 to 10.0.0.250":       "fault",
		"10.0.0.1-10.0.0.2-10.0.0.3":     "fault",
		"10.0.0.1, 10.0.0.3,; 10.0.0.99": "fault",
	} {
		pool, err := loadbalancer.ParsePool(text)
		got := ""
		for i, r := range pool {
			if i > 0 {
				got += " "
			}
			got += r.First.String() + "-" + r.Last.String()
		}
		if err != nil {
			got = "fault"
		}
		if got != want {
			t.Errorf("%q: %s (%v), want %s", text, got, err, want)
		}
	}
}
