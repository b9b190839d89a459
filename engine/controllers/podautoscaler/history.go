package podautoscaler

import (
	"math"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
)

const (
	// downWindow is for how long the highest recommendation counts before less is scaled
	// to, unless the behavior says otherwise.
	downWindow = 5 * time.Minute
	// upFactor and upMinimum bound one step up without a behavior.
	upFactor, upMinimum = 2, 4
)

// History is what was recommended and done for one autoscaler. It is in memory only:
// after a restart it begins with the number of replicas that there are.
type History struct {
	recommendations []record
	ups, downs      []record
}

// record is a number of replicas: recommended, added or removed.
type record struct {
	at time.Time
	n  int32
}

// Limited is what came of a recommendation, with the reasons and messages of the
// conditions AbleToScale and ScalingLimited.
type Limited struct {
	Replicas                    int32
	AbleReason, AbleMessage     string
	Limited                     bool
	LimitedReason, LimitMessage string
}

// Begin notes how many replicas there are, if nothing is known yet.
func (h *History) Begin(current int32, now time.Time) {
	if h.recommendations == nil {
		h.recommendations = []record{{now, current}}
	}
}

// Limit notes a recommendation, and returns how many replicas there may be for it.
func (h *History) Limit(spec *autoscalingv2.HorizontalPodAutoscalerSpec, current, desired int32, now time.Time) Limited {
	least := minimum(spec)
	var out Limited
	var stabilised int32
	if spec.Behavior == nil {
		stabilised = h.highest(desired, now)
		out.able("ScaleDownStabilized", "recent recommendations were higher than current one, applying the highest recent recommendation", stabilised != desired)
		out.limit(stabilised, least, plainMost(current, spec.MaxReplicas))
		return out
	}
	up, down := spec.Behavior.ScaleUp, spec.Behavior.ScaleDown
	stabilised, reason, message := h.stabilise(window(up, 0), window(down, downWindow), current, desired, now)
	out.able(reason, message, stabilised != desired)
	lower, upper := bound{n: least, reason: tooFew}, bound{n: spec.MaxReplicas, reason: tooMany}
	switch {
	case stabilised > current:
		if n := max(h.upLimit(up, current, now), current); spec.MaxReplicas > n {
			upper = bound{n, scaleUpLimit}
		}
		lower.n = math.MinInt32
	case stabilised < current:
		if n := min(h.downLimit(down, current, now), current); least < n {
			lower = bound{n, scaleDownLimit}
		}
		upper.n = math.MaxInt32
	default:
		lower.n, upper.n = math.MinInt32, math.MaxInt32
	}
	out.limit(stabilised, lower.n, upper)
	if out.Limited && out.Replicas == lower.n {
		out.LimitedReason, out.LimitMessage = string(lower.reason), lower.reason.message()
	}
	return out
}

// Scaled notes that the number of replicas was changed.
func (h *History) Scaled(spec *autoscalingv2.HorizontalPodAutoscalerSpec, before, after int32, now time.Time) {
	if spec.Behavior == nil {
		return
	}
	age := max(longest(spec.Behavior.ScaleUp), longest(spec.Behavior.ScaleDown))
	h.ups, h.downs = recent(h.ups, age, now), recent(h.downs, age, now)
	if after > before {
		h.ups = append(h.ups, record{now, after - before})
	} else {
		h.downs = append(h.downs, record{now, before - after})
	}
}

// highest is the highest recommendation of the last minutes.
func (h *History) highest(desired int32, now time.Time) int32 {
	h.recommendations = append(recent(h.recommendations, downWindow, now), record{now, desired})
	for _, r := range h.recommendations {
		desired = max(desired, r.n)
	}
	return desired
}

// stabilise moves the current number no further than the recommendations within the
// windows: up to the lowest, and down to the highest.
func (h *History) stabilise(up, down time.Duration, current, desired int32, now time.Time) (n int32, reason, message string) {
	lowest, highest := desired, desired
	for _, r := range h.recommendations {
		if r.at.After(now.Add(-up)) {
			lowest = min(lowest, r.n)
		}
		if r.at.After(now.Add(-down)) {
			highest = max(highest, r.n)
		}
	}
	h.recommendations = append(recent(h.recommendations, max(up, down), now), record{now, desired})
	n = min(max(current, lowest), highest)
	if desired >= current {
		return n, "ScaleUpStabilized", "recent recommendations were lower than current one, applying the lowest recent recommendation"
	}
	return n, "ScaleDownStabilized", "recent recommendations were higher than current one, applying the highest recent recommendation"
}

