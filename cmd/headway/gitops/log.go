package gitops

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"headway.dev/cmd/headway/cli"
	"headway.dev/cmd/headway/report"
	"headway.dev/syncer/wire"
)

// NewLog is `headway log`.
func NewLog(opts *cli.Options) *cobra.Command {
	var format cli.Format
	var namespace string
	var limit int
	var before int64
	var verify bool
	cmd := &cobra.Command{
		Use:   "log [KIND/NAME]",
		Short: "Show which commits changed the cluster, and how they turned out",
		Long: `Log shows the commits that changed the cluster or one object, newest first: who
made them, when they were applied, and how they turned out. KIND is any name that
kubectl takes: deploy, deployment, deployments. To see entries older than the last
line of a page, give its number to --before.

With --verify it instead reads the whole journal, checks that no entry was changed,
removed or inserted later, and prints how many there are. Exit code 1 if one was.`,
		Example:           "  headway log\n  headway log deploy/hello\n  headway log deploy/hello -n hello -o json\n  headway log --before 120 --limit 50\n  headway log --verify",
		Args:              cli.Takes(0, 1),
		ValidArgsFunction: opts.CompleteObject,
		RunE: func(cmd *cobra.Command, args []string) error {
			if verify {
				return verifyLog(cmd, opts, format)
			}
			query := url.Values{"limit": {strconv.Itoa(limit)}}
			if before >= 0 {
				query.Set("before", strconv.FormatInt(before, 10))
			}
			if len(args) > 0 {
				kind, name, err := cli.ParseObject(args[0])
				if err != nil {
					return err
				}
				query.Set("kind", kind)
				query.Set("name", name)
			}
			if namespace != "" {
				query.Set("namespace", namespace)
			}
			client, err := opts.Client()
			if err != nil {
				return err
			}
			var entries []wire.LogEntry
			if err := client.Call(cmd.Context(), http.MethodGet, "/headway/v1/log?"+query.Encode(), nil, &entries); err != nil {
				return err
			}
			if format.JSON() {
				return report.PrintJSON(opts.Out, entries)
			}
			if len(entries) == 0 {
				fmt.Fprintln(opts.Err, nothingLogged(args, before))
				return nil
			}
			return report.PrintLog(opts.Out, entries, time.Now())
		},
	}
	cmd.Flags().StringVarP(&namespace, "namespace", "n", "", "namespace of the object (default: any)")
	cmd.Flags().IntVar(&limit, "limit", 20, "most entries to show")
	cmd.Flags().Int64Var(&before, "before", -1, "show entries older than the one with this number")
	cmd.Flags().BoolVar(&verify, "verify", false, "check the journal's chain of hashes")
	format.Register(cmd)
	return cmd
}

// nothingLogged says that there is no entry, where a table would be empty.
func nothingLogged(args []string, before int64) string {
	line := "the journal has no entry"
	if len(args) > 0 {
		line += " of " + args[0]
	}
	if before >= 0 {
		line += fmt.Sprintf(" before number %d", before)
	}
	return line
}

// verifyLog has the journal checked.
func verifyLog(cmd *cobra.Command, opts *cli.Options, format cli.Format) error {
	client, err := opts.Client()
	if err != nil {
		return err
	}
	var result wire.Verification
	if err := client.Call(cmd.Context(), http.MethodGet, "/headway/v1/log/verify", nil, &result); err != nil {
		return err
	}
	if format.JSON() {
		err = report.PrintJSON(opts.Out, result)
	} else if result.OK {
		_, err = fmt.Fprintf(opts.Out, "The journal is whole: %d entries, each chained to the one before it.\n", result.Entries)
	} else {
		_, err = fmt.Fprintf(opts.Out, "The journal is broken after %d sound entries: %s\n", result.Entries, result.Error)
	}
	if err == nil && !result.OK {
		return cli.ExitError{Code: cli.ExitFailed}
	}
	return err
}
