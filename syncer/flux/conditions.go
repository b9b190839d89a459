package flux

import (
	"strings"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
)

// Headway's own conditions of a Kustomization. They are written in the
// transactions that they are about, and are what a restart takes up.
const (
	// VerdictCondition is about the commit that is applied: Unknown while it is
	// judged, since then; True if it became healthy, False if it failed. Its
	// reason is what was known of the cluster before, its message the revision.
	VerdictCondition = "headway.dev/Verdict"
	// LastHealthyCondition's message is the revision that was judged healthy last.
	LastHealthyCondition = "headway.dev/LastHealthy"
	// HealthyBeforeCondition's message is the revision that was judged healthy last
	// before that one.
	HealthyBeforeCondition = "headway.dev/HealthyBefore"
	// QuarantinedCondition holds while the newest commit has failed and is not
	// tried again. Its message is a [Quarantine].
	QuarantinedCondition = "headway.dev/Quarantined"
	// FrozenCondition holds while a commit waits for the end of a freeze.
	FrozenCondition = "headway.dev/Frozen"
	// UnprunedCondition holds while something is no longer declared and stays,
	// because a Kustomization that cannot be rendered may be its successor. Its
	// message is an [Unpruned].
	UnprunedCondition = "headway.dev/Unpruned"
	// OverrunCondition is on a Kustomization whose build exceeded its budget. The
	// same build is not tried again before the time that it names, also after a
	// restart, because it would exceed it again. Its message is an [Overrun].
	OverrunCondition = "headway.dev/BuildBudgetExceeded"
)

// SuspendedCondition says who suspended a Kustomization or a source, and since
// when, while it is suspended. Its message is a [Suspension].
const SuspendedCondition = "headway.dev/Suspended"

// Reasons of conditions and events that are Headway's own.
const (
	// RevertPendingReason is that of a quarantine during which the revert of the
	// commit is tried again and again, also after a restart.
	RevertPendingReason = "RevertPending"
	// FrozenReason is that of a commit that waits for the end of a freeze, and
	// ThawedReason that of the end.
	FrozenReason = "Frozen"
	ThawedReason = "Thawed"
	// PruneSkippedReason is that of what is not pruned for another's sake.
	PruneSkippedReason = "PruneSkipped"
	// OverrunReason is that of [OverrunCondition].
	OverrunReason = "BuildBudgetExceeded"
	// SuspendedReason is that of [SuspendedCondition].
	SuspendedReason = "Suspended"
	// HistoryRewrittenReason is that of a branch that was force-pushed.
	HistoryRewrittenReason = "HistoryRewritten"
)

// Reasons of [VerdictCondition]: what was known of the cluster before a commit was
// applied, which decides whether the commit can be blamed for what fails.
const (
	BeforeNothing   = "FirstCommit"
	BeforeUnchanged = "NothingChanged" // by the commit
	BeforeHealthy   = "HealthyBefore"
	BeforeUnhealthy = "UnhealthyBefore"
	BeforeUnjudged  = "NotJudgedBefore"
)

// Reasons of a source that Flux has and does not export: of signatures that are
// missing or wrong, and of an include that cannot be had.
const (
	InvalidVerificationModeReason = "InvalidVerificationMode"
	InvalidGitObjectReason        = "InvalidGitObject"
	InvalidTagSignatureReason     = "InvalidTagSignature"
	InvalidCommitSignatureReason  = "InvalidCommitSignature"
	IncludeNotFoundReason         = "NotFound"
	IncludeNoArtifactReason       = "NoArtifact"
)

// Conditions edits a status's conditions: the time of the last transition is
// that of the change of the condition's status.
type Conditions struct {
	List       *[]metav1.Condition
	Generation int64
	Now        metav1.Time
}

// Put sets a condition.
func (c Conditions) Put(typ string, status metav1.ConditionStatus, reason, message string) {
	cond := metav1.Condition{Type: typ, Status: status, Reason: reason, Message: Bounded(message), ObservedGeneration: c.Generation}
	if old := c.Get(typ); old == nil || old.Status != status {
		cond.LastTransitionTime = c.Now
	}
	apimeta.SetStatusCondition(c.List, cond)
}

// Bounded returns a message that fits into a condition.
func Bounded(message string) string {
	const most = kustomizev1.MaxConditionMessageLength
	if len(message) <= most {
		return message
	}
	return strings.ToValidUTF8(message[:most-3], "") + "..."
}

// Drop removes conditions.
func (c Conditions) Drop(types ...string) {
	for _, t := range types {
		apimeta.RemoveStatusCondition(c.List, t)
	}
}

// Get returns a condition, and nil if none has this type.
func (c Conditions) Get(typ string) *metav1.Condition {
	return apimeta.FindStatusCondition(*c.List, typ)
}
