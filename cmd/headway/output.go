package main

import (
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

func printJSON(w io.Writer, value any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(value)
}

// table writes rows in aligned columns, as kubectl does.
func table(w io.Writer, header []string, rows [][]string) error {
	tw := tabwriter.NewWriter(w, 0, 8, 3, ' ', 0)
	for _, row := range append([][]string{header}, rows...) {
		if _, err := fmt.Fprintln(tw, strings.Join(row, "\t")); err != nil {
			return err
		}
	}
	return tw.Flush()
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
