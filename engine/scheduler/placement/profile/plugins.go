package profile

import (
	"fmt"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/util/validation/field"
	v1 "k8s.io/kube-scheduler/config/v1"
)

// point is where a plugin takes part.
type point uint8

const (
	preFilter point = 1 << iota
	filter
	postFilter
	preScore
	score
	// elsewhere is where plugins take part always.
	elsewhere
)

// plugin is one of Kubernetes' that Headway has.
type plugin struct {
	at     point
	always bool // there is no scheduling without it
	filter Filter
	weight func(*Weights) *int64
	usual  int32 // weight
}

// plugins are by their names in Kubernetes.
var plugins = map[string]plugin{
	"SchedulingGates":                 {at: elsewhere, always: true},
	"PrioritySort":                    {at: elsewhere, always: true},
	"NodeName":                        {at: filter, filter: NodeName},
	"NodeUnschedulable":               {at: filter, filter: NodeUnschedulable},
	"TaintToleration":                 {at: filter | preScore | score, filter: TaintToleration, weight: func(w *Weights) *int64 { return &w.Taints }, usual: 3},
	"NodeAffinity":                    {at: preFilter | filter | preScore | score, filter: NodeAffinity, weight: func(w *Weights) *int64 { return &w.Preferred }, usual: 2},
	"NodePorts":                       {at: preFilter | filter, filter: NodePorts},
	"NodeResourcesFit":                {at: preFilter | filter | preScore | score, filter: NodeResourcesFit, weight: func(w *Weights) *int64 { return &w.Fit }, usual: 1},
	"VolumeRestrictions":              {at: preFilter | filter, always: true},
	"VolumeBinding":                   {at: preFilter | filter, always: true},
	"PodTopologySpread":               {at: preFilter | filter | preScore | score, filter: PodTopologySpread, weight: func(w *Weights) *int64 { return &w.Spread }, usual: 2},
	"InterPodAffinity":                {at: preFilter | filter | preScore | score, filter: InterPodAffinity, weight: func(w *Weights) *int64 { return &w.Between }, usual: 2},
	"DefaultPreemption":               {at: postFilter},
	"NodeResourcesBalancedAllocation": {at: preScore | score, weight: func(w *Weights) *int64 { return &w.Balance }, usual: 1},
	"ImageLocality":                   {at: score, weight: func(w *Weights) *int64 { return &w.Images }, usual: 1},
	"DefaultBinder":                   {at: elsewhere, always: true},
}

// all stands for every plugin where plugins are disabled.
const all = "*"

// enabled has the weights of plugins at one point.
type enabled map[string]int32

// setPlugins makes of a profile what a file says of its plugins, in Kubernetes' order:
// what is said of one point goes before what is said of all.
func (p *Profile) setPlugins(from *v1.Plugins, path *field.Path) (faults field.ErrorList) {
	for _, other := range []struct {
		name string
		set  v1.PluginSet
	}{
		{"preEnqueue", from.PreEnqueue},
		{"queueSort", from.QueueSort},
		{"reserve", from.Reserve},
		{"permit", from.Permit},
		{"preBind", from.PreBind},
		{"bind", from.Bind},
		{"postBind", from.PostBind},
		{"placementGenerate", from.PlacementGenerate},
		{"placementScore", from.PlacementScore},
		{"podGroupPostFilter", from.PodGroupPostFilter},
	} {
		if len(other.set.Enabled)+len(other.set.Disabled) > 0 {
			faults = append(faults, field.Forbidden(path.Child(other.name), "Headway's scheduler does not have its plugins chosen here"))
		}
	}
	multi := enabled{}
	for name, of := range plugins {
		multi[name] = of.usual
	}
	multi = multi.merge(from.MultiPoint)
	faults = append(faults, check(from.MultiPoint, 0, path.Child("multiPoint"))...)
	for name, of := range plugins {
		if _, on := multi[name]; of.always && !on {
			faults = append(faults, field.Forbidden(path.Child("multiPoint", "disabled"), name+" is always there"))
		}
	}
	points := map[point]enabled{}
	for _, one := range []struct {
		at   point
		name string
		set  v1.PluginSet
	}{{preFilter, "preFilter", from.PreFilter}, {filter, "filter", from.Filter}, {postFilter, "postFilter", from.PostFilter}, {preScore, "preScore", from.PreScore}, {score, "score", from.Score}} {
		here := maps.Clone(multi)
		maps.DeleteFunc(here, func(name string, _ int32) bool { return plugins[name].at&one.at == 0 })
		points[one.at] = here.merge(one.set)
		faults = append(faults, check(one.set, one.at, path.Child(one.name))...)
	}
	if len(faults) > 0 {
		return faults
	}
	return append(faults, p.take(points, path)...)
}

