// Package wire holds the types of the syncer's HTTP API under
// /headway/v1/, for the server and its clients.
package wire

import "time"

// Signature says who did something in Git, and when.
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
	// Reverts is the commit that this one says it reverts.
	Reverts string `json:"reverts,omitempty"`
	// Signer is whose signature of the commit was found good, if signatures
	// are checked.
	Signer string `json:"signer,omitempty"`
}

// Field is one difference of an object's field.
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
	// Object is what a Create makes, as the files say it, without defaults; the
	// values of Secrets are "(hidden)". It is left out where a plan gets long.
	Object map[string]any `json:"object,omitempty"`
	// Replaces is, of a Create, the name that the same generated object had
	// before its content changed; Fields are what changed. The Delete of that
	// object has ReplacedBy.
	Replaces   string `json:"replaces,omitempty"`
	ReplacedBy string `json:"replacedBy,omitempty"`
	// Restart says that running pods are replaced.
	Restart bool `json:"restart,omitempty"`
	// Recreate says that an Update deletes the object and creates it again,
	// Reason why; of a Skip, why the object is left alone.
	Recreate bool   `json:"recreate,omitempty"`
	Reason   string `json:"reason,omitempty"`
	File     string `json:"file,omitempty"`
	Line     int    `json:"line,omitempty"`
}

// Fault is one error of a manifest.
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
	// Replace is how many of Create, and of Delete, are a generated object that
	// gets another name because its content changes.
	Replace int `json:"replace,omitempty"`
}

// PlanRequest asks what a revision or a set of files would change.
type PlanRequest struct {
	// Source and Kustomization name what to compare with, as
	// [namespace/]name (default: headway-system/cluster, or the only one).
	Source        string `json:"source,omitempty"`
	Kustomization string `json:"kustomization,omitempty"`
	// Rev is a branch, tag or commit of the source (default: the newest commit
	// that it has fetched).
	Rev string `json:"rev,omitempty"`
	// Files hold the contents by slash-separated path, instead of Rev. Path is
	// the directory among them to render (default: the Kustomization's, or
	// their root if they have none such).
	Files map[string]string `json:"files,omitempty"`
	Path  string            `json:"path,omitempty"`
	// Binary are further files, which are no UTF-8 and would not survive as text.
	Binary map[string][]byte `json:"binary,omitempty"`
}

// Plan is the answer: nothing was changed.
type Plan struct {
	Kustomization string `json:"kustomization"`
	// Parent is the Kustomization that declares this one in the plan, or
	// deletes it; DependsOn are those that it waits for.
	Parent    string   `json:"parent,omitempty"`
	DependsOn []string `json:"dependsOn,omitempty"`
	// Base is the applied revision, Target the planned one.
	Base    string   `json:"base,omitempty"`
	Target  string   `json:"target,omitempty"`
	Summary Summary  `json:"summary"`
	Actions []Action `json:"actions"`
	Errors  []Fault  `json:"errors,omitempty"`
	// Rollouts are what becomes of pods, Checks the policies and budgets that
	// the plan meets or does not.
	Rollouts []Rollout `json:"rollouts,omitempty"`
	Checks   []Check   `json:"checks,omitempty"`
}

// Plans are the plans of all Kustomizations of a source.
type Plans struct {
	// What the plans have, of all of them together.
	Plan
	// Source is the GitRepository, Repository its URL without credentials, and
	// Forge what it is hosted on, if its annotation says so.
	Source     string `json:"source,omitempty"`
	Repository string `json:"repository,omitempty"`
	Forge      string `json:"forge,omitempty"`
	Plans      []Plan `json:"plans,omitempty"`
}

// RollbackRequest asks for a revert commit of Commit, or one that brings back
// the state of To (default: of what was deployed before).
type RollbackRequest struct {
	Source  string `json:"source,omitempty"`
	Commit  string `json:"commit,omitempty"`
	To      string `json:"to,omitempty"`
	Message string `json:"message,omitempty"`
	// Author is whom the commit names; an administrator's only, for any other
	// caller it is who was authenticated (default: the server's identity).
	Author *Signature `json:"author,omitempty"`
}

