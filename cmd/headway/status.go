package main

import (
	"cmp"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/duration"

	"headway.dev/syncer/wire"
)

func newStatus(opts *options) *cobra.Command {
	var format outputFormat
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what each source wants and what runs",
		Long: `Status shows each source with its commit, sync state and health, and says what is
not healthy, and why.

Exit code 0 whenever the cluster answers; scripts read -o json.`,
		Example: "  headway status\n  headway status -o json | jq '.sources[].kustomizations[].sync'",
		Args:    takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := opts.client()
			if err != nil {
				return err
			}
			var status wire.Status
			if err := client.call(cmd.Context(), http.MethodGet, "/headway/v1/status", nil, &status); err != nil {
				return err
			}
			if format.json() {
				return printJSON(opts.out, status)
			}
			printStatus(opts.out, status, time.Now())
			return nil
		},
	}
	format.register(cmd)
	return cmd
}

func printStatus(out io.Writer, status wire.Status, now time.Time) {
	colour := paletteFor(out)
	out = screened{out}
	if len(status.Sources)+len(status.Kustomizations) == 0 {
		fmt.Fprintln(out, "No source. Start one with `headway up --repo URL`, or apply a GitRepository and a Kustomization.")
	}
	for i, source := range status.Sources {
		if i > 0 {
			fmt.Fprintln(out)
		}
		fmt.Fprintf(out, "%s  %s\n", source.Namespace+"/"+source.Name, colour.dim(source.URL))
		if source.Branch != "" {
			fmt.Fprintf(out, "  branch   %s\n", source.Branch)
		}
		if source.Commit != nil {
			fmt.Fprintf(out, "  newest   %s\n", commitLine(source.Commit, now))
		}
		if source.Suspended {
			fmt.Fprintf(out, "  source   %s\n", colour.yellow(suspendedLine(source.SuspendedBy, source.SuspendedSince, now)))
		} else if source.Ready != "True" {
			fmt.Fprintf(out, "  source   %s since %s: %s\n", colour.red(cmp.Or(source.Reason, "not ready")), since(source.Since, now), source.Message)
			if !source.Next.IsZero() {
				fmt.Fprintf(out, "           next try %s\n", until(source.Next, now))
			}
		}
		for _, k := range source.Kustomizations {
			printKustomization(out, k, now, colour)
		}
	}
	if len(status.Kustomizations) > 0 {
		fmt.Fprintln(out, colour.red("without a source"))
	}
	for _, k := range status.Kustomizations {
		printKustomization(out, k, now, colour)
	}
}

