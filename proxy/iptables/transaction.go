package iptables

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// transaction is the input of iptables-restore that turns have into want, and
// the number of chains in it.
func (t *table) transaction(have map[chainID][]string, all bool) (input []byte, n int) {
	var b bytes.Buffer
	for _, table := range tables {
		dirty, gone := t.differ(table, have, all)
		if len(dirty)+len(gone) == 0 {
			continue
		}
		n += len(dirty) + len(gone)
		byName := func(a, b chainID) int { return strings.Compare(a.name, b.name) }
		slices.SortFunc(dirty, byName)
		slices.SortFunc(gone, byName)
		fmt.Fprintf(&b, "*%s\n", table)
		// Naming a chain creates it, or empties it if it is there. All come
		// before the rules, because rules name other chains.
		for _, id := range slices.Concat(dirty, gone) {
			fmt.Fprintf(&b, ":%s - [0:0]\n", id.name)
		}
		for _, id := range dirty {
			for _, rule := range t.want[id] {
				fmt.Fprintf(&b, "-A %s %s\n", id.name, rule)
			}
		}
		for _, id := range gone {
			fmt.Fprintf(&b, "-X %s\n", id.name)
		}
		b.WriteString("COMMIT\n")
	}
	return b.Bytes(), n
}

// differ lists the chains of one table that are to be written, and those that
// are to go. Unless it is about all, it looks at the dirty ones only.
func (t *table) differ(table string, have map[chainID][]string, all bool) (dirty, gone []chainID) {
	if !all {
		for id := range t.dirty {
			if id.table != table {
				continue
			}
			rules, wanted := t.want[id]
			old, there := have[id]
			switch {
			case wanted && (!there || !slices.Equal(old, rules)):
				dirty = append(dirty, id)
			case !wanted && there:
				gone = append(gone, id)
			}
		}
		return dirty, gone
	}
	for id := range t.want {
		if id.table == table {
			dirty = append(dirty, id)
		}
	}
	for id := range have {
		if _, ok := t.want[id]; id.table == table && !ok {
			gone = append(gone, id)
		}
	}
	return dirty, gone
}

var failedLine = regexp.MustCompile(`line:? (\d+)`)

// culprit is the rule in which a transaction failed, and its chain.
func culprit(input []byte, err error) (id chainID, rule string, ok bool) {
	m := failedLine.FindStringSubmatch(err.Error())
	if m == nil {
		return chainID{}, "", false
	}
	n, convErr := strconv.Atoi(m[1])
	lines := strings.Split(string(input), "\n")
	if convErr != nil || n < 1 || n > len(lines) {
		return chainID{}, "", false
	}
	words := strings.SplitN(lines[n-1], " ", 3)
	if len(words) < 3 || words[0] != "-A" {
		return chainID{}, "", false
	}
	for i := n - 1; i >= 0; i-- {
		if table, ok := strings.CutPrefix(lines[i], "*"); ok {
			return chainID{table, words[1]}, words[2], true
		}
	}
	return chainID{}, "", false
}
