package git

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/transport"

	"headway.dev/syncer/git/odb"
	"headway.dev/syncer/git/remote"
)

const (
	// unbounded is the depth with which Git asks for a whole history.
	unbounded = 1<<31 - 1
	// maxHaves bounds what is sent of what the mirror has: of each reference
	// the newest commits, then fewer and fewer older ones, so that a common
	// one is found after a force-push, too.
	maxHaves   = 512
	havesOfRef = 48
	closeHaves = 16
)

// incoming is a fetch under way: the remote's references are known.
type incoming struct {
	r    *Repository
	with *remote.Session
	adv  *packp.AdvRefs
	refs map[plumbing.ReferenceName]*plumbing.Reference
}

// ask starts a conversation with the remote, and reads its references.
func (r *Repository) ask(ctx context.Context, auth *remote.Auth) (*incoming, error) {
	with, err := r.remote.Open(ctx, remote.UploadPack, auth)
	if errors.Is(err, transport.ErrEmptyRemoteRepository) {
		return nil, ErrEmpty
	}
	if err != nil {
		return nil, r.remote.Error(ctx, "list the references of", err)
	}
	adv := with.Advertised
	in := &incoming{r: r, with: with, adv: adv, refs: make(map[plumbing.ReferenceName]*plumbing.Reference, len(adv.References))}
	for name, hash := range adv.References {
		// What Git would not create is not there, whatever a server says.
		if n := plumbing.ReferenceName(name); validRef(n) && !hash.IsZero() {
			in.refs[n] = plumbing.NewHashReference(n, hash)
		}
	}
	return in, nil
}

func (in *incoming) close() {
	if in != nil {
		in.with.Close()
	}
}

// target is what to fetch, and where the mirror keeps it.
type target struct {
	name string // the remote's, for errors
	to   plumbing.ReferenceName
	hash plumbing.Hash
}

// follow is a reference of the remote, to be kept where a clone does.
func follow(ref *plumbing.Reference) target {
	return target{name: ref.Name().String(), to: tracking(ref.Name()), hash: ref.Hash()}
}

// fetch brings what is wanted: with its whole history, or the commits alone.
// The references are set last, so what they name is complete.
func (in *incoming) fetch(ctx context.Context, wants []target, history bool) error {
	shallows, err := in.shallows()
	if err != nil {
		return err
	}
	complete := true
	var hashes []plumbing.Hash
	for _, want := range wants {
		if complete = complete && in.has(want, history, shallows); !slices.Contains(hashes, want.hash) {
			hashes = append(hashes, want.hash)
		}
	}
	if complete {
		return nil
	}
	err = in.r.writing(ctx, func() error { return in.bring(ctx, hashes, shallows, history) })
	in.r.mu.Lock()
	defer in.r.mu.Unlock()
	in.r.store.reindex()
	if err != nil {
		return in.r.remote.Error(ctx, "fetch", err)
	}
	for _, want := range wants {
		if err := in.r.store.HasEncodedObject(want.hash); err != nil {
			return in.r.remote.Error(ctx, "fetch", fmt.Errorf("the server did not send %s, which is %s: %w", want.hash, want.name, err))
		}
		if err := in.r.store.SetReference(plumbing.NewHashReference(want.to, want.hash)); err != nil {
			return fmt.Errorf("fetch: set %s: %w", want.to, err)
		}
	}
	return nil
}

// has reports whether the mirror has it already.
func (in *incoming) has(want target, history bool, shallows []plumbing.Hash) bool {
	in.r.mu.Lock()
	defer in.r.mu.Unlock()
	have, err := in.r.store.Reference(want.to)
	return err == nil && have.Hash() == want.hash && (!history || !slices.Contains(shallows, want.hash))
}

// bring asks for the objects and takes them in.
func (in *incoming) bring(ctx context.Context, wants, shallows []plumbing.Hash, history bool) error {
	depth := 0
	switch {
	case !history:
		depth = 1
	case len(shallows) > len(in.adv.Shallows):
		depth = unbounded // a tag was fetched alone: get what is before it
	}
	if depth == 1 && !in.adv.Capabilities.Supports("shallow") {
		depth = 0
	}
	got, err := in.with.Fetch(ctx, remote.Request{Wants: wants, Haves: in.haves(), Shallows: shallows, Depth: depth})
	if err != nil {
		return err
	}
	defer func() { _ = got.Close() }()
	err = odb.Receive(ctx, filepath.Join(in.r.gitDir, "objects", "pack"), got.Pack, in.r.limits)
	if size := (*odb.SizeError)(nil); errors.As(err, &size) {
		return fmt.Errorf("%w: %w", remote.ErrTooLarge, err)
	}
	if err != nil {
		return err
	}
	if err := in.setShallows(shallows, got); err != nil {
		return err
	}
	return in.r.store.Objects.Consolidate(ctx)
}

// shallows are the commits whose parents the mirror lacks. A remote that is
// itself a part of a history adds its own.
func (in *incoming) shallows() ([]plumbing.Hash, error) {
	in.r.mu.Lock()
	defer in.r.mu.Unlock()
	list, err := in.r.store.Shallow()
	if err != nil {
		return nil, fmt.Errorf("read the shallow boundary: %w", err)
	}
	for _, h := range in.adv.Shallows {
		if !slices.Contains(list, h) && len(list) < maxHaves {
			list = append(list, h)
		}
	}
	return list, nil
}

func (in *incoming) setShallows(before []plumbing.Hash, got remote.Answer) error {
	after := slices.DeleteFunc(slices.Clone(before), func(h plumbing.Hash) bool { return slices.Contains(got.Unshallow, h) })
	for _, h := range got.Shallow {
		if !slices.Contains(after, h) {
			after = append(after, h)
		}
	}
	in.r.mu.Lock()
	defer in.r.mu.Unlock()
	if known, err := in.r.store.Shallow(); err == nil && slices.Equal(after, known) {
		return nil
	}
	if err := in.r.store.SetShallow(after); err != nil {
		return fmt.Errorf("write the shallow boundary: %w", err)
	}
	return nil
}

// haves are commits of the mirror that the remote need not send.
func (in *incoming) haves() []plumbing.Hash {
	seen := map[plumbing.Hash]bool{}
	var list []plumbing.Hash
	add := func(h plumbing.Hash) {
		if !seen[h] && len(list) < maxHaves {
			seen[h] = true
			list = append(list, h)
		}
	}
	_ = in.r.Read(func(*Storage) error {
		iter, err := in.r.store.IterReferences()
		if err != nil {
			return err
		}
		return iter.ForEach(func(ref *plumbing.Reference) error {
			if ref.Type() == plumbing.HashReference && len(list) < maxHaves {
				in.ancestors(ref.Hash(), add)
			}
			return nil
		})
	})
	return list
}

// ancestors calls add with a commit and some before it.
func (in *incoming) ancestors(h plumbing.Hash, add func(plumbing.Hash)) {
	gap := 0
	for n := range havesOfRef * havesOfRef {
		c, err := object.GetCommit(in.r.store, h)
		if err != nil {
			return // a tag, or the beginning of what there is
		}
		if n < closeHaves || n == gap {
			add(h)
			gap = 2 * max(n, closeHaves)
		}
		if len(c.ParentHashes) == 0 {
			return
		}
		h = c.ParentHashes[0]
	}
}
