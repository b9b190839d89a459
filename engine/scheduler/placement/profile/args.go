package profile

import (
	"errors"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	v1 "k8s.io/kube-scheduler/config/v1"
	"k8s.io/utils/ptr"

	"headway.dev/engine/scheduler/placement/match"
)

// setters take the arguments of a plugin.
var setters = map[string]func(p *Profile, raw []byte, path *field.Path) field.ErrorList{
	"NodeResourcesFit":                setter((*Profile).setFit),
	"NodeResourcesBalancedAllocation": setter((*Profile).setBalance),
	"PodTopologySpread":               setter((*Profile).setSpread),
	"NodeAffinity":                    setter((*Profile).setAffinity),
	"InterPodAffinity":                setter((*Profile).setBetween),
	"DefaultPreemption":               setter((*Profile).setPreemption),
}

// setter reads arguments before they are taken.
func setter[T any](take func(*Profile, *T, *field.Path) field.ErrorList) func(*Profile, []byte, *field.Path) field.ErrorList {
	return func(p *Profile, raw []byte, path *field.Path) field.ErrorList {
		args := new(T)
		if wrong := strictly(raw, args); len(wrong) > 0 {
			var faults field.ErrorList
			for _, err := range wrong {
				faults = append(faults, field.Invalid(path, field.OmitValueType{}, err.Error()))
			}
			return faults
		}
		return take(p, args, path)
	}
}

// setArgs takes the arguments of plugins.
func (p *Profile) setArgs(list []v1.PluginConfig, path *field.Path) (faults field.ErrorList) {
	seen := map[string]bool{}
	for i := range list {
		name, path := list[i].Name, path.Index(i)
		set := setters[name]
		switch {
		case seen[name]:
			faults = append(faults, field.Duplicate(path, name))
		case set == nil:
			faults = append(faults, field.NotSupported(path.Child("name"), name, slices.Sorted(maps.Keys(setters))))
		default:
			faults = append(faults, ofKind(list[i].Args.Raw, name+"Args", path.Child("args"))...)
			faults = append(faults, set(p, list[i].Args.Raw, path.Child("args"))...)
		}
		seen[name] = true
	}
	return faults
}

// ofKind checks the kind of arguments, which they need not say.
func ofKind(raw []byte, kind string, path *field.Path) (faults field.ErrorList) {
	var of metav1.TypeMeta
	_ = lenient(raw, &of) // strictly tells what is wrong
	if of.Kind != "" && of.Kind != kind {
		faults = append(faults, field.NotSupported(path.Child("kind"), of.Kind, []string{kind}))
	}
	if of.APIVersion != "" && of.APIVersion != v1.SchemeGroupVersion.String() {
		faults = append(faults, field.NotSupported(path.Child("apiVersion"), of.APIVersion, []string{v1.SchemeGroupVersion.String()}))
	}
	return faults
}

func (p *Profile) setFit(args *v1.NodeResourcesFitArgs, path *field.Path) (faults field.ErrorList) {
	p.ignored = map[string]bool{}
	for i, name := range args.IgnoredResources {
		faults = append(faults, metav1validation.ValidateLabelName(name, path.Child("ignoredResources").Index(i))...)
		if slices.Contains([]corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage, corev1.ResourcePods}, corev1.ResourceName(name)) {
			faults = append(faults, field.Invalid(path.Child("ignoredResources").Index(i), name, "only extended resources can be ignored"))
		}
		p.ignored[name] = true
	}
	for i, group := range args.IgnoredResourceGroups {
		path := path.Child("ignoredResourceGroups").Index(i)
		if strings.Contains(group, "/") {
			faults = append(faults, field.Invalid(path, group, "resource group name can't contain '/'"))
		}
		faults = append(faults, metav1validation.ValidateLabelName(group, path)...)
		p.ignored[group+"/"] = true
	}
	if args.ScoringStrategy != nil {
		faults = append(faults, p.setStrategy(args.ScoringStrategy, path.Child("scoringStrategy"))...)
	}
	return faults
}

var types = map[v1.ScoringStrategyType]Type{
	v1.LeastAllocated: LeastAllocated, v1.MostAllocated: MostAllocated, v1.RequestedToCapacityRatio: RequestedToCapacityRatio,
}