func printKustomization(out io.Writer, k wire.KustomizationStatus, now time.Time, colour palette) {
	fmt.Fprintf(out, "  %s/%s  path %s\n", k.Namespace, k.Name, k.Path)
	if k.Commit != nil {
		fmt.Fprintf(out, "    applied  %s\n", commitLine(k.Commit, now))
	} else if k.Applied != "" {
		fmt.Fprintf(out, "    applied  %s\n", k.Applied)
	}
	stopped := slices.ContainsFunc(k.Holds, func(h wire.Hold) bool { return h.Kind != wire.HoldUnpruned })
	if k.Attempted != k.Applied && k.Attempted != "" && k.Sync != "Synced" && !stopped {
		word := "refused"
		if k.Sync == "Waiting" {
			word = "waiting"
		}
		fmt.Fprintf(out, "    %-8s %s\n", word, shortRevision(k.Attempted))
	}
	state := colour.green(k.Sync)
	if k.Sync != "Synced" {
		state = colour.yellow(k.Sync)
	}
	if k.Sync == "Failed" {
		state = colour.red(k.Sync)
	}
	fmt.Fprintf(out, "    sync     %s, %s\n", state, objects(k.Objects))
	if k.Sync == "Suspended" {
		fmt.Fprintf(out, "             %s\n", suspendedLine(k.SuspendedBy, k.SuspendedSince, now))
	}
	health := colour.green("healthy")
	switch {
	case k.Applied == "":
		health = colour.yellow("nothing is applied yet")
	case !k.Healthy:
		health = colour.red("not healthy")
	}
	fmt.Fprintf(out, "    health   %s\n", health)
	if k.Ready != "True" && k.Message != "" && len(k.Errors) == 0 && len(k.Holds) == 0 && !stopped {
		fmt.Fprintf(out, "    why      %s since %s: %s\n", k.Reason, since(k.Since, now), reasonOf(k))
		if !k.Next.IsZero() {
			fmt.Fprintf(out, "             next try %s\n", until(k.Next, now))
		}
	}
	for _, o := range k.WaitsFor {
		if k.Sync == "Waiting" && o.Message != "" && strings.Contains(k.Message, o.Message) {
			continue // it was said
		}
		fmt.Fprintf(out, "    waits for %s %s: %s\n", objectName(o.Kind, o.Namespace, o.Name), o.Status, o.Message)
	}
	for _, h := range k.Holds {
		fmt.Fprintf(out, "    %-8s %s since %s: %s\n", h.Kind, shortRevision(h.Revision), since(h.Since, now), h.Message)
	}
	for _, o := range k.Unhealthy {
		if k.Ready != "True" && o.Message != "" && strings.Contains(reasonOf(k), o.Message) {
			continue // it was said
		}
		fmt.Fprintf(out, "    %s %s: %s\n", objectName(o.Kind, o.Namespace, o.Name), o.Status, o.Message)
	}
	if stopped {
		return // the errors would say the same
	}
	said := map[string]bool{}
	for _, e := range k.Errors {
		if !said[e.Message] {
			fmt.Fprintf(out, "    %s %s\n", colour.red("error"), e.Message)
		}
		said[e.Message] = true
	}
}

// suspendedLine says who suspended something, and what goes on.
func suspendedLine(who string, at, now time.Time) string {
	if who == "" {
		return "suspended"
	}
	return fmt.Sprintf("suspended by %s since %s: new commits wait for `headway resume`", who, since(at, now))
}

// reasonOf is why a Kustomization is not ready, without the objects that have
// lines of their own.
func reasonOf(k wire.KustomizationStatus) string {
	if before, _, listed := strings.Cut(k.Message, ": ["); listed && len(k.Unhealthy) > 0 {
		return before
	}
	return k.Message
}

// commitLine is one commit as a person reads it.
func commitLine(c *wire.Commit, now time.Time) string {
	return fmt.Sprintf("%s %q by %s, %s ago", short(c.SHA), c.Subject, c.Author.Name, age(c.Author.Date, now))
}

func objectName(kind, namespace, name string) string {
	if namespace == "" {
		return kind + "/" + name
	}
	return fmt.Sprintf("%s/%s in %s", kind, name, namespace)
}

// objects counts objects in words.
func objects(n int) string {
	if n == 1 {
		return "1 object"
	}
	return fmt.Sprintf("%d objects", n)
}

func short(sha string) string { return sha[:min(7, len(sha))] }

// shortRevision shortens the hash in Flux's branch@sha1:hash.
func shortRevision(revision string) string {
	if branch, sha, ok := strings.Cut(revision, "@sha1:"); ok {
		return branch + "@" + short(sha)
	}
	return revision
}

func age(t, now time.Time) string { return duration.HumanDuration(now.Sub(t)) }

func since(t, now time.Time) string {
	if t.IsZero() {
		return "the start"
	}
	return fmt.Sprintf("%s (%s ago)", t.Local().Format(time.DateTime), age(t, now))
}

func until(t, now time.Time) string {
	if !t.After(now) {
		return "now"
	}
	return fmt.Sprintf("in %s (%s)", duration.HumanDuration(t.Sub(now)), t.Local().Format(time.DateTime))
}
