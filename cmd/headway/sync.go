package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"headway.dev/syncer/wire"
)

func newSync(opts *options) *cobra.Command {
	var source string
	var waiting waitOptions
	var format outputFormat
	cmd := &cobra.Command{
		Use:   "sync",
		Short: "Fetch and converge now",
		Long: `Sync fetches the source headway-system/cluster (without one: all) now, applies
what is new, and waits until it is healthy, printing each step and, meanwhile,
what it waits for. With -o json every step is one JSON object a line. Ctrl-C ends
the waiting and nothing else: the cluster goes on by itself.

Exit code 0: all is applied and healthy. 1: something failed, or the wait ended.`,
		Example: "  headway sync\n  headway sync --source headway-system/cluster --timeout 10m\n  headway sync --no-wait",
		Args:    takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := waiting.check(); err != nil {
				return err
			}
			client, err := opts.client()
			if err != nil {
				return err
			}
			if err := client.sync(cmd.Context(), wire.SyncRequest{Source: source}, waiting, format, opts.out); err != nil || !waiting.no || format.json() {
				return err
			}
			_, err = fmt.Fprintln(opts.out, "asked for; `headway status` says what becomes of it")
			return err
		},
	}
	cmd.Flags().StringVar(&source, "source", "", "only this source, as NAMESPACE/NAME")
	waiting.register(cmd)
	format.register(cmd)
	return cmd
}

// naming says of which source or Kustomization a line is, where there are
// several.
type naming struct{ sources, kustomizations bool }

// naming asks how many there are. Names are shown if nobody says.
func (c *client) naming(ctx context.Context) naming {
	var status wire.Status
	if err := c.call(ctx, http.MethodGet, "/headway/v1/status", nil, &status); err != nil {
		return naming{sources: true, kustomizations: true}
	}
	n := len(status.Kustomizations)
	for _, s := range status.Sources {
		n += len(s.Kustomizations)
	}
	return naming{sources: len(status.Sources) > 1, kustomizations: n > 1}
}

// line tells one step of progress; empty for steps that say nothing.
func (n naming) line(e wire.Event) string {
	line := screen(eventLine(e))
	switch {
	case line == "":
	case n.kustomizations && e.Kustomization != "":
		return e.Kustomization + ": " + line
	case n.sources && e.Source != "" && e.Kustomization == "":
		return e.Source + ": " + line
	}
	return line
}

// eventLine tells one step of progress; empty for steps that say nothing.
func eventLine(e wire.Event) string {
	switch e.Phase {
	case "fetch":
		if e.Commit != nil {
			return fmt.Sprintf("commit %s %q by %s", short(e.Commit.SHA), e.Commit.Subject, e.Commit.Author.Name)
		}
	case "commit":
		line := actionsLine(e.Actions)
		switch {
		case line == "":
			return "nothing to change"
		case e.Message != "": // who changed it
			return "put back " + line + " (" + e.Message + ")"
		}
		return "applied " + line
	case "health":
		return e.Message
	case "verdict":
		switch {
		case e.Verdict == "healthy" && e.Revision != "":
			return e.Verdict + ": " + shortRevision(e.Revision)
		case e.Message != "" && e.Verdict != "":
			return e.Verdict + ": " + e.Message
		}
		return e.Verdict + e.Message
	case "error":
		return "error: " + e.Message
	}
	return ""
}

// actionsLine names the first objects that a commit changed, and counts the
// rest.
func actionsLine(actions []wire.Action) string {
	const most = 5
	var names []string
	for _, a := range actions {
		if a.Action == "Unchanged" || a.Action == "Skip" {
			continue
		}
		name := a.Kind + "/" + a.Name
		if a.Action == "Delete" {
			name += " (deleted)"
		}
		names = append(names, name)
	}
	if len(names) == 0 {
		return ""
	}
	line := objects(len(names)) + ": "
	if len(names) > most {
		return line + strings.Join(names[:most], ", ") + fmt.Sprintf(" and %d more", len(names)-most)
	}
	return line + strings.Join(names, ", ")
}
