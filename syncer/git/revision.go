package git

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"

	"headway.dev/syncer/git/remote"
)

// planned is where a mirror keeps the references that were only looked at:
// apart from those that it follows.
const planned = "refs/headway/plan/"

// request matches the short names of pull requests: of GitHub, Gitea and
// Forgejo, and of GitLab.
var request = regexp.MustCompile(`^(pull|merge-requests)/[0-9]+(/head|/merge)?$`)

// FetchRevision resolves a revision that need not be the one being followed,
// for previews, and fetches it with its history if it is not there yet. It is a
// branch, a tag, a commit, the full name of a reference, or a pull request:
// pull/N or merge-requests/N for the proposed commit, with /merge at the end
// for its merge with the target, if the host provides one.
func (r *Repository) FetchRevision(ctx context.Context, rev string, auth *remote.Auth) (string, error) {
	if plumbing.IsHash(rev) {
		if _, err := r.Commit(rev); err == nil {
			return rev, nil
		}
	}
	refs, from, err := r.references(ctx, auth)
	if err != nil {
		return "", err
	}
	defer from.close()
	for _, name := range namesOf(rev) {
		want := refs[name]
		switch {
		case want == nil:
		case r.Local():
			return r.peel(want.Hash())
		case want.Name().IsBranch():
			if err := from.fetch(ctx, []target{follow(want)}, true); err != nil {
				return "", err
			}
			return r.peel(want.Hash())
		default:
			return r.fetchPlanned(ctx, from, name.String(), want.Hash())
		}
	}
	if request.MatchString(rev) {
		return "", fmt.Errorf("the remote has no pull request %s: it lists neither %s", rev, joined(namesOf(rev), " nor "))
	}
	sha, err := r.Resolve(rev)
	if err == nil || r.Local() || !plumbing.IsHash(rev) {
		return sha, err
	}
	// Of no branch that was fetched; many servers give it all the same.
	if sha, ferr := r.fetchPlanned(ctx, from, rev, plumbing.NewHash(rev)); ferr == nil {
		return sha, nil
	}
	return "", fmt.Errorf("%w; the remote does not give out single commits: name the branch or pull request that has it", err)
}

// fetchPlanned brings a reference, or a commit by its hash.
func (r *Repository) fetchPlanned(ctx context.Context, from *incoming, name string, hash plumbing.Hash) (string, error) {
	to := plumbing.ReferenceName(planned + strings.TrimPrefix(name, "refs/"))
	if err := from.fetch(ctx, []target{{name: name, to: to, hash: hash}}, true); err != nil {
		return "", err
	}
	return r.peel(hash)
}

// namesOf are the references that a revision may mean, the likeliest first.
func namesOf(rev string) []plumbing.ReferenceName {
	var names []plumbing.ReferenceName
	switch found := request.FindStringSubmatch(rev); {
	case strings.HasPrefix(rev, "refs/"):
		names = append(names, plumbing.ReferenceName(rev))
	case found != nil && found[2] == "":
		names = append(names, plumbing.ReferenceName("refs/"+rev+"/head"))
	case found != nil:
		names = append(names, plumbing.ReferenceName("refs/"+rev))
	}
	return append(names, plumbing.NewBranchReferenceName(rev), plumbing.NewTagReferenceName(rev))
}

func joined(names []plumbing.ReferenceName, with string) string {
	words := make([]string, len(names))
	for i, n := range names {
		words[i] = n.String()
	}
	return strings.Join(words, with)
}