// merge applies what is said of plugins: those that are disabled are not there, unless
// they are enabled.
func (e enabled) merge(set v1.PluginSet) enabled {
	for _, x := range set.Disabled {
		if x.Name == all {
			e = enabled{}
			break
		}
		delete(e, x.Name)
	}
	for _, x := range set.Enabled {
		weight := int32(1)
		if x.Weight != nil && *x.Weight != 0 {
			weight = *x.Weight
		}
		e[x.Name] = weight
	}
	return e
}

// check finds what a point cannot have; 0 is all of them.
func check(set v1.PluginSet, at point, path *field.Path) (faults field.ErrorList) {
	seen := map[string]bool{}
	for i, x := range set.Enabled {
		path := path.Child("enabled").Index(i)
		faults = append(faults, known(x.Name, at, path)...)
		if seen[x.Name] {
			faults = append(faults, field.Duplicate(path.Child("name"), x.Name))
		}
		seen[x.Name] = true
		switch of := plugins[x.Name]; {
		case x.Weight == nil:
		case of.weight == nil || at != 0 && at != score:
			faults = append(faults, field.Forbidden(path.Child("weight"), "only scores have weights"))
		case *x.Weight < 0:
			faults = append(faults, field.Invalid(path.Child("weight"), *x.Weight, "must not be negative"))
		}
	}
	for i, x := range set.Disabled {
		path := path.Child("disabled").Index(i)
		if x.Name != all {
			faults = append(faults, known(x.Name, at, path)...)
		}
		if x.Weight != nil {
			faults = append(faults, field.Forbidden(path.Child("weight"), "it has no effect where a plugin is disabled"))
		}
	}
	return faults
}

func known(name string, at point, path *field.Path) field.ErrorList {
	of, ok := plugins[name]
	switch {
	case !ok:
		return field.ErrorList{field.NotSupported(path.Child("name"), name, slices.Sorted(maps.Keys(plugins)))}
	case at != 0 && of.at&at == 0:
		return field.ErrorList{field.Invalid(path.Child("name"), name, "the plugin has no part in this")}
	}
	return nil
}

// take sets what the points say.
func (p *Profile) take(points map[point]enabled, path *field.Path) (faults field.ErrorList) {
	p.filters, p.Weights = 0, Weights{}
	for _, name := range slices.Sorted(maps.Keys(plugins)) {
		of := plugins[name]
		on := func(at point) bool { _, ok := points[at][name]; return ok }
		before := func(what, needs point, called string) {
			if on(what) && of.at&needs != 0 && !on(needs) {
				faults = append(faults, field.Forbidden(path.Child(called, "disabled"), fmt.Sprintf("%s needs it for what it does after: disable that, too", name)))
			}
		}
		before(filter, preFilter, "preFilter")
		before(score, preScore, "preScore")
		if of.always && of.at&filter != 0 && !on(filter) {
			faults = append(faults, field.Forbidden(path.Child("filter", "disabled"), name+" is always there"))
		}
		if on(filter) {
			p.filters |= of.filter
		}
		if of.weight != nil && on(score) {
			*of.weight(&p.Weights) = int64(points[score][name])
		}
	}
	_, p.Preempts = points[postFilter]["DefaultPreemption"]
	return faults
}
