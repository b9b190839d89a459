package cli

import (
	"fmt"

	"github.com/spf13/cobra"
)

// Takes is the Args of a command that takes at least so many arguments, and at
// most so many.
func Takes(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		var wrong string
		switch {
		case len(args) < least:
			wrong = "an argument is missing"
		case len(args) > most:
			wrong = fmt.Sprintf("unexpected argument %q", args[most])
		default:
			return nil
		}
		return fmt.Errorf("%s: the usage is `%s`; see `%s --help`", wrong, cmd.UseLine(), cmd.CommandPath())
	}
}
