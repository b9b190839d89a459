package validation_test

import (
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"headway.dev/manifests/model/validation"
)

const baseJob = `
apiVersion: batch/v1
kind: Job
metadata: {name: pi, namespace: shop, uid: u1}
spec:
  completionMode: Indexed
  completions: 5
  parallelism: 2
  backoffLimitPerIndex: 1
  maxFailedIndexes: 2
  podFailurePolicy: {rules: [{action: FailJob, onExitCodes: {containerName: pi, operator: In, values: [3, 42]}}, {action: Ignore, onPodConditions: [{type: DisruptionTarget}]}]}
  successPolicy: {rules: [{succeededIndexes: "0,2-4", succeededCount: 2}]}
  selector: {matchLabels: {batch.kubernetes.io/controller-uid: u1}}
  template:
    metadata: {labels: {controller-uid: u1, batch.kubernetes.io/controller-uid: u1, job-name: pi, batch.kubernetes.io/job-name: pi}}
    spec: {restartPolicy: Never, containers: [{name: pi, image: "pi:1"}]}
`

func jobCases(t *testing.T) {
	t.Helper()
	type job = *batchv1.Job
	spec := func(edit func(s *batchv1.JobSpec)) func(job) { return func(j job) { edit(&j.Spec) } }
	failure := func(edit func(r *batchv1.PodFailurePolicyRule)) func(job) {
		return func(j job) { edit(&j.Spec.PodFailurePolicy.Rules[0]) }
	}
	success := func(edit func(r *batchv1.SuccessPolicyRule)) func(job) {
		return func(j job) { edit(&j.Spec.SuccessPolicy.Rules[0]) }
	}
	create(t, baseJob, cases[job]{
		"parallelism":        {spec(func(s *batchv1.JobSpec) { s.Parallelism = new(int32(-1)) }), []string{"spec.parallelism: Invalid value: -1: must be greater than or equal to 0"}},
		"much parallelism":   {spec(func(s *batchv1.JobSpec) { s.Parallelism = new(int32(100_001)) }), []string{"spec.parallelism: Invalid value: 100001: must be less than or equal to 100000 when completion mode is Indexed"}},
		"deadline":           {spec(func(s *batchv1.JobSpec) { s.ActiveDeadlineSeconds = new(int64(-1)) }), []string{"spec.activeDeadlineSeconds: Invalid value: -1: must be greater than or equal to 0"}},
		"ttl":                {spec(func(s *batchv1.JobSpec) { s.TTLSecondsAfterFinished = new(int32(-1)) }), []string{"spec.ttlSecondsAfterFinished: Invalid value: -1: must be greater than or equal to 0"}},
		"no completions":     {spec(func(s *batchv1.JobSpec) { s.Completions = nil }), []string{"spec.completions: Required value: when completion mode is Indexed"}},
		"failed of how many": {spec(func(s *batchv1.JobSpec) { s.MaxFailedIndexes = new(int32(6)) }), []string{"spec.maxFailedIndexes: Invalid value: 6: must be less than or equal to completions"}},
		"no limit per index": {spec(func(s *batchv1.JobSpec) { s.BackoffLimitPerIndex = nil }), []string{"spec.backoffLimitPerIndex: Required value: when maxFailedIndexes is specified"}},
		"many completions":   {spec(func(s *batchv1.JobSpec) { s.Completions, s.MaxFailedIndexes = new(int32(200_000)), nil }), []string{"spec.maxFailedIndexes: Required value: must be specified when completions is above 100000"}},
		"mode":               {spec(func(s *batchv1.JobSpec) { s.CompletionMode, s.SuccessPolicy = new(batchv1.CompletionMode("Some")), nil }), []string{`spec.completionMode: Unsupported value: "Some": supported values: "NonIndexed", "Indexed"`}},
		"not indexed": {spec(func(s *batchv1.JobSpec) { s.CompletionMode, s.SuccessPolicy = new(batchv1.NonIndexedCompletion), nil }), []string{
			"spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode", "spec.maxFailedIndexes: Invalid value: 2: requires indexed completion mode",
		}},
		"managed by":     {spec(func(s *batchv1.JobSpec) { s.ManagedBy = new("me") }), []string{`spec.managedBy: Invalid value: "me": must be a domain-prefixed path (such as "acme.io/foo")`}},
		"replacement":    {spec(func(s *batchv1.JobSpec) { s.PodReplacementPolicy = new(batchv1.TerminatingOrFailed) }), []string{`spec.podReplacementPolicy: Unsupported value: "TerminatingOrFailed": supported values: "Failed"`}},
		"restart always": {spec(func(s *batchv1.JobSpec) { s.Template.Spec.RestartPolicy = corev1.RestartPolicyAlways }), []string{`spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"`}},
		"restart":        {spec(func(s *batchv1.JobSpec) { s.Template.Spec.RestartPolicy = corev1.RestartPolicyOnFailure }), []string{`spec.template.spec.restartPolicy: Invalid value: "OnFailure": only "Never" is supported when podFailurePolicy is specified`}},
		"no selector":    {spec(func(s *batchv1.JobSpec) { s.Selector = nil }), []string{"spec.selector: Required value"}},
		"another's pods": {spec(func(s *batchv1.JobSpec) { s.Template.Labels["job-name"] = "e" }), []string{`spec.template.metadata.labels[job-name]: Invalid value: {"batch.kubernetes.io/controller-uid":"u1","batch.kubernetes.io/job-name":"pi","controller-uid":"u1","job-name":"e"}: must be 'pi'`}},
		"another selector": {spec(func(s *batchv1.JobSpec) {
			s.Selector.MatchLabels["app"], s.Template.Labels["app"] = "x", "x"
		}), []string{"spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"x\",\"batch.kubernetes.io/controller-uid\":\"u1\"}}: `selector` not auto-generated"}},
		"a selector of one's own": {spec(func(s *batchv1.JobSpec) {
			s.ManualSelector, s.Selector.MatchLabels, s.Template.Labels = new(true), map[string]string{"app": "x"}, map[string]string{"app": "x"}
		}), nil},
		"action":          {failure(func(r *batchv1.PodFailurePolicyRule) { r.Action = "" }), []string{`spec.podFailurePolicy.rules[0].action: Required value: valid values: ["Count" "FailIndex" "FailJob" "Ignore"]`}},
		"container":       {failure(func(r *batchv1.PodFailurePolicyRule) { r.OnExitCodes.ContainerName = new("e") }), []string{`spec.podFailurePolicy.rules[0].onExitCodes.containerName: Invalid value: "e": must be one of the container or initContainer names in the pod template`}},
		"order":           {failure(func(r *batchv1.PodFailurePolicyRule) { r.OnExitCodes.Values = []int32{4, 3} }), []string{"spec.podFailurePolicy.rules[0].onExitCodes.values: Invalid value: [4,3]: must be ordered"}},
		"success is none": {failure(func(r *batchv1.PodFailurePolicyRule) { r.OnExitCodes.Values = []int32{0} }), []string{"spec.podFailurePolicy.rules[0].onExitCodes.values[0]: Invalid value: 0: must not be 0 for the In operator"}},
		"no codes":        {failure(func(r *batchv1.PodFailurePolicyRule) { r.OnExitCodes.Values = nil }), []string{"spec.podFailurePolicy.rules[0].onExitCodes.values: Invalid value: null: at least one value is required"}},
		"no requirement":  {failure(func(r *batchv1.PodFailurePolicyRule) { r.OnExitCodes = nil }), []string{"spec.podFailurePolicy.rules[0]: Invalid value: specifying one of OnExitCodes and OnPodConditions is required"}},
		"no rule":         {spec(func(s *batchv1.JobSpec) { s.SuccessPolicy.Rules = nil }), []string{"spec.successPolicy.rules: Required value: at least one rules must be specified when the successPolicy is specified"}},
		"too large":       {success(func(r *batchv1.SuccessPolicyRule) { r.SucceededIndexes = new("0-7") }), []string{`spec.successPolicy.rules[0].succeededIndexes: Invalid value: "0-7": error parsing succeededIndexes: too large index: "7"`, "spec.successPolicy.rules[0].succeededCount: Invalid value: 2: must be less than or equal to 0 (the number of indexes in the specified succeededIndexes field)"}},
		"too many":        {success(func(r *batchv1.SuccessPolicyRule) { r.SucceededCount = new(int32(5)) }), []string{"spec.successPolicy.rules[0].succeededCount: Invalid value: 5: must be less than or equal to 4 (the number of indexes in the specified succeededIndexes field)"}},
		"hostname":        {func(j job) { j.Name = "a.b"; j.Spec.ManualSelector = new(true) }, []string{`metadata.name: Invalid value: "a.b": will not able to create pod with invalid DNS label: a.b-4`}},
		"scheduling":      {spec(func(s *batchv1.JobSpec) { s.Scheduling = &batchv1.JobSchedulingConfiguration{} }), []string{"spec.scheduling: Forbidden: not supported yet: workloads and pod groups are not served; Kubernetes has the field behind a gate that is off"}},
	})
	update(t, baseJob, cases[job]{
		"parallelism": {spec(func(s *batchv1.JobSpec) { s.Parallelism = new(int32(4)) }), nil},
		"suspended":   {spec(func(s *batchv1.JobSpec) { s.Suspend = new(true) }), nil},
		"larger":      {spec(func(s *batchv1.JobSpec) { s.Completions, s.Parallelism = new(int32(9)), new(int32(9)) }), nil},
		"completions": {spec(func(s *batchv1.JobSpec) { s.Completions = new(int32(9)) }), []string{"spec.completions: Invalid value: 9: can only be modified in tandem with spec.parallelism"}},
		"limit":       {spec(func(s *batchv1.JobSpec) { s.BackoffLimitPerIndex = new(int32(2)) }), []string{"spec.backoffLimitPerIndex: Invalid value: 2: field is immutable"}},
		"manager":     {spec(func(s *batchv1.JobSpec) { s.ManagedBy = new("example.com/jobs") }), []string{`spec.managedBy: Invalid value: "example.com/jobs": field is immutable`}},
	})
	counted := func(edit func(s *batchv1.JobStatus)) func(job) { return func(j job) { edit(&j.Status) } }
	with := func(s *batchv1.JobStatus, list ...batchv1.JobConditionType) {
		for _, c := range list {
			s.Conditions = append(s.Conditions, batchv1.JobCondition{Type: c, Status: corev1.ConditionTrue})
		}
	}
	then := metav1.NewTime(time.Unix(1, 0))
	updateStatus(t, baseJob, cases[job]{
		"complete": {counted(func(s *batchv1.JobStatus) {
			s.StartTime, s.CompletionTime, s.Succeeded, s.CompletedIndexes = &then, &then, 5, "0-4"
			with(s, batchv1.JobSuccessCriteriaMet, batchv1.JobComplete)
		}), nil},
		"negative": {counted(func(s *batchv1.JobStatus) { s.Active = -1 }), []string{"status.active: Invalid value: -1: must be greater than or equal to 0"}},
		"indexes":  {counted(func(s *batchv1.JobStatus) { s.CompletedIndexes = "1,0" }), []string{`status.completedIndexes: Invalid value: "1,0": error parsing completedIndexes: non-increasing order, previous: 1, current: 0`}},
		"both":     {counted(func(s *batchv1.JobStatus) { s.CompletedIndexes, s.FailedIndexes = "0-2", new("2,3") }), []string{`status.failedIndexes: Invalid value: "2,3": failedIndexes and completedIndexes overlap at index: 2`}},
		"counted twice": {counted(func(s *batchv1.JobStatus) {
			s.UncountedTerminatedPods = &batchv1.UncountedTerminatedPods{Succeeded: []types.UID{"a"}, Failed: []types.UID{"a"}}
		}), []string{`status.uncountedTerminatedPods.failed[0]: Duplicate value: "a"`}},
		"complete, and no time": {counted(func(s *batchv1.JobStatus) {
			s.StartTime = &then
			with(s, batchv1.JobSuccessCriteriaMet, batchv1.JobComplete)
		}), []string{"status.completionTime: Required value: completionTime is required for Complete jobs"}},
		"failed at once": {counted(func(s *batchv1.JobStatus) {
			s.StartTime = &then
			with(s, batchv1.JobFailed)
		}), []string{"status.conditions: Invalid value: cannot set Failed=True condition without the FailureTarget=true condition"}},
		"good and bad": {counted(func(s *batchv1.JobStatus) { with(s, batchv1.JobSuccessCriteriaMet, batchv1.JobFailureTarget) }), []string{"status.conditions: Invalid value: cannot set SuccessCriteriaMet=True and FailureTarget=true conditions"}},
		"still active": {counted(func(s *batchv1.JobStatus) {
			s.StartTime, s.Active = &then, 1
			with(s, batchv1.JobFailureTarget, batchv1.JobFailed)
		}), []string{"status.active: Invalid value: 1: active>0 is invalid for finished job"}},
	})
	image := func(j job) { j.Spec.Template.Spec.Containers[0].Image = "pi:2" }
	resources := func(j job) {
		j.Spec.Template.Spec.Containers[0].Resources.Requests = corev1.ResourceList{"cpu": resource.MustParse("2")}
		j.Spec.Template.Spec.NodeSelector = map[string]string{"disk": "ssd"}
	}
	suspended := "spec:\n  suspend: true"
	for name, tc := range map[string]struct {
		base string
		edit func(job)
		want int
	}{
		"image":                   {baseJob, image, 1},
		"resources":               {baseJob, resources, 1},
		"image, suspended":        {replaced(baseJob, "spec:", suspended), image, 1},
		"resources, suspended":    {replaced(baseJob, "spec:", suspended), resources, 0},
		"resources, still active": {replaced(baseJob, "spec:", suspended) + "status: {active: 1}\n", resources, 1},
	} {
		t.Run(name, func(t *testing.T) { templateChange(t, tc.base, tc.edit, tc.want) })
	}
}