func (p *Profile) setStrategy(from *v1.ScoringStrategy, path *field.Path) (faults field.ErrorList) {
	of, ok := types[from.Type]
	if !ok {
		faults = append(faults, field.NotSupported(path.Child("type"), from.Type, slices.Sorted(maps.Keys(types))))
	}
	p.Fit = Strategy{Type: of, Resources: cpuAndMemory}
	if len(from.Resources) > 0 {
		p.Fit.Resources = nil
	}
	for i, r := range from.Resources {
		if r.Weight == 0 {
			r.Weight = 1
		}
		if r.Weight < 0 || r.Weight > 100 {
			faults = append(faults, field.Invalid(path.Child("resources").Index(i).Child("weight"), r.Weight, "resource weight of "+r.Name+" not in valid range (0, 100]"))
		}
		p.Fit.Resources = append(p.Fit.Resources, Resource{corev1.ResourceName(r.Name), r.Weight})
	}
	curve := path.Child("requestedToCapacityRatio")
	switch {
	case of == RequestedToCapacityRatio && from.RequestedToCapacityRatio == nil:
		faults = append(faults, field.Required(curve, "must be specified when type is RequestedToCapacityRatio"))
	case of == RequestedToCapacityRatio:
		faults = append(faults, p.setCurve(from.RequestedToCapacityRatio.Shape, curve.Child("shape"))...)
	case from.RequestedToCapacityRatio != nil:
		faults = append(faults, field.Forbidden(curve, "must be nil when type is not RequestedToCapacityRatio"))
	}
	return faults
}

func (p *Profile) setCurve(shape []v1.UtilizationShapePoint, path *field.Path) (faults field.ErrorList) {
	if len(shape) == 0 {
		return field.ErrorList{field.Required(path, "at least one point must be specified")}
	}
	unsorted := false
	for i, at := range shape {
		if i > 0 && shape[i-1].Utilization >= at.Utilization && !unsorted {
			unsorted = true
			faults = append(faults, field.Invalid(path.Index(i).Child("utilization"), at.Utilization, "values must be sorted in increasing order"))
		}
		if at.Utilization < 0 || at.Utilization > 100 {
			faults = append(faults, field.Invalid(path.Index(i).Child("utilization"), at.Utilization, "not in valid range [0, 100]"))
		}
		if at.Score < 0 || at.Score > 10 {
			faults = append(faults, field.Invalid(path.Index(i).Child("score"), at.Score, "not in valid range [0, 10]"))
		}
		p.Fit.Curve = append(p.Fit.Curve, Point{int64(at.Utilization), int64(at.Score) * highest / 10})
	}
	return faults
}

func (p *Profile) setBalance(args *v1.NodeResourcesBalancedAllocationArgs, path *field.Path) (faults field.ErrorList) {
	if len(args.Resources) == 0 {
		return nil
	}
	p.Balance = nil
	for i, r := range args.Resources {
		path := path.Child("resources").Index(i)
		if slices.Contains(p.Balance, corev1.ResourceName(r.Name)) {
			faults = append(faults, field.Duplicate(path.Child("name"), r.Name))
		}
		if r.Weight != 0 && r.Weight != 1 {
			faults = append(faults, field.Invalid(path.Child("weight"), r.Weight, "must be 1"))
		}
		p.Balance = append(p.Balance, corev1.ResourceName(r.Name))
	}
	return faults
}

func (p *Profile) setSpread(args *v1.PodTopologySpreadArgs, path *field.Path) (faults field.ErrorList) {
	switch args.DefaultingType {
	case "", v1.SystemDefaulting:
		if len(args.DefaultConstraints) > 0 {
			faults = append(faults, field.Invalid(path.Child("defaultingType"), v1.SystemDefaulting, "when .defaultConstraints are not empty"))
		}
	case v1.ListDefaulting:
		faults = append(faults, checkConstraints(args.DefaultConstraints, path.Child("defaultConstraints"))...)
		if len(faults) == 0 {
			p.Spread = match.DefaultsOf(args.DefaultConstraints)
		}
	default:
		faults = append(faults, field.NotSupported(path.Child("defaultingType"), args.DefaultingType, []v1.PodTopologySpreadConstraintsDefaulting{v1.SystemDefaulting, v1.ListDefaulting}))
	}
	return faults
}

func checkConstraints(list []corev1.TopologySpreadConstraint, path *field.Path) (faults field.ErrorList) {
	actions := []corev1.UnsatisfiableConstraintAction{corev1.DoNotSchedule, corev1.ScheduleAnyway}
	for i := range list {
		c, path := &list[i], path.Index(i)
		if c.MaxSkew <= 0 {
			faults = append(faults, field.Invalid(path.Child("maxSkew"), c.MaxSkew, "not in valid range (0, inf)"))
		}
		if c.TopologyKey == "" {
			faults = append(faults, field.Required(path.Child("topologyKey"), "can not be empty"))
		} else {
			faults = append(faults, metav1validation.ValidateLabelName(c.TopologyKey, path.Child("topologyKey"))...)
		}
		switch {
		case c.WhenUnsatisfiable == "":
			faults = append(faults, field.Required(path.Child("whenUnsatisfiable"), "can not be empty"))
		case !slices.Contains(actions, c.WhenUnsatisfiable):
			faults = append(faults, field.NotSupported(path.Child("whenUnsatisfiable"), c.WhenUnsatisfiable, actions))
		}
		if c.LabelSelector != nil {
			faults = append(faults, field.Forbidden(path.Child("labelSelector"), "constraint must not define a selector, as they deduced for each pod"))
		}
		if len(c.MatchLabelKeys) > 0 {
			faults = append(faults, field.Forbidden(path.Child("matchLabelKeys"), "default constraints count the pods of the same controller"))
		}
		faults = append(faults, checkPolicies(c, path)...)
		if slices.ContainsFunc(list[:i], func(o corev1.TopologySpreadConstraint) bool {
			return o.TopologyKey == c.TopologyKey && o.WhenUnsatisfiable == c.WhenUnsatisfiable
		}) {
			faults = append(faults, field.Duplicate(path, "{"+c.TopologyKey+", "+string(c.WhenUnsatisfiable)+"}"))
		}
	}
	return faults
}

