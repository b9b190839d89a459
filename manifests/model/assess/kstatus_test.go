package assess_test

import (
	"maps"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"golang.org/x/tools/txtar"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"headway.dev/manifests/model/assess"
	"headway.dev/manifests/model/health"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
	"headway.dev/manifests/yaml/load"
)

// otherwise are the cases of testdata that kstatus judges differently, each with
// kstatus' status and the reason why Headway's is another.
var otherwise = map[string]struct {
	status status.Status
	why    string
}{
	"pod_failed":              {status.CurrentStatus, "a commit whose pod ended in failure is not healthy; to kstatus it has completed"},
	"pod_evicted":             {status.CurrentStatus, "as pod_failed"},
	"pod_crash_loop":          {status.FailedStatus, "what keeps a container from running can mend by itself: the timeout of who asks decides"},
	"pod_unschedulable":       {status.FailedStatus, "as pod_crash_loop: a node may be added or get room"},
	"observed_newer":          {status.InProgressStatus, "kubectl rollout status, too, asks only whether the newest spec was seen"},
	"paused":                  {status.InProgressStatus, "the controller does not progress a paused Deployment; what is there is available"},
	"namespace":               {status.CurrentStatus, "its phase alone says that it is being deleted; kstatus does not read it"},
	"ks_never":                {status.CurrentStatus, "without a Ready condition kstatus does not know that the kind has one"},
	"ks_not_observed":         {status.CurrentStatus, "as ks_never; an observed generation that is not set is 0"},
	"git_not_observed":        {status.CurrentStatus, "as ks_not_observed"},
	"apiservice_new":          {status.CurrentStatus, "as ks_never: its condition is Available"},
	"apiservice_unavailable":  {status.CurrentStatus, "as apiservice_new"},
	"ks_suspended_not_ready":  {status.InProgressStatus, "a suspended one is what it was told to be"},
	"job_running":             {status.CurrentStatus, "who waits for a commit waits until its jobs have ended, as Flux does; to kstatus one that has begun is there"},
	"job_failing":             {status.CurrentStatus, "as job_running: it has failed, and only its pods are not gone yet"},
	"job_suspended":           {status.InProgressStatus, "a suspended one is what it was told to be"},
	"migration_running":       {status.CurrentStatus, "its conditions are Running, Succeeded and Failed, which kstatus does not know"},
	"migration_failed":        {status.CurrentStatus, "as migration_running"},
	"sts_available":           {status.CurrentStatus, "kstatus does not ask whether pods have been ready for minReadySeconds"},
	"rc_short":                {status.CurrentStatus, "kstatus does not know the kind; it is judged as a ReplicaSet is"},
	"rc_labelled":             {status.CurrentStatus, "as rc_short"},
	"rc_ready":                {status.CurrentStatus, "as rc_short"},
	"rc_too_many":             {status.CurrentStatus, "as rc_short"},
	"rc_failure":              {status.CurrentStatus, "as rc_short"},
	"git_suspended_not_ready": {status.InProgressStatus, "as ks_suspended_not_ready"},
}

