package proxy_test

import (
	"maps"
	"slices"
	"testing"

	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"

	"headway.dev/proxy"
)

// A State hands out the Services that changed, each with all of its slices, and
// nothing before all was read.
func TestState(t *testing.T) {
	s := proxy.NewState("services", "slices")
	web, other := newService("web", vip, 0), newService("other", "10.96.0.11", 0)
	first, second := sliceOf(web, ready(a)), sliceOf(web, ready(b))
	second.Name = "web-2"
	take := func(all bool, want ...string) proxy.Changes {
		t.Helper()
		changes, complete := s.Take(all)
		var got []string
		for name, served := range changes.Services {
			text := name.Name
			if served.Service == nil {
				text += " is gone"
			}
			slices.SortFunc(served.Slices, func(a, b *discoveryv1.EndpointSlice) int { return len(a.Name) - len(b.Name) })
			for _, slice := range served.Slices {
				text += " " + slice.Name
			}
			got = append(got, text)
		}
		slices.Sort(got)
		if !complete || !slices.Equal(got, want) {
			t.Errorf("got %q (complete: %t), want %q", got, complete, want)
		}
		return changes
	}
	s.SetService(web)
	s.Read("services")
	if _, complete := s.Take(true); complete {
		t.Error("complete before the slices were read")
	}
	s.Read("slices")
	take(false, "web")
	take(false)
	s.SetSlice(first)
	s.SetSlice(second)
	s.SetService(other)
	take(false, "other", "web web web-2")
	s.SetSlice(second.DeepCopy())
	take(false, "web web web-2")
	moved := second.DeepCopy()
	moved.Labels = maps.Clone(moved.Labels)
	moved.Labels[discoveryv1.LabelServiceName] = "other"
	s.SetSlice(moved)
	take(false, "other web-2", "web web")
	s.DeleteSlice(types.NamespacedName{Namespace: "test", Name: "web"})
	s.DeleteSlice(types.NamespacedName{Namespace: "test", Name: "nosuch"})
	take(false, "web")
	s.DeleteService(types.NamespacedName{Namespace: "test", Name: "web"})
	take(false, "web is gone")
	s.SetZone("east")
	if changes := take(false, "other web-2"); !changes.All || changes.Zone != "east" {
		t.Errorf("after the zone changed: %+v", changes)
	}
	s.SetZone("east")
	take(false)
	take(true, "other web-2")
}