// checkPolicies finds what a pod's constraint may not have either.
func checkPolicies(c *corev1.TopologySpreadConstraint, path *field.Path) (faults field.ErrorList) {
	if c.MinDomains != nil && *c.MinDomains <= 0 {
		faults = append(faults, field.Invalid(path.Child("minDomains"), *c.MinDomains, "must be greater than 0"))
	}
	if c.MinDomains != nil && c.WhenUnsatisfiable != corev1.DoNotSchedule {
		faults = append(faults, field.Invalid(path.Child("minDomains"), *c.MinDomains, "can only use minDomains if whenUnsatisfiable=DoNotSchedule, not "+string(c.WhenUnsatisfiable)))
	}
	policies := []corev1.NodeInclusionPolicy{corev1.NodeInclusionPolicyHonor, corev1.NodeInclusionPolicyIgnore}
	for name, is := range map[string]*corev1.NodeInclusionPolicy{"nodeAffinityPolicy": c.NodeAffinityPolicy, "nodeTaintsPolicy": c.NodeTaintsPolicy} {
		if is != nil && !slices.Contains(policies, *is) {
			faults = append(faults, field.NotSupported(path.Child(name), *is, policies))
		}
	}
	return faults
}

func (p *Profile) setAffinity(args *v1.NodeAffinityArgs, path *field.Path) (faults field.ErrorList) {
	if args.AddedAffinity == nil {
		return nil
	}
	path = path.Child("addedAffinity")
	var err error
	if required := args.AddedAffinity.RequiredDuringSchedulingIgnoredDuringExecution; required != nil {
		path := path.Child("requiredDuringSchedulingIgnoredDuringExecution")
		if p.Required, err = nodeaffinity.NewNodeSelector(required, field.WithPath(path)); err != nil {
			faults = append(faults, invalid(err, path)...)
		}
	}
	if preferred := args.AddedAffinity.PreferredDuringSchedulingIgnoredDuringExecution; len(preferred) > 0 {
		path := path.Child("preferredDuringSchedulingIgnoredDuringExecution")
		if p.Preferred, err = nodeaffinity.NewPreferredSchedulingTerms(preferred, field.WithPath(path)); err != nil {
			faults = append(faults, invalid(err, path)...)
		}
	}
	return faults
}

// invalid are the faults of an error that has some.
func invalid(err error, path *field.Path) (faults field.ErrorList) {
	var many interface{ Errors() []error }
	if !errors.As(err, &many) {
		return field.ErrorList{field.Invalid(path, field.OmitValueType{}, err.Error())}
	}
	for _, one := range many.Errors() {
		if fault, ok := errors.AsType[*field.Error](one); ok {
			faults = append(faults, fault)
		} else {
			faults = append(faults, field.Invalid(path, field.OmitValueType{}, one.Error()))
		}
	}
	return faults
}

func (p *Profile) setBetween(args *v1.InterPodAffinityArgs, path *field.Path) field.ErrorList {
	weight := ptr.Deref(args.HardPodAffinityWeight, 1)
	if weight < 0 || weight > 100 {
		return field.ErrorList{field.Invalid(path.Child("hardPodAffinityWeight"), weight, "not in valid range [0, 100]")}
	}
	p.HardWeight, p.OwnOnly = int64(weight), args.IgnorePreferredTermsOfExistingPods
	return nil
}

func (p *Profile) setPreemption(args *v1.DefaultPreemptionArgs, path *field.Path) (faults field.ErrorList) {
	percent, least := ptr.Deref(args.MinCandidateNodesPercentage, 0), ptr.Deref(args.MinCandidateNodesAbsolute, 100)
	if percent < 0 || percent > 100 {
		faults = append(faults, field.Invalid(path.Child("minCandidateNodesPercentage"), percent, "not in valid range [0, 100]"))
	}
	if least < 0 {
		faults = append(faults, field.Invalid(path.Child("minCandidateNodesAbsolute"), least, "not in valid range [0, inf)"))
	}
	if percent == 0 && least == 0 {
		faults = append(faults,
			field.Invalid(path.Child("minCandidateNodesPercentage"), percent, "cannot be zero at the same time as minCandidateNodesAbsolute"),
			field.Invalid(path.Child("minCandidateNodesAbsolute"), least, "cannot be zero at the same time as minCandidateNodesPercentage"))
	}
	p.candidatesPercent, p.candidatesLeast = int(percent), int(least)
	return faults
}
