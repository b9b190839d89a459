package syncer_test

import (
	"context"
	"strings"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
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
			if elsewhere, err := w.sync.Review(t.Context(), req); err != nil || elsewhere != nil {
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

// A hand edit that is seen together with a commit that cannot be applied is undone
// all the same: by what was applied last. So it is if the Kustomization is edited
// while that commit is tried.
func TestDriftMeetsABadCommit(t *testing.T) {
	for name, tc := range map[string]struct {
		bad    string
		edited bool
	}{
		"a file is wrong":        {bad: "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: bad}\ndatum: {}\n"},
		"it is edited meanwhile": {bad: configMap("bad", "git"), edited: true},
	} {
		t.Run(name, func(t *testing.T) {
			w, o := monoObserved(t, map[string]string{"cluster/a.yaml": configMap("a", "git")}, nil)
			w.applied(w.main())
			edit := func(edit func(*kustomizev1.Kustomization)) change.Change {
				return change.Patch(w.ksKey(), func(o object.Object) bool {
					edit(o.(*kustomizev1.Kustomization))
					return true
				})
			}
			w.commit(edit(func(ks *kustomizev1.Kustomization) { ks.Spec.Suspend = true }))
			w.eventually("it is suspended", func() bool { return w.conditionOf("cluster", "headway.dev/Suspended") != "" })
			w.commit(change.Patch(key("ConfigMap", "default", "a"), func(o object.Object) bool {
				o.(*corev1.ConfigMap).Data = map[string]string{"key": "hand"}
				return true
			}))
			w.write(map[string]string{"cluster/bad.yaml": tc.bad})
			bad := w.push("bad")
			w.eventually("the source has the commit", func() bool { return strings.Contains(w.statusOf("GitRepository", "cluster"), bad) })
			o.mu.Lock()
			o.refuse = "bad"
			if tc.edited {
				o.before = func(ctx context.Context) error {
					_, err := o.Store.Commit(ctx, change.Tx{Changes: []change.Change{edit(func(ks *kustomizev1.Kustomization) { ks.Spec.Interval.Duration += time.Minute })}})
					return err
				}
			}
			o.mu.Unlock()
			w.commit(edit(func(ks *kustomizev1.Kustomization) { ks.Spec.Suspend = false }))
			w.eventually("the commit is refused", func() bool { return strings.HasPrefix(w.readyOf("cluster"), "False") })
			w.eventually("the hand edit is undone", func() bool { return w.configMap("a")["key"] == "git" })
		})
	}
}
