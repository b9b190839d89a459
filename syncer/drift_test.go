package syncer_test

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer"
	"headway.dev/syncer/wire"
)

// What is put back names who changed it: the user of the request and the
// field manager, or who of them is known; also of an object that was deleted.
func TestDriftNamesTheChanger(t *testing.T) {
	r := &listener{}
	w := newWorldWith(t, map[string]string{"a.yaml": configMap("a", "git")}, nil, func(c *syncer.Config) { c.Events = r })
	w.applied(w.main())
	at := key("ConfigMap", "default", "a")
	when := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	// write is what the API server does with a request: ask, then store.
	write := func(req change.Request, edit func(object.Object)) {
		t.Helper()
		req.Old = w.store.Get(at)
		if edit != nil {
			req.Next, _ = req.Old.DeepCopyObject().(object.Object)
			edit(req.Next)
		}
		if req.User != "" {
			if elsewhere, err := w.sync.Judge(t.Context(), req); err != nil || elsewhere != nil {
				t.Fatal(elsewhere, err)
			}
		}
		if edit == nil {
			w.commit(change.Delete(at, metav1.DeleteOptions{}, time.Now()))
			return
		}
		w.commit(change.Patch(at, func(o object.Object) bool { edit(o); return true }))
	}
	set := func(value, manager string) func(object.Object) {
		return func(o object.Object) {
			c := o.(*corev1.ConfigMap)
			c.Data = map[string]string{"key": value}
			c.ManagedFields = append(c.ManagedFields, metav1.ManagedFieldsEntry{
				Manager: manager, Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: "v1", Time: &metav1.Time{Time: when},
				FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(`{"f:data":{"f:key":{}}}`),
			})
		}
	}
	drifts := func() []wire.LogEntry {
		t.Helper()
		log, err := w.sync.Log("cm", "default", "a", -1, 100)
		if err != nil {
			t.Fatal(err)
		}
		var list []wire.LogEntry
		for _, e := range log {
			if e.Type == wire.EntryDrift {
				list = append(list, e)
			}
		}
		return list
	}
	for i, step := range []struct {
		req  change.Request
		edit func(object.Object)
		want string
	}{
		{change.Request{}, set("1", "some-operator"), "some-operator"},
		{change.Request{User: "ada", Manager: "kubectl-edit"}, set("2", "kubectl-edit"), "ada with kubectl-edit"},
		{change.Request{User: "bo"}, nil, "bo"},
	} {
		write(step.req, step.edit)
		w.eventually("it is put back", func() bool { return len(drifts()) == i+1 && w.configMap("a")["key"] == "git" })
		e := drifts()[0]
		if e.Reason != "changed by "+step.want || len(e.Objects) != 1 || len(e.Objects[0].ChangedBy) != 1 || e.Objects[0].ChangedBy[0].String() != step.want {
			t.Errorf("the journal has %q %+v, want it to name %q", e.Reason, e.Objects, step.want)
			continue
		}
		if got := e.Objects[0].ChangedBy[0].Time; step.edit != nil && !got.Equal(when) {
			t.Errorf("the time is %s, want %s", got, when)
		}
		w.eventually("the event names "+step.want, func() bool { return strings.Contains(w.said(r), "changed by "+step.want) })
	}
}
