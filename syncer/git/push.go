package git

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/transport"
)

// RefusedError says that the remote took what was pushed, and does not move
// the branch to it: a hook or a rule of the remote forbids that.
type RefusedError struct {
	Ref string
	// Status is the remote's word on it.
	Status string
}

func (e *RefusedError) Error() string { return "command error on " + e.Ref + ": " + e.Status }

// Temporary reports whether writing to a branch may succeed when it is tried
// again later: the remote was not reached or failed, or the branch kept moving.
// What the remote refuses (credentials, a hook, a protected branch) is not.
func Temporary(err error) bool {
	if errors.Is(err, ErrMoved) {
		return true
	}
	for _, final := range []error{transport.ErrAuthenticationRequired, transport.ErrAuthorizationFailed, transport.ErrRepositoryNotFound, ErrTooLarge} {
		if errors.Is(err, final) {
			return false
		}
	}
	if _, refused := errors.AsType[*RefusedError](err); refused {
		return false
	}
	_, said := errors.AsType[*saidError](err)
	return said
}

const (
	statusOK = "ok"
	// statusNotUpdated is what Git's receive-pack says if it cannot write the
	// reference, mostly because another push is just about to.
	statusNotUpdated = "failed to update ref"
	// packWindow is how many objects Git tries as the base of a delta.
	packWindow = 10
)

// push moves the remote's branch from one commit to another that stands on it.
// It fails with ErrMoved if the branch is elsewhere, and with a RefusedError if
// the remote does not let it be moved.
func (r *Repository) push(ctx context.Context, branch plumbing.ReferenceName, from, to plumbing.Hash, auth *Auth) error {
	err := r.pushTo(ctx, branch, from, to, auth)
	if refused, ok := errors.AsType[*RefusedError](err); ok {
		// Whether somebody else was first, the reference tells and not the words.
		if at, lookErr := r.lookAt(ctx, branch, auth); lookErr == nil && at != from || refused.Status == statusNotUpdated {
			err = ErrMoved
		}
	}
	if err == nil || errors.Is(err, ErrMoved) {
		return err
	}
	return r.remoteError(ctx, "push to", err)
}

func (r *Repository) pushTo(ctx context.Context, branch plumbing.ReferenceName, from, to plumbing.Hash, auth *Auth) error {
	talk, err := r.converse(ctx, receivePack, auth)
	if err != nil {
		return err
	}
	defer talk.close()
	adv, err := advertised(ctx, talk)
	if err != nil {
		return err
	}
	switch at := adv.References[branch.String()]; at {
	case to:
		return nil
	case from:
	default:
		return ErrMoved
	}
	request, err := r.pushRequest(ctx, adv.Capabilities, &packp.Command{Name: branch, Old: from, New: to})
	if err != nil {
		return err
	}
	body, err := talk.ask(ctx, request)
	if err != nil {
		return err
	}
	defer body.Close()
	return readReport(body, branch)
}

// lookAt asks where the remote's branch is.
func (r *Repository) lookAt(ctx context.Context, branch plumbing.ReferenceName, auth *Auth) (plumbing.Hash, error) {
	talk, err := r.converse(ctx, receivePack, auth)
	if err != nil {
		return plumbing.ZeroHash, err
	}
	defer talk.close()
	adv, err := advertised(ctx, talk)
	if err != nil {
		return plumbing.ZeroHash, err
	}
	return adv.References[branch.String()], nil
}

// maxReport bounds what a remote says about a push, in bytes.
const maxReport = 1 << 20

// readReport reads what became of a push of one reference.
func readReport(body io.Reader, branch plumbing.ReferenceName) error {
	report := packp.NewReportStatus()
	if err := report.Decode(io.LimitReader(body, maxReport)); err != nil {
		return fmt.Errorf("read the report: %w", err)
	}
	for _, c := range report.CommandStatuses {
		if c.ReferenceName == branch && c.Status != statusOK && report.UnpackStatus == statusOK {
			return &RefusedError{Ref: branch.String(), Status: c.Status}
		}
	}
	return report.Error()
}

// pushRequest is the command, and a pack of what the remote lacks.
func (r *Repository) pushRequest(ctx context.Context, caps *capability.List, command *packp.Command) ([]byte, error) {
	if !caps.Supports(capability.ReportStatus) {
		return nil, errors.New("the server does not report what becomes of a push")
	}
	commits, err := newWalk(r.commit).between(ctx, command.Old, command.New, 0)
	if err != nil {
		return nil, fmt.Errorf("list the commits to push: %w", err)
	}
	if !above(commits, command.Old)[command.New] {
		return nil, ErrMoved // what it stood on is not the branch any more
	}
	var buf bytes.Buffer
	request := packp.NewReferenceUpdateRequestFromCapabilities(caps)
	request.Commands = []*packp.Command{command}
	if err := request.Encode(&buf); err != nil {
		return nil, err
	}
	start := buf.Len()
	err = r.read(func() error {
		buf.Truncate(start)
		objects := map[plumbing.Hash]bool{}
		for _, v := range commits {
			if err := r.brings(v, objects); err != nil {
				return err
			}
		}
		list := make([]plumbing.Hash, 0, len(objects))
		for hash := range objects {
			list = append(list, hash)
		}
		_, err := packfile.NewEncoder(&buf, r.store, !caps.Supports(capability.OFSDelta)).Encode(list, packWindow)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("pack what to push: %w", err)
	}
	return buf.Bytes(), nil
}

// brings adds the objects that a commit has and its first parent has not.
func (r *Repository) brings(v *stop, objects map[plumbing.Hash]bool) error {
	tree := func(commit plumbing.Hash) (plumbing.Hash, error) {
		c, err := object.GetCommit(r.store, commit)
		if err != nil {
			return plumbing.ZeroHash, err
		}
		return c.TreeHash, nil
	}
	after, err := tree(v.hash)
	if err != nil {
		return err
	}
	var before plumbing.Hash
	if len(v.parents) > 0 {
		if before, err = tree(v.parents[0]); err != nil {
			return err
		}
	}
	objects[v.hash] = true
	return r.bringsBelow(before, after, objects)
}

func (r *Repository) bringsBelow(before, after plumbing.Hash, objects map[plumbing.Hash]bool) error {
	if before == after || objects[after] {
		return nil
	}
	objects[after] = true
	old, err := r.entries(before)
	if err != nil {
		return err
	}
	now, err := r.entries(after)
	if err != nil {
		return err
	}
	for name, e := range now {
		was := old[name]
		switch {
		case e == was, e.Mode == filemode.Submodule:
		case e.Mode == filemode.Dir:
			if was.Mode != filemode.Dir {
				was.Hash = plumbing.ZeroHash
			}
			if err := r.bringsBelow(was.Hash, e.Hash, objects); err != nil {
				return err
			}
		case e.Hash != was.Hash:
			objects[e.Hash] = true
		}
	}
	return nil
}
