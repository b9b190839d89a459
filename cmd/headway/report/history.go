package report

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"sigs.k8s.io/yaml"

	"headway.dev/syncer/wire"
)

// PrintLog prints a table, with a column of Kustomizations if there are others
// than that of `headway up`.
func PrintLog(out io.Writer, entries []wire.LogEntry, now time.Time) error {
	const place = 2 // of the Kustomization's column
	header := []string{"NR", "COMMIT", "AUTHOR", "APPLIED", "RESULT", "CHANGES", "SUBJECT", "REASON"}
	several := slices.ContainsFunc(entries, func(e wire.LogEntry) bool { return e.Kustomization != wire.Root })
	if several {
		header = slices.Insert(header, place, "KUSTOMIZATION")
	}
	var rows [][]string
	for _, e := range entries {
		row := logRow(e, now)
		if several {
			row = slices.Insert(row, place, e.Kustomization)
		}
		rows = append(rows, row)
	}
	return Table(out, header, rows)
}

// maxReason is how much of a reason stands in a table, in characters.
const maxReason = 600

func logRow(e wire.LogEntry, now time.Time) []string {
	sha, author, subject := "-", "-", "-"
	if e.Commit != nil {
		sha, author, subject = ShortSHA(e.Commit.SHA), e.Commit.Author.Name, e.Commit.Subject
	}
	for i, c := range e.With {
		subject += map[bool]string{true: "; with ", false: ", "}[i == 0] + ShortSHA(c.SHA) + " " + c.Subject
	}
	if e.MoreWith {
		subject += " and more"
	}
	result := e.Type
	if e.Type == wire.EntryApplied {
		result = cmp.Or(string(e.Verdict), "in progress")
	}
	// Why it failed or was refused, on one line of the table; -o json has all.
	reason, _, _ := strings.Cut(e.Reason, "\n")
	reason = cutRight(reason, maxReason)
	if e.Verdict == wire.VerdictHealthy {
		reason = ""
	}
	counts := map[string]int{}
	for _, o := range e.Objects {
		counts[o.Action]++
	}
	var changes []string
	for _, action := range []string{"Create", "Update", "Delete"} {
		if n := counts[action]; n > 0 {
			changes = append(changes, fmt.Sprintf("%d %s", n, strings.ToLower(action)+"d"))
		}
	}
	return []string{strconv.FormatInt(e.Seq, 10), sha, author, age(e.Time, now) + " ago", result, cmp.Or(strings.Join(changes, ", "), "-"), subject, cmp.Or(reason, "-")}
}

// PrintPast writes the object as YAML, with its origin as a comment.
func PrintPast(out io.Writer, past wire.PastObject) error {
	data, err := yaml.Marshal(past.Object)
	if err != nil {
		return err
	}
	from := past.Revision
	if c := past.Commit; c != nil {
		from = fmt.Sprintf("%s %q by %s", c.SHA, c.Subject, c.Author.Name)
	}
	_, err = fmt.Fprintf(out, "# %s\n# %s:%d, Kustomization %s\n%s", from, past.File, past.Line, past.Kustomization, data)
	return err
}