func cronJobCases(t *testing.T) {
	t.Helper()
	const base = `{apiVersion: batch/v1, kind: CronJob, metadata: {name: tick, namespace: shop}, spec: {schedule: "*/5 * * * *", timeZone: Europe/Berlin, jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: a, image: "a:1"}]}}}}}}`
	type cron = *batchv1.CronJob
	spec := func(edit func(s *batchv1.CronJobSpec)) func(cron) { return func(c cron) { edit(&c.Spec) } }
	create(t, base, cases[cron]{
		"name":        {func(c cron) { c.Name = strings.Repeat("a", 53) }, []string{`metadata.name: Invalid value: "` + strings.Repeat("a", 53) + `": must be no more than 52 characters`}},
		"no schedule": {spec(func(s *batchv1.CronJobSpec) { s.Schedule = "" }), []string{"spec.schedule: Required value"}},
		"schedule":    {spec(func(s *batchv1.CronJobSpec) { s.Schedule = "error" }), []string{`spec.schedule: Invalid value: "error": expected exactly 5 fields, found 1: [error]`}},
		"zone in it":  {spec(func(s *batchv1.CronJobSpec) { s.Schedule = "TZ=UTC * * * * *" }), []string{`spec.schedule: Invalid value: "TZ=UTC * * * * *": cannot use TZ or CRON_TZ in schedule, use timeZone field instead`}},
		"zone alone": {spec(func(s *batchv1.CronJobSpec) { s.Schedule = "TZ=UTC" }), []string{
			`spec.schedule: Invalid value: "TZ=UTC": invalid schedule format: runtime error: slice bounds out of range [:-1]`,
			`spec.schedule: Invalid value: "TZ=UTC": cannot use TZ or CRON_TZ in schedule, use timeZone field instead`,
		}},
		"no zone":        {spec(func(s *batchv1.CronJobSpec) { s.TimeZone = new("") }), []string{`spec.timeZone: Invalid value: "": timeZone must be nil or non-empty string`}},
		"local":          {spec(func(s *batchv1.CronJobSpec) { s.TimeZone = new("Local") }), []string{`spec.timeZone: Invalid value: "Local": timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones`}},
		"a file":         {spec(func(s *batchv1.CronJobSpec) { s.TimeZone = new("../x") }), []string{`spec.timeZone: Invalid value: "../x": unknown time zone ../x`}},
		"another zone":   {spec(func(s *batchv1.CronJobSpec) { s.TimeZone = new("Moon/Base") }), []string{`spec.timeZone: Invalid value: "Moon/Base": unknown time zone Moon/Base`}},
		"policy":         {spec(func(s *batchv1.CronJobSpec) { s.ConcurrencyPolicy = "Some" }), []string{`spec.concurrencyPolicy: Unsupported value: "Some": supported values: "Allow", "Forbid", "Replace"`}},
		"deadline":       {spec(func(s *batchv1.CronJobSpec) { s.StartingDeadlineSeconds = new(int64(-1)) }), []string{"spec.startingDeadlineSeconds: Invalid value: -1: must be greater than or equal to 0"}},
		"history":        {spec(func(s *batchv1.CronJobSpec) { s.FailedJobsHistoryLimit = new(int32(-1)) }), []string{"spec.failedJobsHistoryLimit: Invalid value: -1: must be greater than or equal to 0"}},
		"selector":       {spec(func(s *batchv1.CronJobSpec) { s.JobTemplate.Spec.Selector = &metav1.LabelSelector{} }), []string{"spec.jobTemplate.spec.selector: Invalid value: {}: `selector` will be auto-generated"}},
		"own selector":   {spec(func(s *batchv1.CronJobSpec) { s.JobTemplate.Spec.ManualSelector = new(true) }), []string{`spec.jobTemplate.spec.manualSelector: Unsupported value: "true": supported values: "nil", "false"`}},
		"restart policy": {spec(func(s *batchv1.CronJobSpec) { s.JobTemplate.Spec.Template.Spec.RestartPolicy = "Always" }), []string{`spec.jobTemplate.spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"`}},
	})
	update(t, base, cases[cron]{
		"image":    {spec(func(s *batchv1.CronJobSpec) { s.JobTemplate.Spec.Template.Spec.Containers[0].Image = "a:2" }), nil},
		"schedule": {spec(func(s *batchv1.CronJobSpec) { s.Schedule = "" }), []string{"spec.schedule: Required value"}},
	})
}

// templateChange says only that the template is immutable: the message contains all of
// it.
func templateChange(t *testing.T, base string, edit func(*batchv1.Job), want int) {
	t.Helper()
	old, obj := parse[*batchv1.Job](t, base), parse[*batchv1.Job](t, base)
	edit(obj)
	errs := validation.Update(obj, old)
	if len(errs) != want || want > 0 && (errs[0].Field != "spec.template" || errs[0].Detail != "field is immutable") {
		t.Errorf("refused with %v, want %d", errs, want)
	}
}

func replaced(text, old, with string) string { return strings.Replace(text, old, with, 1) }
