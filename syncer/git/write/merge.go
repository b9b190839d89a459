package write

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"
)

const (
	// maxMerge bounds a file that is merged by lines, in bytes.
	maxMerge = 1 << 20
	// binaryHead is how much of a file is looked at for whether it is text, as
	// in Git.
	binaryHead = 8000
)

// mergeFile merges what became of a file on two sides by lines, as Git does.
// It returns the merged file and, if no object has it yet, its content; false
// if the sides conflict.
func (r reader) mergeFile(base, ours, theirs edit) (edit, []byte, bool, error) {
	mode, ok := mergeMode(base.Mode, ours.Mode, theirs.Mode)
	if !ok {
		return edit{}, nil, false, nil
	}
	switch {
	case ours.Hash == theirs.Hash, theirs.Hash == base.Hash:
		return edit{mode, ours.Hash}, nil, true, nil
	case ours.Hash == base.Hash:
		return edit{mode, theirs.Hash}, nil, true, nil
	}
	for _, e := range []edit{base, ours, theirs} {
		if e.Mode != filemode.Regular && e.Mode != filemode.Executable && e.Mode != filemode.Deprecated {
			return edit{}, nil, false, nil
		}
	}
	var texts [3][]byte
	for i, e := range []edit{base, ours, theirs} {
		text, fits, err := r.text(e.Hash)
		if err != nil || !fits {
			return edit{}, nil, false, err
		}
		texts[i] = text
	}
	merged, ok := mergeLines(texts[0], texts[1], texts[2])
	if !ok {
		return edit{}, nil, false, nil
	}
	return edit{mode, plumbing.ComputeHash(plumbing.BlobObject, merged)}, merged, true, nil
}

// mergeMode is the mode that one of the sides has changed; false if both have,
// or if one removed the file.
func mergeMode(base, ours, theirs filemode.FileMode) (filemode.FileMode, bool) {
	switch {
	case base == 0 || ours == 0 || theirs == 0:
		return 0, false
	case ours == theirs, theirs == base:
		return ours, true
	case ours == base:
		return theirs, true
	}
	return 0, false
}

// text reads a blob; false if it is too large to be merged, or is no text.
func (r reader) text(hash plumbing.Hash) ([]byte, bool, error) {
	blob, err := object.GetBlob(r.store, hash)
	if err != nil {
		return nil, false, err
	}
	if blob.Size > maxMerge {
		return nil, false, nil
	}
	reader, err := blob.Reader()
	if err != nil {
		return nil, false, err
	}
	content, err := io.ReadAll(io.LimitReader(reader, maxMerge))
	if err = errors.Join(err, reader.Close()); err != nil {
		return nil, false, err
	}
	return content, bytes.IndexByte(content[:min(len(content), binaryHead)], 0) < 0, nil
}

// mergeLines takes what either side changed; false if both changed the same
// lines, or lines beside each other, to something else, or if it takes too long
// to find out.
func mergeLines(base, ours, theirs []byte) ([]byte, bool) {
	o, a, b := splitLines(string(base)), splitLines(string(ours)), splitLines(string(theirs))
	left, ok := lineDiff(o, a)
	right, well := lineDiff(o, b)
	if !ok || !well {
		return nil, false
	}
	var out []string
	at := 0 // up to where base is merged
	for len(left)+len(right) > 0 {
		from := len(o)
		for _, hunks := range [][]hunk{left, right} {
			if len(hunks) > 0 {
				from = min(from, hunks[0].from)
			}
		}
		// What touches is one change.
		to, i, j := from, 0, 0
		for grown := true; grown; {
			grown = false
			for i < len(left) && left[i].from <= to {
				to, i, grown = max(to, left[i].to), i+1, true
			}
			for j < len(right) && right[j].from <= to {
				to, j, grown = max(to, right[j].to), j+1, true
			}
		}
		mine, yours := replaced(o, a, left[:i], from, to), replaced(o, b, right[:j], from, to)
		switch {
		case j == 0 || slices.Equal(mine, yours):
		case i == 0:
			mine = yours
		default:
			return nil, false
		}
		out = append(append(out, o[at:from]...), mine...)
		at, left, right = to, left[i:], right[j:]
	}
	return []byte(concat(append(out, o[at:]...))), true
}

// replaced are the lines that a side has for [from, to) of base.
func replaced(base, side []string, hunks []hunk, from, to int) []string {
	var out []string
	for _, h := range hunks {
		out = append(append(out, base[from:h.from]...), side[h.newFrom:h.newTo]...)
		from = h.to
	}
	return append(out, base[from:to]...)
}

// splitLines keeps the line ends: a last line without one is another line.
func splitLines(text string) []string {
	return slices.Collect(strings.Lines(text))
}

func concat(lines []string) string { return strings.Join(lines, "") }
