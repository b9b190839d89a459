package history

import (
	"iter"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"

	"headway.dev/syncer/git"
)

// Nearest goes through at most limit commits of the history of the commit sha, in
// the order of how many steps from child to parent they are away, sha first. Dates
// play no part. It ends with an error at a commit that cannot be read.
func Nearest(repo *git.Repository, sha string, limit int) iter.Seq2[git.Commit, error] {
	return func(yield func(git.Commit, error) bool) {
		w := newWalk(repo)
		found := map[plumbing.Hash]*object.Commit{}
		read := w.read
		w.read = func(hash plumbing.Hash) (*object.Commit, error) {
			c, err := read(hash)
			found[hash] = c
			return c, err
		}
		// Whatever is ahead was added later than what comes next.
		w.date = func(*object.Commit) int64 { return -int64(len(w.seen)) }
		err, unread := w.add(plumbing.NewHash(sha), false), 0
		beyond := func(e error) error {
			if err == nil {
				err, unread = e, len(w.seen)
			}
			return nil
		}
		for n := 0; n < limit && (w.ahead.len() > 0 || err != nil); n++ {
			if err != nil && n == unread {
				yield(git.Commit{}, err)
				return
			}
			if err := w.step(beyond); err != nil {
				yield(git.Commit{}, err)
				return
			}
			at := w.listed[n].hash
			if !yield(git.Describe(found[at]), nil) {
				return
			}
			delete(found, at)
		}
	}
}
