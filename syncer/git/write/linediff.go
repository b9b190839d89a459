package write

import (
	"github.com/go-git/go-git/v5/utils/diff"
	"github.com/sergi/go-diff/diffmatchpatch"
)

// hunk says that lines [from, to) of one text are lines [newFrom, newTo) of
// another; either may be empty.
type hunk struct{ from, to, newFrom, newTo int }

// maxChain is how often a line may be in a text to be an anchor of a
// difference, as in Git.
const maxChain = 64

// maxDiffWork bounds the lines that one difference looks at, over and over.
const maxDiffWork = 20_000_000

// lineDiff finds the difference of two texts as Git's merges do: by histogram,
// which takes the rarest lines that both have as anchors, with each group of
// changed lines then moved as far down as it can be. It gives up, and returns
// false, on texts that were made to be hard to compare.
func lineDiff(a, b []string) ([]hunk, bool) {
	d := &histogram{a: a, b: b, work: maxDiffWork, goneA: make([]bool, len(a)), newB: make([]bool, len(b))}
	d.compare(0, len(a), 0, len(b))
	if d.work < 0 {
		return nil, false
	}
	settle(changes{a, d.goneA}, changes{b, d.newB})
	settle(changes{b, d.newB}, changes{a, d.goneA})
	var hunks []hunk
	for i, j := 0, 0; i < len(a) || j < len(b); {
		h := hunk{from: i, newFrom: j}
		for i < len(a) && d.goneA[i] {
			i++
		}
		for j < len(b) && d.newB[j] {
			j++
		}
		if h.to, h.newTo = i, j; h.to > h.from || h.newTo > h.newFrom {
			hunks = append(hunks, h)
			continue
		}
		i, j = i+1, j+1
	}
	return hunks, true
}

// histogram marks which lines of a are gone in b, and which of b are new.
type histogram struct {
	a, b        []string
	goneA, newB []bool
	work        int // that may still be done
}

// compare marks the lines of a[a0:a1] and b[b0:b1].
func (d *histogram) compare(a0, a1, b0, b1 int) {
	for {
		if d.work -= a1 - a0 + b1 - b0; d.work < 0 {
			return
		}
		if a0 == a1 || b0 == b1 {
			d.differ(a0, a1, b0, b1)
			return
		}
		at, common := d.anchor(a0, a1, b0, b1)
		switch {
		case common && at.to == at.from:
			d.fallback(a0, a1, b0, b1)
			return
		case !common:
			d.differ(a0, a1, b0, b1)
			return
		}
		d.compare(a0, at.from, b0, at.newFrom)
		a0, b0 = at.to, at.newTo
	}
}

func (d *histogram) differ(a0, a1, b0, b1 int) {
	for i := a0; i < a1; i++ {
		d.goneA[i] = true
	}
	for j := b0; j < b1; j++ {
		d.newB[j] = true
	}
}

// anchor finds the run of common lines that has the rarest line of all, or of
// those the longest. It is empty, with common set, if there are only lines that
// are too frequent.
func (d *histogram) anchor(a0, a1, b0, b1 int) (best hunk, common bool) {
	where := map[string][]int{} // of each line of a, from first to last
	for i := a0; i < a1; i++ {
		where[d.a[i]] = append(where[d.a[i]], i)
	}
	rarest := maxChain + 1
	for j := b0; j < b1; {
		next := j + 1
		at := where[d.b[j]]
		common = common || len(at) > 0
		if len(at) > rarest {
			at = nil
		}
		for past, i := -1, 0; i < len(at); i++ {
			if at[i] < past {
				continue // within the run before
			}
			run, count := hunk{at[i], at[i] + 1, j, j + 1}, len(at)
			for run.from > a0 && run.newFrom > b0 && d.a[run.from-1] == d.b[run.newFrom-1] {
				run.from, run.newFrom = run.from-1, run.newFrom-1
				count = min(count, len(where[d.a[run.from]]))
			}
			for run.to < a1 && run.newTo < b1 && d.a[run.to] == d.b[run.newTo] {
				count = min(count, len(where[d.a[run.to]]))
				run.to, run.newTo = run.to+1, run.newTo+1
			}
			if d.work -= run.to - run.from; d.work < 0 {
				return hunk{}, false
			}
			next, past = max(next, run.newTo), run.to
			if run.to-run.from > best.to-best.from || count < rarest {
				best, rarest = run, count
			}
		}
		j = next
	}
	if rarest > maxChain {
		best = hunk{}
	}
	return best, common
}

