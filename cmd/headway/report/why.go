package report

import (
	"fmt"
	"io"
	"strings"
	"time"

	"headway.dev/syncer/wire"
)

// PrintWhy writes why an object is where it is, as of now.
func PrintWhy(out io.Writer, why wire.Why, now time.Time) error {
	colour := PaletteFor(out)
	out = screened{out}
	title := fmt.Sprintf("%s: %s: %s", ObjectName(why.Kind, why.Namespace, why.Name), colourOf(colour, why.State), why.Message)
	if _, err := fmt.Fprintln(out, title); err != nil {
		return err
	}
	if why.Kustomization != "" {
		from := ""
		if why.Declared != why.Kind+"/"+why.Name {
			from = "by " + why.Declared + " "
		}
		fmt.Fprintln(out, colour.dim(fmt.Sprintf("  from Git %sin Kustomization %s at %s", from, why.Kustomization, ShortRevision(why.Revision))))
	}
	for _, r := range why.Reasons {
		if err := printReason(out, colour, why, r, now); err != nil {
			return err
		}
	}
	return nil
}

func colourOf(colour Palette, state wire.WhyState) string {
	switch state {
	case wire.WhyRunning, wire.WhyCompleted, wire.WhyBound:
		return colour.Green(string(state))
	case wire.WhyFailed:
		return colour.Red(string(state))
	case wire.WhyWaiting, wire.WhySuspended, wire.WhyTerminating:
	}
	return colour.Yellow(string(state))
}

func printReason(out io.Writer, colour Palette, why wire.Why, r wire.WhyReason, now time.Time) error {
	head := colour.Yellow(r.Reason)
	if r.Reason == "Scheduled" || r.Reason == "Completed" {
		head = colour.Green(r.Reason)
	}
	for _, of := range []struct{ text, word string }{{r.Object, " of "}, {r.Container, " of container "}} {
		if of.text != "" {
			head += of.word + of.text
		}
	}
	if r.Count > 0 {
		head += fmt.Sprintf(", %s: %s", Count(r.Count, "pod"), moreNames(r.Pods, r.Count))
	}
	if !r.Time.IsZero() {
		head += colour.dim(", since " + since(r.Time, now))
	}
	fmt.Fprintf(out, "\n%s\n  %s\n", head, strings.ReplaceAll(r.Message, "\n", "\n  "))
	if len(r.Nodes) > 0 {
		rows := make([][]string, len(r.Nodes))
		for i, n := range r.Nodes {
			rows[i] = []string{"  " + n.Node, "fits", ""}
			if len(n.Reasons) > 0 {
				rows[i] = []string{"  " + n.Node, strings.Join(n.Reasons, ", "), strings.Join(n.Fixes, "; ")}
			}
		}
		if err := Table(out, []string{"  NODE", "SAYS", "NEAREST FIX"}, rows); err != nil {
			return err
		}
	} else if r.NodesHidden && r.Reason != "Scheduled" {
		fmt.Fprintln(out, colour.dim("  what each node says is not shown: you may not list nodes"))
	}
	for _, fix := range r.Fixes {
		fmt.Fprintf(out, "  fix    %s\n", fix)
	}
	if c, ok := why.Commits[r.Since]; ok {
		fmt.Fprintf(out, "  since  %s\n", commitLine(&c, now))
	}
	for _, s := range r.Set {
		fmt.Fprintln(out, colour.dim(fmt.Sprintf("         %s:%d %s: %s", s.File, s.Line, s.Path, shown(s.Value))))
	}
	return nil
}

// moreNames are the names of the first of n.
func moreNames(names []string, n int) string {
	const most = 5
	shown := names[:min(most, len(names))]
	if n > len(shown) {
		return fmt.Sprintf("%s and %d more", strings.Join(shown, ", "), n-len(shown))
	}
	return strings.Join(shown, ", ")
}