// never are the statuses that no object of a kind has, with the reason.
var never = map[string]map[health.Status]string{
	"ReplicaSet":              {health.Failed: "what its pods lack can mend by itself; a Deployment has a deadline"},
	"ReplicationController":   {health.Failed: "as ReplicaSet"},
	"StatefulSet":             {health.Failed: "as ReplicaSet"},
	"DaemonSet":               {health.Failed: "as ReplicaSet"},
	"CronJob":                 {health.InProgress: "it is in force once it is stored", health.Failed: "as InProgress"},
	"PodDisruptionBudget":     {health.Failed: "what keeps it from being calculated can mend by itself"},
	"HorizontalPodAutoscaler": {health.Failed: "figures that are missing can come"},
	"Ingress":                 {health.InProgress: "it is in force once it is stored, as kstatus has it", health.Failed: "as InProgress"},
	"PersistentVolumeClaim":   {health.Failed: "a volume can come, as kstatus has it"},
	"PersistentVolume":        {health.InProgress: "it is Current before it is bound, as kstatus has it", health.Failed: "as InProgress"},
	"VolumeAttachment":        {health.InProgress: "its attacher tells of it, kstatus does not", health.Failed: "as InProgress"},
	"Service":                 {health.Failed: "its addresses are allotted with the request that creates it"},
	"CertificateSigningRequest": {
		health.InProgress: "whether somebody approves of it says nothing of what declares it", health.Failed: "as InProgress",
	},
	"FlowSchema":                 {health.InProgress: "it is in force once it is stored", health.Failed: "as InProgress"},
	"PriorityLevelConfiguration": {health.InProgress: "it is in force once it is stored", health.Failed: "as InProgress"},
	"APIService":                 {health.Failed: "a server that does not answer can begin to"},
	"ResourceQuota":              {health.InProgress: "what is used is known once it is stored", health.Failed: "as InProgress"},
	"Namespace":                  {health.InProgress: "it is there or it is not", health.Failed: "as InProgress"},
	"ValidatingAdmissionPolicy":  {health.InProgress: "it is in force once it is stored", health.Failed: "as InProgress"},
}

// TestLikeKstatus holds the status of each case of TestOf against what kstatus
// makes of the same object, and of the same object when it is deleted.
func TestLikeKstatus(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no test data: %v", err)
	}
	seen := map[string]map[health.Status]bool{} // by kind
	unmet := maps.Clone(otherwise)
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range archive.Files {
			items, err := load.Bytes(f.Name, f.Data)
			if err != nil {
				t.Fatal(err)
			}
			obj := items[0].Object
			ours, theirs := assess.Of(obj, nil), kstatus(t, obj)
			want := status.Status(ours.Status)
			if other, ok := otherwise[f.Name]; ok {
				delete(unmet, f.Name)
				if other.status == want {
					t.Errorf("%s: both say %s: it is no exception", f.Name, want)
				}
				want = other.status
			}
			if theirs.Status != want {
				t.Errorf("%s: kstatus says %s: %s; want %s (ours: %s: %s)", f.Name, theirs.Status, theirs.Message, want, ours.Status, ours.Message)
			}

			obj.SetDeletionTimestamp(&metav1.Time{Time: time.Unix(1, 0)})
			deleted, theirs := assess.Of(obj, nil), kstatus(t, obj)
			if deleted.Status != health.Terminating || theirs.Status != status.TerminatingStatus || deleted.Message != theirs.Message {
				t.Errorf("%s, deleted: %v; kstatus says %s: %s", f.Name, deleted, theirs.Status, theirs.Message)
			}
			kind := obj.GetObjectKind().GroupVersionKind().Kind
			if seen[kind] == nil {
				seen[kind] = map[health.Status]bool{}
			}
			seen[kind][ours.Status], seen[kind][deleted.Status] = true, true
		}
	}
	for name, other := range unmet {
		t.Errorf("%s is no case (%s)", name, other.why)
	}
	for _, k := range scheme.Kinds() {
		if k.Health.Of == nil {
			continue
		}
		for _, s := range []health.Status{health.InProgress, health.Current, health.Failed, health.Terminating} {
			why, excepted := never[k.Kind][s]
			switch {
			case excepted && seen[k.Kind][s]:
				t.Errorf("there is a %s that is %s (%s)", k.Kind, s, why)
			case !excepted && !seen[k.Kind][s]:
				t.Errorf("there is no case of a %s that is %s, but of %v", k.Kind, s, slices.Sorted(maps.Keys(seen[k.Kind])))
			}
		}
	}
}

// kstatus is what kstatus makes of an object.
func kstatus(t *testing.T, obj object.Object) *status.Result {
	t.Helper()
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(obj)
	if err != nil {
		t.Fatal(err)
	}
	result, err := status.Compute(&unstructured.Unstructured{Object: content})
	if err != nil {
		t.Fatalf("kstatus: %s: %v", obj.GetName(), err)
	}
	return result
}
