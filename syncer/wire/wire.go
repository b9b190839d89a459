package wire

import (
	"fmt"
	"time"
)

// Signature is the author or committer in Git, and the time.
type Signature struct {
	Name  string    `json:"name"`
	Email string    `json:"email"`
	Date  time.Time `json:"date"`
}

// Commit is a commit's metadata.
type Commit struct {
	SHA       string    `json:"sha"`
	Parent    string    `json:"parent,omitempty"`
	Author    Signature `json:"author"`
	Committer Signature `json:"committer"`
	Subject   string    `json:"subject"`
	// Reverts is the commit that this one claims to revert.
	Reverts string `json:"reverts,omitempty"`
	// Signer is the owner of the commit's valid signature, if signatures are
	// checked.
	Signer string `json:"signer,omitempty"`
}

// Field is one difference in a field of an object.
type Field struct {
	Path string `json:"path"`
	Old  any    `json:"old,omitempty"`
	New  any    `json:"new,omitempty"`
}

// Action is what a plan does to one object: Create, Update, Delete, Unchanged
// or Skip.
type Action struct {
	Action    string  `json:"action"`
	Group     string  `json:"group,omitempty"`
	Kind      string  `json:"kind"`
	Namespace string  `json:"namespace,omitempty"`
	Name      string  `json:"name"`
	Fields    []Field `json:"fields,omitempty"`
	// Object is the object of a Create, as in the files, without defaults; the
	// values of Secrets are "(hidden)". It is omitted if the plan gets too
	// long.
	Object map[string]any `json:"object,omitempty"`
	// Replaces is, for a Create, the previous name of a generated object whose
	// content changed; Fields are the changes. The Delete of the old object has
	// ReplacedBy.
	Replaces   string `json:"replaces,omitempty"`
	ReplacedBy string `json:"replacedBy,omitempty"`
	// Restart reports whether running pods are replaced.
	Restart bool `json:"restart,omitempty"`
	// Recreate reports whether an Update deletes the object and creates it
	// again; Reason tells why, or, for a Skip, why the object is left alone, or, for
	// another Update, why nothing comes of it.
	Recreate bool   `json:"recreate,omitempty"`
	Reason   string `json:"reason,omitempty"`
	File     string `json:"file,omitempty"`
	Line     int    `json:"line,omitempty"`
}

// Fault is one error in a manifest.
type Fault struct {
	File      string `json:"file,omitempty"`
	Line      int    `json:"line,omitempty"`
	Kind      string `json:"kind,omitempty"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name,omitempty"`
	Field     string `json:"field,omitempty"`
	Reason    string `json:"reason"`
	// Message is all of the above in one line.
	Message string `json:"message"`
}

// Summary counts a plan's actions.
type Summary struct {
	Create    int `json:"create"`
	Update    int `json:"update"`
	Delete    int `json:"delete"`
	Unchanged int `json:"unchanged"`
	Restart   int `json:"restart"`
	// Replace is the number of generated objects, counted in both Create and
	// Delete, that get another name because their content changes.
	Replace int `json:"replace,omitempty"`
}

// PlanRequest asks what a revision or a set of files would change.
type PlanRequest struct {
	// Source and Kustomization name what to compare with, as [namespace/]name
	// (default: headway-system/cluster, or the only one there is).
	Source        string `json:"source,omitempty"`
	Kustomization string `json:"kustomization,omitempty"`
	// Rev is a branch, tag or commit of the source (default: the newest commit
	// that it has fetched).
	Rev string `json:"rev,omitempty"`
	// Files are file contents by slash-separated path, instead of Rev. Path is
	// the directory among them to render (default: the Kustomization's path or,
	// if the files do not have it, their root).
	Files map[string]string `json:"files,omitempty"`
	Path  string            `json:"path,omitempty"`
	// Binary are further files, which are not UTF-8 and would not survive as
	// text.
	Binary map[string][]byte `json:"binary,omitempty"`
}

