package source

import (
	"context"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/object"
	"headway.dev/syncer/flux"
)

// kinds are the kinds of sources that there are.
var kinds = map[schema.GroupKind]Kind{
	flux.GitRepository: gitRepositories{},
}

// Kind is a kind of source. To follow sources of another kind, implement it and its
// [Follower], with the [Content] of its heads, in files of this package, and put it
// into kinds. Sources of that kind then have loops, which look at them when they are
// due, when somebody asks for it, and when a Secret of theirs changes; and what
// follows them is applied, kept as it is declared, and planned.
//
// What needs a Git repository asks for [Head.Repository] or [Source.Branch], and
// tells users the error of a kind that has none: rollbacks, writes by hand, automatic
// reverts, blame. What is shown of commits is left out then.
type Kind interface {
	// Spec is what an object of the kind says.
	Spec(obj object.Object) Spec
	// Follow returns what follows one source of the kind.
	Follow(src *Source) Follower
}

// Spec is what the spec of a source says, whatever its kind is.
type Spec struct {
	Interval time.Duration
	Suspend  bool
	URL      string
	// Verifies reports whether signatures are verified.
	Verifies bool
	// Timeout bounds what is done with the remote at once.
	Timeout time.Duration
	// Secrets names those of its namespace that it uses.
	Secrets []string
}

// Branch is a branch that can be written to.
type Branch struct {
	Name string
	// Object is the source's.
	Object object.Object
	Spec
}

// Follower follows one source. The loop of the source calls Look, Report, Failed and
// Close, one at a time; anybody may call the others at any time.
type Follower interface {
	// Look fetches what the object refers to, verifies it, and makes it the source's
	// head and content. What it starts is in wg and ends with ctx. The errors have
	// the reasons of conditions.
	Look(ctx context.Context, obj object.Object, wg *sync.WaitGroup) error
	// Report writes the status after a look that ended with err, for the failures-th
	// time in a row; next is when the next look is.
	Report(ctx context.Context, obj object.Object, err error, failures int, next time.Time)
	// Failed is called after a failed look, and bounds the wait for the next one.
	Failed() time.Duration
	// Close lets go of what it holds; the source has no head any more.
	Close()
	// Host is the machine that the object is fetched from, or the source's name, and
	// Unreachable reports whether a look failed because that cannot be reached: then
	// none of its sources is looked at for a while.
	Host(obj object.Object) string
	Unreachable(obj object.Object, err error) bool
	// Outdated reports whether the head has a part of another source of the
	// namespace, and that is not the commit that this source has now.
	Outdated(obj object.Object, other object.Key, commit string) bool
	// Branch is the branch that the object follows.
	Branch(obj object.Object) (Branch, error)
	// Trusted is [Source.Trusted].
	Trusted(obj object.Object, sha string) (signer string, err error)
}

// Kinds are the kinds of sources that there are.
func Kinds() []schema.GroupKind {
	var list []schema.GroupKind
	for kind := range kinds {
		list = append(list, kind)
	}
	return list
}

// IsKind reports whether it is a kind of source.
func IsKind(kind schema.GroupKind) bool { return kinds[kind] != nil }
