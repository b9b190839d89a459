package flux

import "github.com/fluxcd/pkg/apis/meta"

// Annotations on a Kustomization and on its source. Besides this package only
// tests need the names: [Of] returns what the annotations of an object say.
const (
	// Request asks for a look at once, as `flux reconcile` does.
	Request = meta.ReconcileRequestAnnotation
	// AcceptHistory names the commit of a rewritten branch that may be applied
	// although it does not descend from the one applied last. It is removed
	// when it has taken effect.
	AcceptHistory = "headway.dev/accept-history"
	// Freeze names the times at which new commits are not applied: windows of
	// "CRON / DURATION [TIME ZONE]", one a line or separated by semicolons, such
	// as
	//
	//	0 18 * * FRI / 62h Europe/Berlin
	//
	// The five fields of cron say when a window starts. Start and duration are
	// those of the clock on the wall in the zone (default UTC): the window above
	// ends on Monday at 8 also when the clocks change in between, and a start in
	// the hour that is left out in spring is not left out.
	Freeze = "headway.dev/freeze"
)

// Annotations on a Kustomization.
const (
	// MaxDeletes bounds how many objects a commit deletes.
	MaxDeletes = "headway.dev/max-deletes"
	// MaxRestarts bounds how many workloads (Deployments, StatefulSets,
	// DaemonSets) a commit may make replace their pods.
	MaxRestarts = "headway.dev/max-restarts"
	// OnFailure determines what happens after a failed verdict: revert, hold,
	// or none, the default.
	OnFailure = "headway.dev/on-failure"
	// Retry names a commit in quarantine that is tried once more; it is removed
	// when it has taken effect.
	Retry = "headway.dev/retry"
	// Settle is how long a container without a readiness probe must run before
	// it counts as healthy, if minReadySeconds is not set (default: as the program
	// was started).
	Settle = "headway.dev/settle"
	// Probation is for how long after its verdict a commit that turns unhealthy
	// is judged again (default [DefaultProbation]).
	Probation = "headway.dev/probation"
	// GitWrites determines what happens to changes by hand of what Git
	// declares: heal, the default, undoes them, reject refuses them, commit
	// writes them to the branch.
	GitWrites = "headway.dev/git-writes"
	// GitAccounts names the ServiceAccounts, as namespace/name, separated by
	// commas, whose writes become commits with git-writes: commit. The writes
	// of all others are undone.
	GitAccounts = "headway.dev/git-accounts"
	// AuthorDomain is the domain of the e-mail addresses in the commits that
	// git-writes: commit makes (default cluster.local).
	AuthorDomain = "headway.dev/git-author-domain"
)

// Annotations on a GitRepository.
const (
	// Verify extends, if spec.verify is set, what must be signed: its one value
	// is every-commit, for all commits between the accepted head and a new one.
	Verify = "headway.dev/verify"
	// WebhookSecret names the Secret of its namespace whose token webhooks must
	// prove to know; without it there are none.
	WebhookSecret = "headway.dev/webhook-secret"
	// CommitStatus names the forge (github, gitlab, gitea or forgejo) to which
	// the outcome of each commit is reported.
	CommitStatus = "headway.dev/commit-status"
	// ForgeSecret names the Secret, in the same namespace, with the forge's
	// token under the key token; if needed, with the API's URL under address
	// and a CA to trust under caFile.
	ForgeSecret = "headway.dev/forge-secret"
	// StatusLink is the URL that statuses link to, if any.
	StatusLink = "headway.dev/status-link"
)

// Annotations or labels by which any object asks to be treated differently, as
// in Flux. Their values are not case-sensitive.
const (
	// Prune, if disabled, keeps the object when its manifest is removed.
	Prune = "kustomize.toolkit.fluxcd.io/prune"
	// Reconcile, if disabled, leaves the object alone.
	Reconcile = "kustomize.toolkit.fluxcd.io/reconcile"
	// ServerSideApply determines how the object is applied: Ignore,
	// IfNotPresent, Merge, or Override, the default.
	ServerSideApply = "kustomize.toolkit.fluxcd.io/ssa"
	// Force, if enabled, replaces the object when an immutable field changes.
	Force = "kustomize.toolkit.fluxcd.io/force"
)
