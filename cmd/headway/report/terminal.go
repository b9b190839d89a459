package report

import (
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"text/tabwriter"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"
)

// paints are the sequences that a palette makes.
var paints = regexp.MustCompile("\x1b\\[(?:0|2|31|32|33)m")

// Screen reduces text to what a terminal only displays. Output of containers
// and manifests may contain sequences that move the cursor, hide lines or fill
// a clipboard, and they end up in messages. Line breaks, tabs and the colours
// of a palette stay.
func Screen(text string) string {
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
	if _, err := io.WriteString(s.Writer, Screen(string(p))); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Table writes rows in aligned columns, as kubectl does.
func Table(w io.Writer, header []string, rows [][]string) error {
	tw := tabwriter.NewWriter(w, 0, 8, 3, ' ', 0)
	for _, row := range append([][]string{header}, rows...) {
		if _, err := fmt.Fprintln(tw, Screen(strings.Join(row, "\t"))); err != nil {
			return err
		}
	}
	return tw.Flush()
}

// TerminalWidth returns the number of characters that fit on a line; 0 if w is
// not a terminal.
func TerminalWidth(w io.Writer) int {
	file, ok := w.(*os.File)
	if !ok {
		return 0
	}
	width, _, err := term.GetSize(int(file.Fd()))
	if err != nil {
		return 0
	}
	return width
}

// Palette colours words on a terminal, unless NO_COLOR disables colours
// (no-color.org).
type Palette struct{ on bool }

// PaletteFor returns the palette of a writer, without colours unless it is a terminal.
func PaletteFor(w io.Writer) Palette {
	file, ok := w.(*os.File)
	return Palette{on: ok && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && term.IsTerminal(int(file.Fd()))}
}

func (p Palette) paint(code, text string) string {
	if !p.on || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// Green marks what is in order.
func (p Palette) Green(text string) string { return p.paint("32", text) }

// Red marks what is wrong.
func (p Palette) Red(text string) string { return p.paint("31", text) }

// Yellow marks what deserves attention.
func (p Palette) Yellow(text string) string { return p.paint("33", text) }

func (p Palette) dim(text string) string { return p.paint("2", text) }

// printable replaces what a terminal would act upon, or nobody would see.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return r
		case r == '\r':
			return '␍'
		case r == utf8.RuneError || r == '\u2028' || r == '\u2029' || unicode.IsControl(r) || unicode.Is(unicode.Cf, r):
			return '�'
		}
		return r
	}, text)
}
