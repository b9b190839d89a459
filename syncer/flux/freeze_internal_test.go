package flux

import (
	"strings"
	"testing"
	"time"
)

func TestFreezeWindows(t *testing.T) {
	const weekend = "0 18 * * FRI / 62h Europe/Berlin"
	for name, tc := range map[string]struct{ freeze, at, until string }{
		"before it":                       {weekend, "2026-06-05T15:59:59Z", ""},
		"from its start on":               {weekend, "2026-06-05T16:00:00Z", "2026-06-08T06:00:00Z"},
		"in the middle":                   {weekend, "2026-06-07T00:00:00Z", "2026-06-08T06:00:00Z"},
		"until its end":                   {weekend, "2026-06-08T05:59:59Z", "2026-06-08T06:00:00Z"},
		"at its end":                      {weekend, "2026-06-08T06:00:00Z", ""},
		"in winter":                       {weekend, "2026-01-09T17:00:00Z", "2026-01-12T07:00:00Z"},
		"clocks go forward in it":         {weekend, "2026-03-28T12:00:00Z", "2026-03-30T06:00:00Z"},
		"clocks go back in it":            {weekend, "2026-10-24T12:00:00Z", "2026-10-26T07:00:00Z"},
		"starts in the hour left out":     {"30 2 * * * / 4h Europe/Berlin", "2026-03-29T02:00:00Z", "2026-03-29T04:30:00Z"},
		"ends in the hour left out":       {"0 0 * * * / 150m Europe/Berlin", "2026-03-29T00:50:00Z", "2026-03-29T01:30:00Z"},
		"has ended in the hour left out":  {"0 0 * * * / 150m Europe/Berlin", "2026-03-29T01:00:00Z", ""},
		"the hour that comes twice":       {"30 2 * * * / 20m Europe/Berlin", "2026-10-25T00:35:00Z", "2026-10-25T01:50:00Z"},
		"the hour that comes twice again": {"30 2 * * * / 20m Europe/Berlin", "2026-10-25T01:35:00Z", "2026-10-25T01:50:00Z"},
		"no zone is UTC":                  {"0 9 24 12 * / 48h", "2026-12-25T00:00:00Z", "2026-12-26T09:00:00Z"},
		"several":                         {"0 9 * * * / 1h; " + weekend + "\n0 0 1 1 * / 24h UTC", "2026-01-01T10:00:00Z", "2026-01-02T00:00:00Z"},
		"one after the other":             {"0 9 * * * / 1h;0 10 * * * / 1h", "2026-01-01T09:30:00Z", "2026-01-01T11:00:00Z"},
		"one over the other":              {"0 9 * * * / 3h;0 10 * * * / 1h", "2026-01-01T10:30:00Z", "2026-01-01T12:00:00Z"},
		"half an hour off":                {"0 18 * * * / 1h Asia/Kolkata", "2026-01-01T12:30:00Z", "2026-01-01T13:30:00Z"},
		"none":                            {" ; \n", "2026-01-01T12:30:00Z", ""},
	} {
		windows, err := ParseWindows(tc.freeze)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		at, _ := time.Parse(time.RFC3339, tc.at)
		until, in := windows.At(at)
		got := ""
		if !until.IsZero() {
			got = until.UTC().Format(time.RFC3339)
		}
		if got != tc.until {
			t.Errorf("%s: frozen until %q by %q, want %q", name, got, in, tc.until)
		}
	}
	// Always frozen, and still an answer.
	windows, err := ParseWindows("* * * * * / 8784h")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	if until, _ := windows.At(now); !until.After(now) {
		t.Errorf("frozen until %s, which is past", until)
	}
}

// A freeze is never until a moment that is past: the timer would spin.
func TestFreezeEndsLater(t *testing.T) {
	for _, text := range []string{"30 2 * * * / 20m Europe/Berlin", "0 0 * * * / 150m Europe/Berlin", "15 * * * * / 30m America/St_Johns", "0 22 * * * / 5h Australia/Lord_Howe"} {
		windows, err := ParseWindows(text)
		if err != nil {
			t.Fatal(err)
		}
		for _, day := range []string{"2026-03-08", "2026-03-29", "2026-04-05", "2026-10-04", "2026-10-25", "2026-11-01"} {
			begin, _ := time.Parse(time.DateOnly, day)
			for m := range 36 * 60 {
				at := begin.Add(time.Duration(m) * time.Minute)
				if until, _ := windows.At(at); !until.IsZero() && !until.After(at) {
					t.Fatalf("%s: at %s frozen until %s", text, at, until)
				}
			}
		}
	}
}

func TestFreezeFaults(t *testing.T) {
	for text, want := range map[string]string{
		"0 18 * * FRI":                        "write it as",
		"0 18 * * FRI / ":                     "write it as",
		"0 18 * * FRI / 62h Europe Berlin":    "write it as",
		"0 18 * * / 62h":                      "expected exactly 5 fields",
		"0 25 * * FRI / 62h":                  "above maximum",
		"0 18 30 2 * / 62h":                   "no such day",
		"0 18 * * FRI / 62":                   "duration",
		"0 18 * * FRI / 10s":                  "not between",
		"0 18 * * FRI / 9000h":                "not between",
		"0 18 * * FRI / 62h Mars/Olympus":     "time zone",
		"0 18 * * FRI / 62h Local":            "time zone",
		"0 18 * * FRI / 62h ../etc/passwd":    "time zone",
		"TZ=UTC 0 18 * * FRI / 62h":           "five fields",
		"@every 1h / 62h":                     "five fields",
		"0 9 * * * / 1h;nonsense":             `window "nonsense"`,
		strings.Repeat("0 9 * * * / 1h;", 51): "more than 50",
		strings.Repeat(" ", 5000):             "longer than",
	} {
		if _, err := ParseWindows(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: error %v, want one with %q", text, err, want)
		}
	}
}

func FuzzFreeze(f *testing.F) {
	f.Add("0 18 * * FRI / 62h Europe/Berlin;@daily / 1h", int64(1780000000))
	f.Fuzz(func(t *testing.T, text string, unix int64) {
		windows, err := ParseWindows(text)
		if err != nil {
			return
		}
		at := time.Unix(unix%(1<<33), 0)
		if until, in := windows.At(at); !until.IsZero() && (in == "" || !until.After(at)) {
			t.Errorf("%q at %s: until %s by %q", text, at, until, in)
		}
	})
}
