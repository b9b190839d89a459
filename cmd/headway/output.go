package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
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

func (f *formatFlag) Type() string { return "format" }

func (f *formatFlag) Set(value string) error {
	if !slices.Contains(f.allowed, value) {
		return fmt.Errorf("must be one of %s", strings.Join(f.allowed, ", "))
	}
	f.format.value = value
	return nil
}
