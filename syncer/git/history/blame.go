package history

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/utils/diff"
	"github.com/sergi/go-diff/diffmatchpatch"

	"headway.dev/syncer/git"
	"headway.dev/syncer/git/odb"
)

const (
	// maxBlameSteps bounds how many commits one blame looks at.
	maxBlameSteps = 500_000
	// maxBlameBlob bounds a file whose lines are blamed, in bytes.
	maxBlameBlob = 5 << 20
	// keepBlames is for how many files an answer is kept.
	keepBlames = 256
)

// Blame says which commit set each line of a file as it is at a commit; what
// it returns is indexed by line, from 0, and shared: it must not be changed. A
// line is that of the newest commit at which no parent has it. Renames are not
// followed: the commit that moved a file set all of its lines. At a shallow
// boundary the oldest commit there is has set what is left.
//
// Only commits that touch the file cost more than a comparison of hashes, and
// an answer for the same file at an ancestor shortens the next one.
func Blame(ctx context.Context, repo *git.Repository, commit, file string) ([]*git.Commit, error) {
	hash := plumbing.NewHash(commit)
	known, _ := repo.Memo(memoKey{}, func() any { return &blames{} }).(*blames)
	if lines, ok := known.get(file, hash); ok {
		return lines, nil
	}
	b := &blame{
		known: known, path: strings.Split(file, "/"), file: file, described: map[plumbing.Hash]*git.Commit{},
	}
	if err := b.begin(repo, hash); err != nil {
		return nil, fmt.Errorf("blame %s at %s: %w", file, commit, err)
	}
	for steps := 0; b.suspects.len() > 0; steps++ {
		if steps > maxBlameSteps {
			return nil, fmt.Errorf("blame %s: more than %d commits to look at", file, maxBlameSteps)
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := b.step(); err != nil {
			return nil, fmt.Errorf("blame %s at %s: %w", file, commit, err)
		}
	}
	known.put(file, hash, b.lines)
	return b.lines, nil
}

// blame is one run. Lines that nobody is found for yet belong to a suspect, a
// commit that has them; it passes them to the parents that have them, too.
type blame struct {
	store     *git.Storage
	known     *blames
	shallow   map[plumbing.Hash]bool // commits whose parents were not fetched
	file      string
	path      []string
	lines     []*git.Commit
	suspects  frontier[*suspect]
	described map[plumbing.Hash]*git.Commit
}

// suspect is a commit with the lines that it may have set.
type suspect struct {
	of *object.Commit
	// chain are the hashes of the tree, of the directories on the path in it,
	// and of the file.
	chain []plumbing.Hash
	lines []line
}

// line is a line of the answer with its place in the suspect's file.
type line struct{ final, at int }

func (s *suspect) blob() plumbing.Hash   { return s.chain[len(s.chain)-1] }
func (s *suspect) commit() plumbing.Hash { return s.of.Hash }
func (s *suspect) when() int64           { return s.of.Committer.When.Unix() }

func (b *blame) begin(repo *git.Repository, hash plumbing.Hash) error {
	var shallow []plumbing.Hash
	err := repo.Read(func(store *git.Storage) (err error) {
		b.store = store
		shallow, err = store.Shallow()
		return err
	})
	if err != nil {
		return err
	}
	b.shallow = make(map[plumbing.Hash]bool, len(shallow))
	for _, s := range shallow {
		b.shallow[s] = true
	}
	// From here on objects are read only, which needs no lock: a sync does not
	// have to wait for an answer.
	c, err := object.GetCommit(b.store, hash)
	if err != nil {
		return err
	}
	chain, err := b.chain(c.TreeHash, nil)
	if err != nil {
		return err
	}
	if chain == nil {
		return errors.New("no such file")
	}
	first := &suspect{of: c, chain: chain}
	text, err := b.text(first.blob())
	if err != nil {
		return err
	}
	b.lines = make([]*git.Commit, len(text))
	for i := range text {
		first.lines = append(first.lines, line{i, i})
	}
	b.suspects.add(first)
	return nil
}

// step settles the newest suspect: its lines go to its parents or stay.
func (b *blame) step() error {
	s := b.suspects.next()
	if known, ok := b.known.get(b.file, s.of.Hash); ok {
		for _, l := range s.lines {
			b.lines[l.final] = known[l.at]
		}
		return nil
	}
	rest, passed, err := b.pass(s)
	if err != nil {
		return err
	}
	for _, p := range passed {
		b.suspect(p)
	}
	for _, l := range rest {
		b.lines[l.final] = b.describe(s.of)
	}
	return nil
}

// pass splits a suspect's lines into those that it set and those that its
// parents have.
func (b *blame) pass(s *suspect) (rest []line, passed []*suspect, err error) {
	if b.shallow[s.of.Hash] {
		return s.lines, nil, nil
	}
	var parents []*suspect
	for _, hash := range s.of.ParentHashes {
		c, err := object.GetCommit(b.store, hash)
		if err != nil {
			return nil, nil, err
		}
		chain, err := b.chain(c.TreeHash, s.chain)
		if err != nil {
			return nil, nil, err
		}
		if chain == nil {
			continue
		}
		p := &suspect{of: c, chain: chain}
		if p.blob() == s.blob() {
			p.lines = s.lines
			return nil, []*suspect{p}, nil
		}
		parents = append(parents, p)
	}
	rest = s.lines
	for _, p := range parents {
		if len(rest) == 0 {
			break
		}
		origin, err := b.match(p.blob(), s.blob())
		if err != nil {
			return nil, nil, err
		}
		var kept []line
		for _, l := range rest {
			if at := origin[l.at]; at >= 0 {
				p.lines = append(p.lines, line{l.final, at})
			} else {
				kept = append(kept, l)
			}
		}
		if rest = kept; len(p.lines) > 0 {
			passed = append(passed, p)
		}
	}
	return rest, passed, nil
}

// suspect adds a commit with lines, or the lines to those that it waits with
// already.
func (b *blame) suspect(p *suspect) {
	if have, ok := b.suspects.get(p.of.Hash); ok {
		have.lines = slices.Concat(have.lines, p.lines)
		return
	}
	b.suspects.add(p)
}

func (b *blame) describe(c *object.Commit) *git.Commit {
	d := b.described[c.Hash]
	if d == nil {
		full := git.Describe(c)
		d = &full
		b.described[c.Hash] = d
	}
	return d
}

// chain follows the path in a tree. As soon as it meets a hash that is in like
// at the same place, the rest is that of like: most commits leave the file's
// directory alone, and cost one look at one tree. It is nil if there is no such
// file.
func (b *blame) chain(tree plumbing.Hash, like []plumbing.Hash) ([]plumbing.Hash, error) {
	chain := append(make([]plumbing.Hash, 0, len(b.path)+1), tree)
	for i, name := range b.path {
		if like != nil && chain[i] == like[i] {
			return append(chain, like[i+1:]...), nil
		}
		hash, isDir, err := b.child(chain[i], name)
		if err != nil {
			return nil, err
		}
		if hash.IsZero() || isDir != (i < len(b.path)-1) {
			return nil, nil
		}
		chain = append(chain, hash)
	}
	return chain, nil
}

// child finds one name in a tree without decoding the others; the hash is zero
// if there is no file or directory of that name.
func (b *blame) child(tree plumbing.Hash, name string) (hash plumbing.Hash, isDir bool, err error) {
	data, err := b.bytes(plumbing.TreeObject, tree, git.MaxTree)
	if err != nil {
		return plumbing.ZeroHash, false, err
	}
	// Each entry is "mode name\0" and 20 bytes.
	for len(data) > 0 {
		end := bytes.IndexByte(data, 0)
		if end < 0 || len(data) < end+21 {
			return plumbing.ZeroHash, false, fmt.Errorf("read tree %s: malformed", tree)
		}
		mode, found, _ := bytes.Cut(data[:end], []byte(" "))
		if string(found) == name {
			copy(hash[:], data[end+1:end+21])
			isDir = string(mode) == "40000"
			if !isDir && !bytes.HasPrefix(mode, []byte("100")) {
				hash = plumbing.ZeroHash // a link or a submodule
			}
			return hash, isDir, nil
		}
		data = data[end+21:]
	}
	return plumbing.ZeroHash, false, nil
}

func (b *blame) bytes(kind plumbing.ObjectType, hash plumbing.Hash, limit int64) ([]byte, error) {
	have, data, err := b.store.Objects.Read(odb.Hash(hash), limit)
	if err == nil && plumbing.ObjectType(have) != kind {
		err = fmt.Errorf("object %s is a %s instead of a %s", hash, have, kind)
	}
	return data, err
}

// text is a file's lines.
func (b *blame) text(blob plumbing.Hash) ([]string, error) {
	data, err := b.bytes(plumbing.BlobObject, blob, maxBlameBlob)
	if err != nil {
		return nil, err
	}
	return strings.SplitAfter(strings.TrimSuffix(string(data), "\n"), "\n"), nil
}

// match says for each line of the blob new which line of old it was, -1 for
// none.
func (b *blame) match(older, newer plumbing.Hash) ([]int, error) {
	from, err := b.text(older)
	if err != nil {
		return nil, err
	}
	to, err := b.text(newer)
	if err != nil {
		return nil, err
	}
	origin := make([]int, 0, len(to))
	at := 0
	// Ending in a line feed each, or the last line would differ by its end.
	for _, d := range diff.Do(strings.Join(from, "")+"\n", strings.Join(to, "")+"\n") {
		n := strings.Count(d.Text, "\n")
		switch d.Type {
		case diffmatchpatch.DiffEqual:
			for i := range n {
				origin = append(origin, at+i)
			}
			at += n
		case diffmatchpatch.DiffDelete:
			at += n
		case diffmatchpatch.DiffInsert:
			for range n {
				origin = append(origin, -1)
			}
		}
	}
	return origin, nil
}

// memoKey is what a repository keeps its blames under.
type memoKey struct{}

// blames keeps the newest answer for each of some files.
type blames struct {
	mu    sync.Mutex
	known map[string]knownBlame
	order []string // of the files, the one that was asked for first is first
}

type knownBlame struct {
	commit plumbing.Hash
	lines  []*git.Commit
}

func (b *blames) get(file string, commit plumbing.Hash) ([]*git.Commit, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	k, ok := b.known[file]
	return k.lines, ok && k.commit == commit
}

func (b *blames) put(file string, commit plumbing.Hash, lines []*git.Commit) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.known == nil {
		b.known = map[string]knownBlame{}
	}
	if _, ok := b.known[file]; !ok {
		if b.order = append(b.order, file); len(b.order) > keepBlames {
			delete(b.known, b.order[0])
			b.order = b.order[1:]
		}
	}
	b.known[file] = knownBlame{commit, lines}
}
