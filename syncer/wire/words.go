package wire

// Phase is the step of a sync that an event tells of.
type Phase string

// The phases.
const (
	// PhaseFetch is a look at the repository.
	PhaseFetch Phase = "fetch"
	// PhasePlan is a plan that is held back.
	PhasePlan Phase = "plan"
	// PhaseCommit is the transaction.
	PhaseCommit Phase = "commit"
	// PhaseHealth is the wait for a verdict.
	PhaseHealth Phase = "health"
	// PhaseVerdict is the verdict, and the end of a stream.
	PhaseVerdict Phase = "verdict"
	// PhaseError is a source or a commit that cannot be applied.
	PhaseError Phase = "error"
)

// Verdict is what is found of an applied commit.
type Verdict string

// The verdicts.
const (
	VerdictHealthy Verdict = "healthy"
	VerdictFailed  Verdict = "failed"
	// VerdictSuperseded is that of a commit for which a newer one came before it
	// was judged.
	VerdictSuperseded Verdict = "superseded"
	// VerdictRecovered is that of a commit that became healthy after it had failed.
	VerdictRecovered Verdict = "recovered"
)

// SyncState is how a Kustomization stands to its source's newest commit.
type SyncState string

// The states.
const (
	SyncSynced  SyncState = "Synced"
	SyncSyncing SyncState = "Syncing"
	// SyncWaiting is that of one that waits for a dependency.
	SyncWaiting   SyncState = "Waiting"
	SyncOutOfSync SyncState = "OutOfSync"
	SyncFailed    SyncState = "Failed"
	SyncSuspended SyncState = "Suspended"
	SyncUnknown   SyncState = "Unknown"
)