// Plan is what a commit would change for one Kustomization. Nothing was
// changed.
type Plan struct {
	Kustomization string `json:"kustomization"`
	// Parent is the Kustomization that declares this one in the plan, or
	// deletes it; DependsOn are the Kustomizations that it waits for.
	Parent    string   `json:"parent,omitempty"`
	DependsOn []string `json:"dependsOn,omitempty"`
	// Base is the applied revision, and Target the planned one.
	Base    string   `json:"base,omitempty"`
	Target  string   `json:"target,omitempty"`
	Summary Summary  `json:"summary"`
	Actions []Action `json:"actions"`
	Errors  []Fault  `json:"errors,omitempty"`
	// Rollouts are the changes of pods, and Checks the results of policies and
	// budgets.
	Rollouts []Rollout `json:"rollouts,omitempty"`
	Checks   []Check   `json:"checks,omitempty"`
}

// Plans are the plans of all Kustomizations of a source.
type Plans struct {
	// The combined plan of all Kustomizations.
	Plan
	// Source is the GitRepository, Repository its URL without credentials, and
	// Forge the kind of forge that hosts it, if an annotation names it.
	Source     string `json:"source,omitempty"`
	Repository string `json:"repository,omitempty"`
	Forge      string `json:"forge,omitempty"`
	Plans      []Plan `json:"plans,omitempty"`
}

// RollbackRequest asks for a commit that reverts Commit, or one that brings
// back the state of To (default: the state that was deployed before).
type RollbackRequest struct {
	Source  string `json:"source,omitempty"`
	Commit  string `json:"commit,omitempty"`
	To      string `json:"to,omitempty"`
	Message string `json:"message,omitempty"`
	// Author is the author of the commit. Only administrators may set it; for
	// other callers it is the authenticated user (default: the server's
	// identity).
	Author *Signature `json:"author,omitempty"`
}

// RollbackResult names the reverted commit and the commit that reverts it. If
// everything since another commit was taken back, To is that commit, and
// Reverted the newest of those taken back.
type RollbackResult struct {
	Source   string `json:"source"`
	Reverted string `json:"reverted"`
	To       string `json:"to,omitempty"`
	Revert   string `json:"revert"`
	Subject  string `json:"subject"`
	Branch   string `json:"branch"`
}

// SyncRequest asks for a fetch now; with Wait the answer is a stream of
// Events, one JSON object per line, the last of which has Done set.
type SyncRequest struct {
	Source string `json:"source,omitempty"`
	Wait   bool   `json:"wait,omitempty"`
}

// Event is one step of progress.
type Event struct {
	Time          time.Time `json:"time"`
	Source        string    `json:"source,omitempty"`
	Kustomization string    `json:"kustomization,omitempty"`
	// Phase is one of fetch, plan, commit, health, verdict, error.
	Phase    Phase    `json:"phase"`
	Revision string   `json:"revision,omitempty"`
	Commit   *Commit  `json:"commit,omitempty"`
	Actions  []Action `json:"actions,omitempty"`
	Message  string   `json:"message,omitempty"`
	// Verdict is healthy, failed or recovered, in the phase of that name.
	Verdict Verdict `json:"verdict,omitempty"`
	// Done marks the last event of a stream; OK reports whether everything is
	// applied and healthy.
	Done bool `json:"done,omitempty"`
	OK   bool `json:"ok,omitempty"`
}

// Object is the name and the health of one object.
type Object struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	Status    string `json:"status"`
	Message   string `json:"message,omitempty"`
}

// Status is the state of all sources.
type Status struct {
	Sources []SourceStatus `json:"sources"`
	// Kustomizations are those whose source does not exist.
	Kustomizations []KustomizationStatus `json:"kustomizations,omitempty"`
}

// SourceStatus is the state of one GitRepository.
type SourceStatus struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	URL       string `json:"url"`
	Branch    string `json:"branch,omitempty"`
	// Revision and Commit are the newest that were fetched.
	Revision string  `json:"revision,omitempty"`
	Commit   *Commit `json:"commit,omitempty"`
	// Ready is True, False or Unknown, with Reason and Message, since Since.
	Ready   string    `json:"ready"`
	Reason  string    `json:"reason,omitempty"`
	Message string    `json:"message,omitempty"`
	Since   time.Time `json:"since,omitzero"`
	// Next is when the source is fetched next.
	Next      time.Time `json:"next,omitzero"`
	Suspended bool      `json:"suspended,omitempty"`
	// SuspendedBy is who suspended it (a user and the program, or Git), and
	// SuspendedSince since when.
	SuspendedBy    string                `json:"suspendedBy,omitempty"`
	SuspendedSince time.Time             `json:"suspendedSince,omitzero"`
	Kustomizations []KustomizationStatus `json:"kustomizations,omitempty"`
}

