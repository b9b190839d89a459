package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/sergi/go-diff/diffmatchpatch"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// maxTypos is how many letters may differ between what was typed and what was
// probably meant.
const maxTypos = 2

// CommandsOnly is the Args of a command that only has subcommands.
func CommandsOnly(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	cmd.SuggestionsMinimumDistance = maxTypos
	return fmt.Errorf("unknown command %q for %q%s; see `%[2]s --help`", args[0], cmd.CommandPath(), didYouMean(cmd.SuggestionsFor(args[0])))
}

// SuggestFlags adds the flags that were probably meant to the error about an
// unknown flag.
func SuggestFlags(cmd *cobra.Command, err error) error {
	unknown := (*pflag.NotExistError)(nil)
	if !errors.As(err, &unknown) {
		return err
	}
	typed := unknown.GetSpecifiedName()
	var near []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden && len(typed) > 1 && (typos(typed, f.Name) <= maxTypos || strings.HasPrefix(f.Name, typed) || strings.HasSuffix(f.Name, "-"+typed)) {
			near = append(near, "--"+f.Name)
		}
	})
	return fmt.Errorf("%w%s; see `%s --help`", err, didYouMean(near), cmd.CommandPath())
}

func didYouMean(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return ": did you mean " + strings.Join(names, " or ") + "?"
}

// typos is how many letters are to be put in, left out or changed to get from
// one word to another.
func typos(a, b string) int {
	dmp := diffmatchpatch.New()
	return dmp.DiffLevenshtein(dmp.DiffMain(a, b, false))
}
