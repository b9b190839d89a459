package flux

import (
	"errors"
	"fmt"
	"strings"
	"time"
	_ "time/tzdata" // a machine need not have the zones' rules

	"github.com/robfig/cron/v3"
)

const (
	// maxFreeze bounds one window.
	maxFreeze = 366 * 24 * time.Hour
	// maxWindows and maxFreezeText bound an annotation, the latter in bytes.
	maxWindows    = 50
	maxFreezeText = 4096
)

// window is a time that comes again and again. Its start is reckoned as if the
// wall clock of zone showed UTC, where no hour is left out or comes twice.
type window struct {
	text  string
	start cron.Schedule
	lasts time.Duration
	zone  *time.Location
}

// Windows are the times of a freeze.
type Windows []window

// ParseWindows reads the value of [Freeze]; an empty one has no windows.
func ParseWindows(text string) (Windows, error) {
	if len(text) > maxFreezeText {
		return nil, fmt.Errorf("it is longer than %d bytes", maxFreezeText)
	}
	var list Windows
	for part := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == ';' || r == '\n' }) {
		if part = strings.Join(strings.Fields(part), " "); part == "" {
			continue
		}
		w, err := freezeWindow(part)
		if err != nil {
			return nil, fmt.Errorf("window %q: %w", part, err)
		}
		list = append(list, w)
	}
	if len(list) > maxWindows {
		return nil, fmt.Errorf("it has more than %d windows", maxWindows)
	}
	return list, nil
}

func freezeWindow(text string) (window, error) {
	w := window{text: text, zone: time.UTC}
	start, rest, ok := strings.Cut(text, " / ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 1 || len(fields) > 2 {
		return w, errors.New(`write it as "CRON / DURATION [TIME ZONE]", such as "0 18 * * FRI / 62h Europe/Berlin"`)
	}
	// The parser also takes a zone of its own and intervals without a begin.
	if strings.Contains(start, "TZ=") || strings.HasPrefix(start, "@every") {
		return w, errors.New("the start is five fields of cron; the time zone stands after the duration")
	}
	var err error
	if w.start, err = cron.ParseStandard(start); err != nil {
		return w, fmt.Errorf("start: %w", err)
	}
	if w.start.Next(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return w, errors.New("start: there is no such day")
	}
	if w.lasts, err = time.ParseDuration(fields[0]); err != nil {
		return w, fmt.Errorf("duration: %w", err)
	}
	if w.lasts < time.Minute || w.lasts > maxFreeze {
		return w, fmt.Errorf("duration: %s is not between 1m and %dh", fields[0], int(maxFreeze.Hours()))
	}
	if len(fields) == 2 {
		// Local would be the zone of whatever machine this runs on.
		if w.zone, err = time.LoadLocation(fields[1]); err != nil || w.zone == time.Local {
			return w, fmt.Errorf("time zone: %q is not known: use a name such as Europe/Berlin or UTC", fields[1])
		}
	}
	return w, nil
}

// wall is what the wall clock shows at t, as if it were UTC.
func (w window) wall(t time.Time) time.Time {
	t = t.In(w.zone)
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), time.UTC)
}

// end is when the window that t is in ends; false if it is in none.
func (w window) end(t time.Time) (time.Time, bool) {
	now := w.wall(t)
	start := w.start.Next(now.Add(-w.lasts))
	if start.IsZero() || start.After(now) {
		return time.Time{}, false
	}
	e := start.Add(w.lasts)
	until := time.Date(e.Year(), e.Month(), e.Day(), e.Hour(), e.Minute(), e.Second(), e.Nanosecond(), w.zone)
	if !until.After(t) {
		// When the clocks change the wall clock shows an hour twice, or one
		// that it is not yet past.
		until = t.Add(time.Minute)
	}
	return until, true
}

// At reports whether t is in one of the windows: it returns the end of the
// freeze, with windows that follow each other without a gap as one, and the
// window that t is in; a zero time if it is in none.
func (windows Windows) At(t time.Time) (until time.Time, in string) {
	const most = 100 // of windows in a row; the rest is reported when that is over
	for range most {
		last := until
		for _, w := range windows {
			at := t
			if !last.IsZero() {
				at = last
			}
			if end, ok := w.end(at); ok && end.After(until) {
				until = end
				if in == "" {
					in = w.text
				}
			}
		}
		if until.Equal(last) {
			break
		}
	}
	return until, in
}

// Next is when the next of the windows starts after t; zero: there is none.
func (windows Windows) Next(t time.Time) time.Time {
	var first time.Time
	for _, w := range windows {
		s := w.start.Next(w.wall(t))
		if s.IsZero() {
			continue
		}
		start := time.Date(s.Year(), s.Month(), s.Day(), s.Hour(), s.Minute(), s.Second(), 0, w.zone)
		if !start.After(t) {
			start = t.Add(time.Minute) // when the clocks change
		}
		if first.IsZero() || start.Before(first) {
			first = start
		}
	}
	return first
}
