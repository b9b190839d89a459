package report

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"headway.dev/syncer/wire"
)

// PrintStatus writes what each source declares and what is running, as of now.
func PrintStatus(out io.Writer, status wire.Status, now time.Time) {
	colour := PaletteFor(out)
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
			fmt.Fprintf(out, "  source   %s\n", colour.Yellow(suspendedLine(source.SuspendedBy, source.SuspendedSince, now)))
		} else if source.Ready != "True" {
			fmt.Fprintf(out, "  source   %s since %s: %s\n", colour.Red(cmp.Or(source.Reason, "not ready")), since(source.Since, now), source.Message)
			if !source.Next.IsZero() {
				fmt.Fprintf(out, "           next try %s\n", until(source.Next, now))
			}
		}
		for _, k := range source.Kustomizations {
			printKustomization(out, k, now, colour)
		}
	}
	if len(status.Kustomizations) > 0 {
		fmt.Fprintln(out, colour.Red("without a source"))
	}
	for _, k := range status.Kustomizations {
		printKustomization(out, k, now, colour)
	}
}

func printKustomization(out io.Writer, k wire.KustomizationStatus, now time.Time, colour Palette) {
	fmt.Fprintf(out, "  %s/%s  path %s\n", k.Namespace, k.Name, k.Path)
	if k.Commit != nil {
		fmt.Fprintf(out, "    applied  %s\n", commitLine(k.Commit, now))
	} else if k.Applied != "" {
		fmt.Fprintf(out, "    applied  %s\n", k.Applied)
	}
	stopped := slices.ContainsFunc(k.Holds, func(h wire.Hold) bool { return h.Kind != wire.HoldUnpruned })
	if k.Attempted != k.Applied && k.Attempted != "" && k.Sync != wire.SyncSynced && !stopped {
		word := "refused"
		if k.Sync == wire.SyncWaiting {
			word = "waiting"
		}
		fmt.Fprintf(out, "    %-8s %s\n", word, ShortRevision(k.Attempted))
	}
	state := colour.Green(string(k.Sync))
	if k.Sync != wire.SyncSynced {
		state = colour.Yellow(string(k.Sync))
	}
	if k.Sync == wire.SyncFailed {
		state = colour.Red(string(k.Sync))
	}
	fmt.Fprintf(out, "    sync     %s, %s\n", state, CountObjects(k.Objects))
	if k.Sync == wire.SyncSuspended {
		fmt.Fprintf(out, "             %s\n", suspendedLine(k.SuspendedBy, k.SuspendedSince, now))
	}
	health := colour.Green("healthy")
	switch {
	case k.Applied == "":
		health = colour.Yellow("nothing is applied yet")
	case !k.Healthy:
		health = colour.Red("not healthy")
	}
	fmt.Fprintf(out, "    health   %s\n", health)
	if k.Ready != "True" && k.Message != "" && len(k.Errors) == 0 && len(k.Holds) == 0 && !stopped {
		fmt.Fprintf(out, "    why      %s since %s: %s\n", k.Reason, since(k.Since, now), reasonOf(k))
		if !k.Next.IsZero() {
			fmt.Fprintf(out, "             next try %s\n", until(k.Next, now))
		}
	}
	for _, o := range k.WaitsFor {
		if k.Sync == wire.SyncWaiting && o.Message != "" && strings.Contains(k.Message, o.Message) {
			continue // it was said
		}
		fmt.Fprintf(out, "    waits for %s %s: %s\n", ObjectName(o.Kind, o.Namespace, o.Name), o.Status, o.Message)
	}
	for _, h := range k.Holds {
		fmt.Fprintf(out, "    %-8s %s since %s: %s\n", h.Kind, ShortRevision(h.Revision), since(h.Since, now), h.Message)
	}
	for _, o := range k.Unhealthy {
		if k.Ready != "True" && o.Message != "" && strings.Contains(reasonOf(k), o.Message) {
			continue // it was said
		}
		fmt.Fprintf(out, "    %s %s: %s\n", ObjectName(o.Kind, o.Namespace, o.Name), o.Status, o.Message)
	}
	if stopped {
		return // the errors would say the same
	}
	said := map[string]bool{}
	for _, e := range k.Errors {
		if !said[e.Message] {
			fmt.Fprintf(out, "    %s %s\n", colour.Red("error"), e.Message)
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
