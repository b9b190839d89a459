package main

import (
	"io"
	"regexp"
	"strings"
)

// paints are the sequences that a palette makes.
var paints = regexp.MustCompile("\x1b\\[(?:0|2|31|32|33)m")

// screen makes of text what a terminal only shows: what containers print, and
// people write into manifests, may hold sequences that move its cursor, hide
// lines or fill a clipboard, and comes along in messages. Line breaks, tabs and
// the colours of a palette stay.
func screen(text string) string {
	var b strings.Builder
	at := 0
	for _, paint := range append(paints.FindAllStringIndex(text, -1), []int{len(text), len(text)}) {
		for i, line := range strings.Split(text[at:paint[0]], "\n") {
			if i > 0 {
				b.WriteByte('\n')
			}
			b.WriteString(printable(line))
		}
		b.WriteString(text[paint[0]:paint[1]])
		at = paint[1]
	}
	return b.String()
}

// screened is a writer to which whole texts are written for a terminal.
type screened struct{ io.Writer }

// Write implements io.Writer.
func (s screened) Write(p []byte) (int, error) {
	if _, err := io.WriteString(s.Writer, screen(string(p))); err != nil {
		return 0, err
	}
	return len(p), nil
}
