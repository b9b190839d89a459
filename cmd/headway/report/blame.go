package report

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"headway.dev/syncer/wire"
)

const (
	// maxShown bounds a value in a table, in characters.
	maxShown = 60
	// widePath and widePlace bound what a path and a place add to the width of
	// their columns; what is longer moves the rest of its line alone.
	widePath, widePlace = 60, 40
	// minPath and minValue are what a narrow terminal leaves of them.
	minPath, minValue = 20, 12
)

// blameRow is one line; the first four cells say who, as git blame does.
type blameRow struct{ commit, author, date, place, path, value string }

// PrintBlame prints a table that fits the terminal; a width of 0 means no
// limit.
func PrintBlame(out io.Writer, b wire.Blame, all bool, width int) error {
	colour := PaletteFor(out)
	title := ObjectName(b.Kind, b.Namespace, b.Name)
	switch {
	case b.Kustomization != "":
		title += colour.dim(fmt.Sprintf("  Kustomization %s at %s", b.Kustomization, ShortSHA(strings.TrimPrefix(b.Revision, "sha1:"))))
	case b.Owner != "":
		title += colour.dim("  not in Git; it belongs to " + b.Owner)
	default:
		title += colour.dim("  not in Git")
	}
	if _, err := fmt.Fprintln(out, title); err != nil {
		return err
	}
	var rows []blameRow
	left := 0
	for _, f := range b.Fields {
		if all || setByHand(f) {
			rows = append(rows, rowOf(b, f))
		} else {
			left++
		}
	}
	if err := printBlameRows(out, rows, width); err != nil || left == 0 {
		return err
	}
	_, err := fmt.Fprintln(out, colour.dim(Count(left, "more field")+" of defaults, controllers and the status: --all shows all"))
	return err
}

// setByHand reports whether somebody wrote the field, in Git or by the API.
func setByHand(f wire.BlameField) bool {
	if strings.HasPrefix(f.Path, "status.") || strings.HasPrefix(f.Path, "status[") {
		return false
	}
	return f.Owner == wire.OwnerGit || f.Owner == wire.OwnerKustomization || f.Owner == wire.OwnerManager
}

func printBlameRows(out io.Writer, rows []blameRow, width int) error {
	colour := PaletteFor(out)
	var wide [5]int
	for _, r := range rows {
		for i, cell := range []string{r.commit, r.author, r.date, r.place, r.path} {
			// A cell that is longer than others may be does not widen them.
			n := utf8.RuneCountInString(cell)
			if i == 3 && n > widePlace || i == 4 && n > widePath {
				continue
			}
			wide[i] = max(wide[i], n)
		}
	}
	if width > 0 {
		fixed := wide[0] + wide[1] + wide[2] + 5*2
		wide[3] = min(wide[3], max(minPath, (width-fixed)/3))
		wide[4] = min(wide[4], max(minPath, width-fixed-wide[3]-minValue))
	}
	var before blameRow
	for _, r := range rows {
		commit, author, date := r.commit, r.author, r.date
		if commit == before.commit && author == before.author && date == before.date {
			commit, author, date = "", "", "" // as above
		}
		before = r
		if width > 0 {
			r.place, r.path = cutLeft(r.place, wide[3]), cutLeft(r.path, wide[4])
			r.value = cutRight(r.value, max(minValue, width-wide[0]-wide[1]-wide[2]-wide[3]-max(wide[4], utf8.RuneCountInString(r.path))-5*2))
		}
		line := colour.Yellow(pad(commit, wide[0])) + "  " + pad(author, wide[1]) + "  " + colour.dim(pad(date, wide[2])) + "  " +
			colour.dim(pad(r.place, wide[3])) + "  " + pad(r.path, wide[4]) + "  " + colour.Green(r.value)
		if _, err := fmt.Fprintln(out, strings.TrimRight(line, " ")); err != nil {
			return err
		}
	}
	return nil
}

// cutLeft keeps the end of a text, which says most of a path.
func cutLeft(text string, most int) string {
	runes := []rune(text)
	if len(runes) <= most {
		return text
	}
	return "…" + string(runes[len(runes)-most+1:])
}

func cutRight(text string, most int) string {
	runes := []rune(text)
	if len(runes) <= most {
		return text
	}
	return string(runes[:most-1]) + "…"
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
			r.commit, r.author, r.date = ShortSHA(c.SHA), c.Author.Name, c.Author.Date.Format(time.DateOnly)
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
	return cmp.Or(cutRight(text, maxShown), `""`)
}
