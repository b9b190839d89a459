package api_test

import (
	"context"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	applyevents "k8s.io/client-go/applyconfigurations/events/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/events"

	"headway.dev/engine/api/apitest"
)

func started(name string) *eventsv1.Event {
	return &eventsv1.Event{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}, EventTime: metav1.NowMicro(),
		ReportingController: "example.com/runner", ReportingInstance: "runner-1", Action: "Starting", Reason: "Started", Type: "Normal",
		Note: "started the job", Regarding: corev1.ObjectReference{Kind: "ConfigMap", Namespace: "default", Name: "job", APIVersion: "v1"},
	}
}

// There is one set of events behind v1 and events.k8s.io/v1: every verb of one
// shows in the other, in JSON and protobuf.
func TestEventsOfBothGroups(t *testing.T) {
	s := apitest.Start(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	proto := rest.CopyConfig(s.Config)
	proto.ContentType, proto.AcceptContentTypes = "application/vnd.kubernetes.protobuf", "application/vnd.kubernetes.protobuf"
	for name, config := range map[string]*rest.Config{"json": s.Config, "protobuf": proto} {
		client := kubernetes.NewForConfigOrDie(config)
		core, view := client.CoreV1().Events("default"), client.EventsV1().Events("default")
		w, err := view.Watch(ctx, metav1.ListOptions{FieldSelector: "regarding.name=job,reportingController=example.com/runner"})
		if err != nil {
			t.Fatal(err)
		}
		defer w.Stop()
		sent := started("a-" + name)
		created, err := view.Create(ctx, sent, metav1.CreateOptions{})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		stored, err := core.Get(ctx, sent.Name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if stored.Message != sent.Note || stored.InvolvedObject != sent.Regarding || stored.ReportingController != sent.ReportingController || stored.UID != created.UID {
			t.Errorf("%s: in v1: %+v", name, stored)
		}
		patch := `{"series":{"count":2,"lastObservedTime":"2026-01-02T03:04:05.000006Z"}}`
		if _, err := view.Patch(ctx, sent.Name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		old := &corev1.Event{
			ObjectMeta: metav1.ObjectMeta{Name: "b-" + name}, Type: "Warning", Reason: "Failed", Message: "no", Count: 3,
			FirstTimestamp: metav1.Now(), LastTimestamp: metav1.Now(), Source: corev1.EventSource{Component: "example.com/runner"},
			InvolvedObject: sent.Regarding, ReportingController: "example.com/runner",
		}
		if _, err := core.Create(ctx, old, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		list, err := view.List(ctx, metav1.ListOptions{FieldSelector: "regarding.name=job"})
		if err != nil {
			t.Fatal(err)
		}
		notes := map[string]eventsv1.Event{}
		for _, e := range list.Items {
			notes[e.Name] = e
		}
		if e := notes[old.Name]; e.Note != "no" || e.DeprecatedCount != 3 || e.DeprecatedSource.Component != old.Source.Component {
			t.Errorf("%s: in events.k8s.io: %+v", name, e)
		}
		if e := notes[sent.Name]; e.Series == nil || e.Series.Count != 2 || list.ResourceVersion == "" {
			t.Errorf("%s: after the patch: %+v, list at %q", name, e, list.ResourceVersion)
		}
		if err := view.Delete(ctx, old.Name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := core.Get(ctx, old.Name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			t.Errorf("%s: deleted in events.k8s.io, in v1: %v", name, err)
		}
		if err := view.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{FieldSelector: "reason=Started"}); err != nil {
			t.Fatal(err)
		}
		if left, err := core.List(ctx, metav1.ListOptions{}); err != nil || len(left.Items) != 0 {
			t.Errorf("%s: after the collection was deleted: %v, %v", name, left.Items, err)
		}
		var seen []string
		for len(seen) < 5 {
			ev, ok := <-w.ResultChan()
			if !ok {
				t.Fatalf("%s: the watch ended after %v", name, seen)
			}
			e, ok := ev.Object.(*eventsv1.Event)
			if !ok {
				t.Fatalf("%s: the watch sent a %T: %v", name, ev.Object, ev.Object)
			}
			if ev.Type != watch.Bookmark {
				seen = append(seen, string(ev.Type)+" "+e.Name)
			}
		}
		if got, want := strings.Join(seen, ","), "ADDED a-"+name+",MODIFIED a-"+name+",ADDED b-"+name+",DELETED b-"+name+",DELETED a-"+name; got != want {
			t.Errorf("%s: watched %s, want %s", name, got, want)
		}
	}
}

// A reporter of client-go counts repetitions in a series, by patches.
func TestEventRecorder(t *testing.T) {
	s := apitest.Start(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	client := kubernetes.NewForConfigOrDie(s.Config)
	w, err := client.CoreV1().Events("default").Watch(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	broadcaster := events.NewBroadcaster(&events.EventSinkImpl{Interface: client.EventsV1()})
	defer broadcaster.Shutdown()
	if err := broadcaster.StartRecordingToSinkWithContext(ctx); err != nil {
		t.Fatal(err)
	}
	recorder := broadcaster.NewRecorder(scheme.Scheme, "example.com/runner")
	about := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "job", UID: "1"}}
	for range 2 {
		recorder.Eventf(about, nil, "Warning", "Failed", "Running", "attempt failed")
	}
	for ev := range w.ResultChan() {
		if e, ok := ev.Object.(*corev1.Event); ok && e.Series != nil && e.Series.Count >= 2 {
			if e.Message != "attempt failed" || e.InvolvedObject.Name != "job" {
				t.Errorf("the series is of %+v", e)
			}
			return
		}
	}
	t.Error("the repetition was not counted")
}

// The strict rules of events.k8s.io/v1, which hold for what is written there.
func TestEventRules(t *testing.T) {
	s := apitest.Start(t)
	ctx := t.Context()
	client := kubernetes.NewForConfigOrDie(s.Config)
	view := client.EventsV1().Events("default")
	for want, edit := range map[string]func(*eventsv1.Event){
		`eventTime: Required value`:                            func(e *eventsv1.Event) { e.EventTime = metav1.MicroTime{} },
		`type: Invalid value: "": has invalid value: Odd`:      func(e *eventsv1.Event) { e.Type = "Odd" },
		`count: Invalid value: "": needs to be unset`:          func(e *eventsv1.Event) { e.DeprecatedCount = 1 },
		`firstTimestamp: Invalid value: "": needs to be unset`: func(e *eventsv1.Event) { e.DeprecatedFirstTimestamp = metav1.Now() },
		`source: Invalid value: "": needs to be unset`:         func(e *eventsv1.Event) { e.DeprecatedSource.Host = "n1" },
		`series.count: Invalid value: "": should be at least 2`: func(e *eventsv1.Event) {
			e.Series = &eventsv1.EventSeries{Count: 1, LastObservedTime: metav1.NowMicro()}
		},
		`reportingInstance: Required value`: func(e *eventsv1.Event) { e.ReportingInstance = "" },
	} {
		e := started("rules")
		edit(e)
		if _, err := view.Create(ctx, e, metav1.CreateOptions{}); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if _, err := view.Create(ctx, started("rules"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	changed, err := view.Get(ctx, "rules", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	changed.Note, changed.Action = "another", "Ending"
	_, err = view.Update(ctx, changed, metav1.UpdateOptions{})
	for _, want := range []string{`message: Invalid value: "another": field is immutable`, `action: Invalid value: "Ending": field is immutable`} {
		if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	// v1 has no such rules.
	if _, err := client.CoreV1().Events("default").Patch(ctx, "rules", types.MergePatchType, []byte(`{"message":"another"}`), metav1.PatchOptions{}); err != nil {
		t.Error(err)
	}
}

// Server-side apply in one group knows what was written in the other, and
// kubectl knows both.
func TestEventsApplied(t *testing.T) {
	s := apitest.Start(t)
	ctx := t.Context()
	client := kubernetes.NewForConfigOrDie(s.Config)
	sent := started("applied")
	config := applyevents.Event("applied", "default").WithEventTime(sent.EventTime).WithReportingController(sent.ReportingController).
		WithReportingInstance(sent.ReportingInstance).WithAction(sent.Action).WithReason(sent.Reason).WithType(sent.Type).WithNote("one")
	config.WithLabels(map[string]string{"by": "apply"})
	if _, err := client.EventsV1().Events("default").Apply(ctx, config, metav1.ApplyOptions{FieldManager: "first"}); err != nil {
		t.Fatal(err)
	}
	stored, err := client.CoreV1().Events("default").Get(ctx, "applied", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if stored.Message != "one" || len(stored.ManagedFields) != 1 || stored.ManagedFields[0].APIVersion != "events.k8s.io/v1" {
		t.Errorf("applied: %+v", stored)
	}
	if _, err := client.CoreV1().Events("default").Patch(ctx, "applied", types.MergePatchType, []byte(`{"metadata":{"labels":{"by":"patch"}},"message":"two"}`),
		metav1.PatchOptions{FieldManager: "second"}); err != nil {
		t.Fatal(err)
	}
	_, err = client.EventsV1().Events("default").Apply(ctx, config, metav1.ApplyOptions{FieldManager: "first"})
	if !apierrors.IsConflict(err) || !strings.Contains(err.Error(), `conflicts with "second" using v1`) {
		t.Errorf("what another wrote in v1 was applied over: %v", err)
	}
	expect(t, s, "", args("get events.events.k8s.io"), "LAST SEEN", "REASON", "Started", "two")
	expect(t, s, "", args("get events.events.k8s.io applied -o yaml"), "apiVersion: events.k8s.io/v1", "note: two")
	expect(t, s, "", args("get events applied -o yaml"), "apiVersion: v1", "message: two")
	expect(t, s, "", args("explain events.note --api-version=events.k8s.io/v1"), "GROUP:", "events.k8s.io", "note")
	expect(t, s, "", args("api-resources --api-group=events.k8s.io"), "events.k8s.io/v1", "ev ", "Event")
	expect(t, s, "", args("delete events.events.k8s.io applied"), "deleted")
}
