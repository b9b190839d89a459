package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// outputFormat is the value of -o.
type outputFormat struct{ value string }

// register adds -o to a command; more names the formats besides text and json.
func (f *outputFormat) register(cmd *cobra.Command, more ...string) {
	allowed := append([]string{"text", "json"}, more...)
	cmd.Flags().VarP(&formatFlag{f, allowed}, "output", "o", "output format: "+strings.Join(allowed, "|"))
}

func (f *outputFormat) json() bool { return f.value == "json" }

type formatFlag struct {
	format  *outputFormat
	allowed []string
}

func (f *formatFlag) String() string { return f.format.value }
func (f *formatFlag) Type() string   { return "format" }
func (f *formatFlag) Set(value string) error {
	if !slices.Contains(f.allowed, value) {
		return fmt.Errorf("must be one of %s", strings.Join(f.allowed, ", "))
	}
	f.format.value = value
	return nil
}

// jsonVersion is the apiVersion of what -o json prints; docs/json.md says what
// that is. Fields may be added to a version, but none changes or goes.
const jsonVersion = "cli.headway.dev/v1"

// printJSON prints an object, or a list of them, each with the version.
func printJSON(w io.Writer, value any) error {
	raw, err := versioned(value)
	if err != nil {
		return err
	}
	var text bytes.Buffer
	if err := json.Indent(&text, raw, "", "  "); err != nil {
		return err
	}
	text.WriteByte('\n')
	_, err = w.Write(text.Bytes())
	return err
}

// printJSONLine prints one object of a stream.
func printJSONLine(w io.Writer, value any) error {
	raw, err := versioned(value)
	if err != nil {
		return err
	}
	_, err = w.Write(append(raw, '\n'))
	return err
}

// versioned is the JSON of an object, or of a list of objects, each of which
// begins with its apiVersion.
func versioned(value any) ([]byte, error) {
	raw, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	switch {
	case bytes.Equal(raw, []byte("null")):
		return []byte("[]"), nil // a list without elements
	case raw[0] == '[':
		var items []json.RawMessage
		if err := json.Unmarshal(raw, &items); err != nil {
			return nil, err
		}
		for i, item := range items {
			items[i] = withVersion(item)
		}
		return json.Marshal(items)
	}
	return withVersion(raw), nil
}

func withVersion(object []byte) []byte {
	head := `{"apiVersion":"` + jsonVersion + `"`
	if bytes.Equal(object, []byte("{}")) {
		return []byte(head + "}")
	}
	return append([]byte(head+","), object[1:]...)
}

// table writes rows in aligned columns, as kubectl does.
func table(w io.Writer, header []string, rows [][]string) error {
	tw := tabwriter.NewWriter(w, 0, 8, 3, ' ', 0)
	for _, row := range append([][]string{header}, rows...) {
		if _, err := fmt.Fprintln(tw, screen(strings.Join(row, "\t"))); err != nil {
			return err
		}
	}
	return tw.Flush()
}

// terminalWidth is how many characters fit on a line; 0 if w is no terminal.
func terminalWidth(w io.Writer) int {
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

// palette colours words on a terminal, unless NO_COLOR asks for none
// (no-color.org).
type palette struct{ on bool }

func paletteFor(w io.Writer) palette {
	file, ok := w.(*os.File)
	return palette{on: ok && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && term.IsTerminal(int(file.Fd()))}
}

func (p palette) paint(code, text string) string {
	if !p.on || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (p palette) green(text string) string  { return p.paint("32", text) }
func (p palette) red(text string) string    { return p.paint("31", text) }
func (p palette) yellow(text string) string { return p.paint("33", text) }
func (p palette) dim(text string) string    { return p.paint("2", text) }