// KustomizationStatus is the state of one Kustomization.
type KustomizationStatus struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Path      string `json:"path"`
	// Applied and Attempted are revisions.
	Applied   string  `json:"applied,omitempty"`
	Attempted string  `json:"attempted,omitempty"`
	Commit    *Commit `json:"commit,omitempty"`
	// Sync is Synced, Syncing, Waiting (for a dependency), OutOfSync, Failed,
	// Suspended or Unknown.
	Sync      SyncState `json:"sync"`
	Ready     string    `json:"ready"`
	Reason    string    `json:"reason,omitempty"`
	Message   string    `json:"message,omitempty"`
	Since     time.Time `json:"since,omitzero"`
	Next      time.Time `json:"next,omitzero"`
	Objects   int       `json:"objects"`
	Healthy   bool      `json:"healthy"`
	Unhealthy []Object  `json:"unhealthy,omitempty"`
	// SuspendedBy is who suspended it (a user and the program, or Git), and
	// SuspendedSince since when.
	SuspendedBy    string    `json:"suspendedBy,omitempty"`
	SuspendedSince time.Time `json:"suspendedSince,omitzero"`
	// WaitsFor are the Kustomizations in dependsOn that are not ready.
	WaitsFor []Object `json:"waitsFor,omitempty"`
	// Holds are the reasons why the newest commit is not applied.
	Holds []Hold `json:"holds,omitempty"`
	// Errors are the faults of the last attempt.
	Errors []Fault `json:"errors,omitempty"`
}

// ObjectResult is what a commit did to one object, without the values of
// fields.
type ObjectResult struct {
	Action    string   `json:"action"`
	Group     string   `json:"group,omitempty"`
	Kind      string   `json:"kind"`
	Namespace string   `json:"namespace,omitempty"`
	Name      string   `json:"name"`
	Fields    []string `json:"fields,omitempty"`
	// ChangedBy are those who made the changes that were undone.
	ChangedBy []Changer `json:"changedBy,omitempty"`
}

// Entry types.
const (
	EntryApplied  = "applied"
	EntryRejected = "rejected"
	EntryDrift    = "drift"
	EntryVerdict  = "verdict"
	EntryReverted = "reverted"
)

// MaxWith bounds Entry.With.
const MaxWith = 20

// Entry is one record of the journal.
type Entry struct {
	// Seq counts the entries from 0.
	Seq int64 `json:"seq"`
	// Type is applied (a commit was stored), rejected (a commit was refused as
	// a whole), drift (changes by hand were undone), verdict (an applied commit
	// was judged) or reverted (a failed commit was taken back automatically).
	Type          string    `json:"type"`
	Time          time.Time `json:"time"`
	Source        string    `json:"source"`
	Kustomization string    `json:"kustomization"`
	Revision      string    `json:"revision"`
	Commit        *Commit   `json:"commit,omitempty"`
	// With are the other commits that were applied with it, newest first, at
	// most MaxWith; MoreWith reports whether there were more.
	With     []Commit `json:"with,omitempty"`
	MoreWith bool     `json:"moreWith,omitempty"`

	PlanDigest string         `json:"planDigest,omitempty"`
	Objects    []ObjectResult `json:"objects,omitempty"`
	// Omitted is the number of further objects, in an entry that would have
	// been too large.
	Omitted int `json:"omitted,omitempty"`
	// Millis are the durations of the phases, in milliseconds.
	Millis map[string]float64 `json:"millis,omitempty"`
	// Verdict is healthy, failed, superseded or recovered.
	Verdict Verdict `json:"verdict,omitempty"`
	Reason  string  `json:"reason,omitempty"`
	// Prev is the Hash of the previous record; Hash is that of this record
	// without its Hash.
	Prev string `json:"prev"`
	Hash string `json:"hash"`
}

// LogEntry is an applied or rejected commit and how it turned out.
type LogEntry struct {
	Entry
	VerdictTime time.Time `json:"verdictTime,omitzero"`
}

// Plural is a number of things, such as "2 changes".
func Plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