// upLimit is the highest number that the rules allow now.
func (h *History) upLimit(rules *autoscalingv2.HPAScalingRules, current int32, now time.Time) int32 {
	choose, limit := func(a, b int32) int32 { return max(a, b) }, int32(math.MinInt32)
	switch selectPolicy(rules) {
	case autoscalingv2.DisabledPolicySelect:
		return current
	case autoscalingv2.MinChangePolicySelect:
		choose, limit = func(a, b int32) int32 { return min(a, b) }, math.MaxInt32
	case autoscalingv2.MaxChangePolicySelect:
	}
	for _, p := range rules.Policies {
		start := h.before(current, p.PeriodSeconds, now)
		proposed := float64(start) + float64(p.Value)
		if p.Type == autoscalingv2.PercentScalingPolicy {
			// Rounded up, as else a small number would never grow.
			proposed = math.Ceil(float64(start) * (1 + float64(p.Value)/100))
		}
		limit = choose(limit, clamp(proposed))
	}
	return limit
}

// downLimit is the lowest number that the rules allow now.
func (h *History) downLimit(rules *autoscalingv2.HPAScalingRules, current int32, now time.Time) int32 {
	choose, limit := func(a, b int32) int32 { return min(a, b) }, int32(math.MaxInt32)
	switch selectPolicy(rules) {
	case autoscalingv2.DisabledPolicySelect:
		return current
	case autoscalingv2.MinChangePolicySelect:
		choose, limit = func(a, b int32) int32 { return max(a, b) }, math.MinInt32
	case autoscalingv2.MaxChangePolicySelect:
	}
	for _, p := range rules.Policies {
		start := h.before(current, p.PeriodSeconds, now)
		proposed := float64(start) - float64(p.Value)
		if p.Type == autoscalingv2.PercentScalingPolicy {
			proposed = float64(start) * (1 - float64(p.Value)/100)
		}
		limit = choose(limit, clamp(proposed))
	}
	return limit
}

// before is how many replicas there were some seconds ago.
func (h *History) before(current, seconds int32, now time.Time) int32 {
	return current - changed(h.ups, seconds, now) + changed(h.downs, seconds, now)
}

func clamp(f float64) int32 { return int32(min(max(f, math.MinInt32), math.MaxInt32)) }

func selectPolicy(rules *autoscalingv2.HPAScalingRules) autoscalingv2.ScalingPolicySelect {
	if rules.SelectPolicy == nil {
		return autoscalingv2.MaxChangePolicySelect
	}
	return *rules.SelectPolicy
}

func window(rules *autoscalingv2.HPAScalingRules, fallback time.Duration) time.Duration {
	if rules.StabilizationWindowSeconds == nil {
		return fallback
	}
	return time.Duration(*rules.StabilizationWindowSeconds) * time.Second
}

func longest(rules *autoscalingv2.HPAScalingRules) time.Duration {
	var most int32
	for _, p := range rules.Policies {
		most = max(most, p.PeriodSeconds)
	}
	return time.Duration(most) * time.Second
}

// changed is how many replicas were added or removed within the last seconds.
func changed(events []record, seconds int32, now time.Time) (n int32) {
	for _, e := range events {
		if e.at.After(now.Add(-time.Duration(seconds) * time.Second)) {
			n += e.n
		}
	}
	return n
}

// recent leaves out what is older than some time.
func recent(list []record, age time.Duration, now time.Time) []record {
	var kept []record
	for _, r := range list {
		if !r.at.Before(now.Add(-age)) {
			kept = append(kept, r)
		}
	}
	return kept
}

func minimum(spec *autoscalingv2.HorizontalPodAutoscalerSpec) int32 {
	if spec.MinReplicas == nil {
		return 1
	}
	return *spec.MinReplicas
}

// cause is why a number is limited.
type cause string

const (
	scaleUpLimit   cause = "ScaleUpLimit"
	scaleDownLimit cause = "ScaleDownLimit"
	tooMany        cause = "TooManyReplicas"
	tooFew         cause = "TooFewReplicas"
)

func (c cause) message() string {
	switch c {
	case scaleUpLimit:
		return "the desired replica count is increasing faster than the maximum scale rate"
	case scaleDownLimit:
		return "the desired replica count is decreasing faster than the maximum scale rate"
	case tooMany:
		return "the desired replica count is more than the maximum replica count"
	case tooFew:
		return "the desired replica count is less than the minimum replica count"
	}
	return ""
}

type bound struct {
	n      int32
	reason cause
}

// plainMost is the highest number in one step without a behavior.
func plainMost(current, most int32) bound {
	if n := clamp(max(upFactor*float64(current), upMinimum)); most > n {
		return bound{n, scaleUpLimit}
	}
	return bound{most, tooMany}
}

func (l *Limited) able(reason, message string, stabilised bool) {
	l.AbleReason, l.AbleMessage = "ReadyForNewScale", "recommended size matches current size"
	if stabilised {
		l.AbleReason, l.AbleMessage = reason, message
	}
}

func (l *Limited) limit(desired, lower int32, upper bound) {
	l.Replicas, l.LimitedReason, l.LimitMessage = desired, "DesiredWithinRange", "the desired count is within the acceptable range"
	switch {
	case desired < lower:
		l.Replicas, l.Limited, l.LimitedReason, l.LimitMessage = lower, true, string(tooFew), tooFew.message()
	case desired > upper.n:
		l.Replicas, l.Limited, l.LimitedReason, l.LimitMessage = upper.n, true, string(upper.reason), upper.reason.message()
	}
}
