package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"headway.dev/syncer/wire"
)

// maxShown bounds a value in a table, in characters.
const maxShown = 60

func newBlame(opts *options) *cobra.Command {
	var format outputFormat
	var namespace string
	cmd := &cobra.Command{
		Use:   "blame KIND/NAME",
		Short: "Show the commit, author and line that set each field of an object",
		Long: `Blame shows each field of a live object with its value and what set it: the
commit, its author and date, and the file and line in Git, or the field manager,
the controller, the API's default or the server. Values of Secrets are hidden.

A mark behind the line says how the value got from there into the object, if the
file does not simply declare it: patch, images, replicas, …; (computed) means
that a kustomization made the value from what stands there.`,
		Example: "  headway blame deploy/hello\n  headway blame deploy/hello -n hello -o json | jq '.fields[] | select(.path == \"spec.replicas\")'",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var blame wire.Blame
			if err := opts.ask(cmd, "blame", args[0], namespace, nil, &blame); err != nil {
				return err
			}
			if format.json() {
				return printJSON(opts.out, blame)
			}
			return printBlame(opts.out, blame)
		},
	}
	cmd.Flags().StringVarP(&namespace, "namespace", "n", "", "namespace of the object (default: the only one that has it)")
	format.register(cmd)
	return cmd
}

// ask sends a question about one object.
func (o *options) ask(cmd *cobra.Command, path, object, namespace string, query url.Values, answer any) error {
	kind, name, err := parseObject(object)
	if err != nil {
		return err
	}
	if query == nil {
		query = url.Values{}
	}
	query.Set("kind", kind)
	query.Set("name", name)
	if namespace != "" {
		query.Set("namespace", namespace)
	}
	client, err := o.client()
	if err != nil {
		return err
	}
	return client.call(cmd.Context(), http.MethodGet, "/headway/v1/"+path+"?"+query.Encode(), nil, answer)
}

// blameRow is one line; the first four cells say who, as git blame does.
type blameRow struct{ commit, author, date, place, path, value string }

func printBlame(out io.Writer, b wire.Blame) error {
	colour := paletteFor(out)
	title := objectName(b.Kind, b.Namespace, b.Name)
	switch {
	case b.Kustomization != "":
		title += colour.dim(fmt.Sprintf("  Kustomization %s at %s", b.Kustomization, short(strings.TrimPrefix(b.Revision, "sha1:"))))
	case b.Owner != "":
		title += colour.dim("  not in Git; it belongs to " + b.Owner)
	default:
		title += colour.dim("  not in Git")
	}
	if _, err := fmt.Fprintln(out, title); err != nil {
		return err
	}
	rows := make([]blameRow, len(b.Fields))
	for i, f := range b.Fields {
		rows[i] = rowOf(b, f)
	}
	var wide [5]int
	for _, r := range rows {
		for i, cell := range []string{r.commit, r.author, r.date, r.place, r.path} {
			wide[i] = max(wide[i], utf8.RuneCountInString(cell))
		}
	}
	var before blameRow
	for _, r := range rows {
		commit, author, date := r.commit, r.author, r.date
		if commit == before.commit && author == before.author && date == before.date {
			commit, author, date = "", "", "" // as above
		}
		line := colour.yellow(pad(commit, wide[0])) + "  " + pad(author, wide[1]) + "  " + colour.dim(pad(date, wide[2])) + "  " +
			colour.dim(pad(r.place, wide[3])) + "  " + pad(r.path, wide[4]) + "  " + colour.green(r.value)
		if _, err := fmt.Fprintln(out, strings.TrimRight(line, " ")); err != nil {
			return err
		}
		before = r
	}
	return nil
}

func pad(text string, wide int) string {
	return text + strings.Repeat(" ", max(0, wide-utf8.RuneCountInString(text)))
}

func rowOf(b wire.Blame, f wire.BlameField) blameRow {
	r := blameRow{commit: "-", path: f.Path, value: shown(f.Value)}
	switch f.Owner {
	case wire.OwnerGit:
		r.place = fmt.Sprintf("%s:%d", f.File, f.Line)
		if f.How != "" && f.How != "manifest" {
			r.place += " " + f.How
		}
		if f.Computed {
			r.place += " (computed)"
		}
		if c, ok := b.Commits[f.Commit]; ok {
			r.commit, r.author, r.date = short(c.SHA), c.Author.Name, c.Author.Date.Format(time.DateOnly)
		}
	case wire.OwnerManager:
		r.author = f.Name
		if !f.Time.IsZero() {
			r.date = f.Time.Local().Format(time.DateOnly)
		}
	case wire.OwnerKustomization, wire.OwnerController:
		r.author = f.Name
		if f.How != "" {
			r.place = f.How
		}
	default:
		r.author = f.Owner
	}
	return r
}

// shown is a value on one line, cut where it is long.
func shown(value any) string {
	text, ok := value.(string)
	if !ok || strings.ContainsAny(text, "\n\t") {
		data, err := json.Marshal(value)
		if err != nil {
			return "?"
		}
		text = string(data)
	}
	if runes := []rune(text); len(runes) > maxShown {
		text = string(runes[:maxShown-1]) + "…"
	}
	return cmp.Or(text, `""`)
}