// fallback marks lines where all that both have are frequent.
func (d *histogram) fallback(a0, a1, b0, b1 int) {
	if d.work -= (a1 - a0) * (b1 - b0); d.work < 0 {
		return
	}
	i, j := a0, b0
	before, after := concat(d.a[a0:a1]), concat(d.b[b0:b1])
	for _, part := range diff.Do(before, after) {
		for range len(splitLines(part.Text)) {
			switch part.Type {
			case diffmatchpatch.DiffDelete:
				d.goneA[i] = true
				i++
			case diffmatchpatch.DiffInsert:
				d.newB[j] = true
				j++
			case diffmatchpatch.DiffEqual:
				i, j = i+1, j+1
			}
		}
	}
}

// changes are the lines of a text, and which of them are not in another.
type changes struct {
	lines   []string
	changed []bool
}

// group is a run of changed lines, maybe empty, between unchanged ones.
type group struct{ from, to int }

func (c changes) first() group { return c.grow(group{}) }

func (c changes) grow(g group) group {
	for g.to < len(c.changed) && c.changed[g.to] {
		g.to++
	}
	return g
}

// next is the group behind the unchanged line after g.
func (c changes) next(g group) (group, bool) {
	if g.to == len(c.lines) {
		return g, false
	}
	return c.grow(group{g.to + 1, g.to + 1}), true
}

// before is the group ahead of the unchanged line before g.
func (c changes) before(g group) group {
	b := group{g.from - 1, g.from - 1}
	for b.from > 0 && c.changed[b.from-1] {
		b.from--
	}
	return b
}

// down moves a group by a line, and joins it with the one that it meets.
func (c changes) down(g *group) bool {
	if g.to == len(c.lines) || c.lines[g.from] != c.lines[g.to] {
		return false
	}
	c.changed[g.from], c.changed[g.to] = false, true
	g.from++
	*g = c.grow(*g)
	return true
}

// up is the contrary of down.
func (c changes) up(g *group) bool {
	if g.from == 0 || c.lines[g.from-1] != c.lines[g.to-1] {
		return false
	}
	g.from, g.to = g.from-1, g.to-1
	c.changed[g.from], c.changed[g.to] = true, false
	for g.from > 0 && c.changed[g.from-1] {
		g.from--
	}
	return true
}

// settle moves each group of changed lines of c that can be moved to where
// other has a change as well, or else as far down as possible.
func settle(c, other changes) {
	g, o := c.first(), other.first()
	for more := true; more; {
		if g.from < g.to {
			g, o = settleGroup(c, other, g, o)
		}
		if g, more = c.next(g); more {
			o, _ = other.next(o)
		}
	}
}

func settleGroup(c, other changes, g, o group) (group, group) {
	for {
		size := g.to - g.from
		for c.up(&g) {
			o = other.before(o)
		}
		highest, beside := g.to, -1
		if o.from < o.to {
			beside = g.to
		}
		for c.down(&g) {
			if o, _ = other.next(o); o.from < o.to {
				beside = g.to
			}
		}
		if g.to-g.from != size {
			continue // it met another
		}
		if g.to != highest && beside >= 0 {
			for o.from == o.to && c.up(&g) {
				o = other.before(o)
			}
		}
		return g, o
	}
}
