package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// Format is the value of -o.
type Format struct{ Value string }

// Register adds -o to a command; more names the formats besides text and json.
func (f *Format) Register(cmd *cobra.Command, more ...string) {
	f.RegisterOnly(cmd, append([]string{"text", "json"}, more...)...)
}

// RegisterOnly adds -o with these formats to a command.
func (f *Format) RegisterOnly(cmd *cobra.Command, allowed ...string) {
	cmd.Flags().VarP(&formatFlag{f, allowed}, "output", "o", "output format: "+strings.Join(allowed, "|"))
}

// JSON reports whether the output is JSON.
func (f *Format) JSON() bool { return f.Value == "json" }

type formatFlag struct {
	format  *Format
	allowed []string
}

func (f *formatFlag) String() string { return f.format.Value }

func (f *formatFlag) Type() string { return "format" }

func (f *formatFlag) Set(value string) error {
	if !slices.Contains(f.allowed, value) {
		return fmt.Errorf("must be one of %s", strings.Join(f.allowed, ", "))
	}
	f.format.Value = value
	return nil
}
