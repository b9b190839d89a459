package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"headway.dev/syncer/wire"
)

func newSync(opts *options) *cobra.Command {
	var source string
	var wait bool
	var format outputFormat
	cmd := &cobra.Command{
		Use:   "sync",
		Short: "Fetch and converge now",
		Long: `Sync fetches the source headway-system/cluster (without one: all) now, applies what is new, and waits until it is healthy,
printing each step. With -o json every step is one JSON object a line.

Exit code 0: all is applied and healthy. 1: something failed.`,
		Example: "  headway sync\n  headway sync --source headway-system/cluster\n  headway sync --wait=false",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := opts.client()
			if err != nil {
				return err
			}
			return client.sync(cmd.Context(), wire.SyncRequest{Source: source, Wait: wait}, format, opts.out)
		},
	}
	cmd.Flags().StringVar(&source, "source", "", "only this source, as NAMESPACE/NAME")
	cmd.Flags().BoolVar(&wait, "wait", true, "wait until it is applied and healthy")
	format.register(cmd)
	return cmd
}

// sync asks for a sync and prints its steps until it ends.
func (c *client) sync(ctx context.Context, request wire.SyncRequest, format outputFormat, out io.Writer) error {
	if !request.Wait {
		return c.call(ctx, http.MethodPost, "/headway/v1/sync", request, nil)
	}
	body, err := c.open(ctx, http.MethodPost, "/headway/v1/sync", request)
	if err != nil {
		return err
	}
	defer body.Close()
	decoder := json.NewDecoder(body)
	var last string
	for {
		var event wire.Event
		if err := decoder.Decode(&event); err != nil {
			if errors.Is(err, io.EOF) {
				err = errors.New("the server ended the answer before the sync was done; see `headway status`")
			}
			return err
		}
		if format.json() {
			if err := json.NewEncoder(out).Encode(event); err != nil {
				return err
			}
		} else if line := eventLine(event); line != "" && line != last {
			// The source and each Kustomization that follows it tell of a commit.
			fmt.Fprintln(out, line)
			last = line
		}
		if event.Done {
			if !event.OK {
				return errors.New("not everything is applied and healthy; see `headway status`")
			}
			return nil
		}
	}
}

// eventLine tells one step of progress; empty for steps that say nothing.
func eventLine(e wire.Event) string {
	switch e.Phase {
	case "fetch":
		if e.Commit != nil {
			return fmt.Sprintf("commit %s %q by %s", short(e.Commit.SHA), e.Commit.Subject, e.Commit.Author.Name)
		}
	case "commit":
		if line := actionsLine(e.Actions); line != "" {
			return "applied " + line
		}
		return "nothing to change"
	case "health":
		return e.Message
	case "verdict":
		if e.Message != "" {
			return e.Verdict + ": " + e.Message
		}
		return e.Verdict
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
