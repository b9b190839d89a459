package cli

import (
	"fmt"

	"github.com/spf13/cobra"
)

// Takes returns the Args of a command that takes at least and at most so many
// arguments.
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