// RollbackResult names the commit that was reverted and the one that does. If
// all since another commit was taken back, To is that one, and Reverted the
// newest of them.
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
	// Phase is one of fetch, build, plan, commit, health, verdict, error.
	Phase    string   `json:"phase"`
	Revision string   `json:"revision,omitempty"`
	Commit   *Commit  `json:"commit,omitempty"`
	Actions  []Action `json:"actions,omitempty"`
	Message  string   `json:"message,omitempty"`
	// Verdict is healthy or failed, in the phase of that name.
	Verdict string `json:"verdict,omitempty"`
	// Done ends a stream; OK reports whether everything is applied and healthy.
	Done bool `json:"done,omitempty"`
	OK   bool `json:"ok,omitempty"`
}

// Object names one object with its health.
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
	// Revision and Commit are the newest fetched.
	Revision string  `json:"revision,omitempty"`
	Commit   *Commit `json:"commit,omitempty"`
	// Ready is True, False or Unknown, with Reason and Message, since Since.
	Ready   string    `json:"ready"`
	Reason  string    `json:"reason,omitempty"`
	Message string    `json:"message,omitempty"`
	Since   time.Time `json:"since,omitzero"`
	// Next is when the source is looked at next.
	Next      time.Time `json:"next,omitzero"`
	Suspended bool      `json:"suspended,omitempty"`
	// SuspendedBy is who suspended it, since SuspendedSince: a user and the
	// program, or Git.
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
	Sync      string    `json:"sync"`
	Ready     string    `json:"ready"`
	Reason    string    `json:"reason,omitempty"`
	Message   string    `json:"message,omitempty"`
	Since     time.Time `json:"since,omitzero"`
	Next      time.Time `json:"next,omitzero"`
	Objects   int       `json:"objects"`
	Healthy   bool      `json:"healthy"`
	Unhealthy []Object  `json:"unhealthy,omitempty"`
	// SuspendedBy is who suspended it, since SuspendedSince: a user and the
	// program, or Git.
	SuspendedBy    string    `json:"suspendedBy,omitempty"`
	SuspendedSince time.Time `json:"suspendedSince,omitzero"`
	// WaitsFor are the Kustomizations of dependsOn that are not ready.
	WaitsFor []Object `json:"waitsFor,omitempty"`
	// Holds keep the newest commit from being applied.
	Holds []Hold `json:"holds,omitempty"`
	// Errors are the faults of the last attempt.
	Errors []Fault `json:"errors,omitempty"`
}

// ObjectResult is what a commit did to one object; the values of fields are
// left out.
type ObjectResult struct {
	Action    string   `json:"action"`
	Group     string   `json:"group,omitempty"`
	Kind      string   `json:"kind"`
	Namespace string   `json:"namespace,omitempty"`
	Name      string   `json:"name"`
	Fields    []string `json:"fields,omitempty"`
	// ChangedBy are those who changed what a drift put back.
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
	// Type is applied (a commit was stored), rejected (a commit was refused
	// whole), drift (changes by hand were put back), verdict (what came of
	// an applied commit) or reverted (a failed commit was taken back
	// automatically).
	Type          string    `json:"type"`
	Time          time.Time `json:"time"`
	Source        string    `json:"source"`
	Kustomization string    `json:"kustomization"`
	Revision      string    `json:"revision"`
	Commit        *Commit   `json:"commit,omitempty"`
	// With are the other commits that were applied with it, newest first, at
	// most MaxWith; MoreWith says that there were more.
	With     []Commit `json:"with,omitempty"`
	MoreWith bool     `json:"moreWith,omitempty"`

	PlanDigest string         `json:"planDigest,omitempty"`
	Objects    []ObjectResult `json:"objects,omitempty"`
	// Omitted is how many more objects there were, in an entry that would have
	// been too large.
	Omitted int `json:"omitted,omitempty"`
	// Millis are the durations of the phases, in milliseconds.
	Millis map[string]float64 `json:"millis,omitempty"`
	// Verdict is healthy, failed, superseded or recovered.
	Verdict string `json:"verdict,omitempty"`
	Reason  string `json:"reason,omitempty"`
	// Prev is the Hash of the record before; Hash is that of this record
	// without its Hash.
	Prev string `json:"prev"`
	Hash string `json:"hash"`
}

// LogEntry is an applied or rejected commit with what came of it.
type LogEntry struct {
	Entry
	VerdictTime time.Time `json:"verdictTime,omitzero"`
}
