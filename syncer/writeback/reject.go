package writeback

import (
	"context"
	"fmt"
	"slices"
	"strings"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/yaml/load"
	"headway.dev/manifests/yaml/origin"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/git"
	"headway.dev/syncer/git/history"
	"headway.dev/syncer/plan"
	"headway.dev/syncer/render"
	"headway.dev/syncer/source"
)

// CauseGitOwned is the type of a Status's causes that name the fields which Git
// sets, and where.
const CauseGitOwned metav1.CauseType = "FieldOwnedByGit"

// reject refuses a write of anything that the next sync would put back.
func (s *Writeback) reject(ctx context.Context, ks *kustomizev1.Kustomization, key object.Key, w change.Request) error {
	item, v, err := s.declared(ks, key)
	if err != nil {
		return err
	}
	ks = v.ks
	if item.Object == nil {
		return nil // it is gone from Git, and no longer defended
	}
	if w.Next == nil {
		if left, err := s.afterSync(ctx, ks, item, key, w.Old); err != nil || left == nil {
			return err
		}
		return s.refusal(ctx, ks, key, v, item, []string{""})
	}
	after, err := s.afterSync(ctx, ks, item, key, w.Next)
	if err != nil {
		return refusedWrite(key, err.Error())
	}
	if after == nil {
		return nil
	}
	owned := common(s.changes(w.Next, after), s.changes(w.Old, w.Next))
	if len(owned) == 0 {
		return nil
	}
	if s.otherVersion(item) != "" {
		// Where Git sets them is known by the names that they have there.
		states, err := s.asDeclared(ctx, item, w.Old, w.Next, after)
		if err != nil {
			return refusedWrite(key, err.Error())
		}
		if there := common(s.changes(states[1], states[2]), s.changes(states[0], states[1])); len(there) > 0 {
			owned = there
		}
	}
	return s.refusal(ctx, ks, key, v, item, owned)
}

// common are the paths of the first changes that are parts of the others, or around them.
func common(changes, others []fieldChange) []string {
	var paths []string
	for _, c := range changes {
		if slices.ContainsFunc(others, func(o fieldChange) bool { return partOf(c.path, o.path) || partOf(o.path, c.path) }) {
			paths = append(paths, c.path)
		}
	}
	return paths
}

// partOf reports whether a path is another one or a part of it.
func partOf(path, outer string) bool {
	rest, ok := strings.CutPrefix(path, outer)
	return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

// refusedWrite is the answer to a write that cannot be.
func refusedWrite(key object.Key, reason string) *apierrors.StatusError {
	return apierrors.NewForbidden(plan.Resource(key), key.Name, fmt.Errorf("%s", reason))
}

// refusal names the places in Git that own the fields; the empty path is the
// whole object.
func (s *Writeback) refusal(ctx context.Context, ks *kustomizev1.Kustomization, key object.Key, v *view, item load.Item, paths []string) error {
	trace, err := origin.Of(v.tree, render.CleanDir(ks.Spec.Path), &ks.Spec, item)
	if err != nil {
		return refusedWrite(key, err.Error())
	}
	const most = 10 // fields that are named
	var causes []metav1.StatusCause
	var words []string
	other := s.otherVersion(item)
	for i, path := range paths {
		if i == most {
			words = append(words, fmt.Sprintf("and %d more", len(paths)-most))
			break
		}
		name := path
		switch {
		case path == "":
			name = "the object"
		case other != "":
			name += " of " + other
		}
		if path != "" && !s.declares(item, path) {
			words = append(words, name+" is not in Git, and the next sync would take it away")
			causes = append(causes, metav1.StatusCause{Type: CauseGitOwned, Field: path, Message: item.Source.String()})
			continue
		}
		at := item.Source
		if o, ok := nearest(trace, path); ok {
			at = o.Source
		}
		place := at.String()
		if at.File == "" {
			place = fmt.Sprintf("the spec of the Kustomization %s/%s", ks.Namespace, ks.Name)
		} else if from := v.head.IncludedFrom(at.File); from != "" {
			place += ", included from the GitRepository " + from
		} else if c, err := s.lineCommit(ctx, ks, v.head.Commit, at); err == nil {
			place += fmt.Sprintf(" (commit %.12s, %q)", c.SHA, c.Subject)
		}
		words = append(words, name+" is set by Git in "+place)
		causes = append(causes, metav1.StatusCause{Type: CauseGitOwned, Field: path, Message: place})
	}
	out := refusedWrite(key, fmt.Sprintf("%s; change it in Git and push. In an emergency: kubectl -n %s annotate kustomization %s %s=%s --overwrite",
		strings.Join(words, "; "), ks.Namespace, ks.Name, flux.Of(ks).GitWrites.Name, flux.WritesHeal))
	out.ErrStatus.Details.Causes = causes
	return out
}

// nearest is the origin of a field, or of the nearest one around it.
func nearest(trace *origin.Trace, path string) (origin.Origin, bool) {
	for path != "" {
		if o, ok := trace.Field(path); ok {
			return o, true
		}
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
	}
	return origin.Origin{}, false
}

// lineCommit is the commit that the line of a file is from.
func (s *Writeback) lineCommit(ctx context.Context, ks *kustomizev1.Kustomization, sha string, at load.Source) (*git.Commit, error) {
	src := s.Sources.Get(flux.SourceKey(ks))
	if src == nil {
		return nil, source.ErrNotYet
	}
	h, _ := src.Current()
	repo, err := h.Repository()
	if err != nil {
		return nil, err
	}
	lines, err := history.Blame(ctx, repo, sha, at.File)
	if err != nil {
		return nil, err
	}
	if at.Line < 1 || at.Line > len(lines) || lines[at.Line-1] == nil {
		return nil, fmt.Errorf("%s has no such line", at)
	}
	return lines[at.Line-1], nil
}
