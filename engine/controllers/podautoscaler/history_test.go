package podautoscaler_test

import (
	"math"
	"testing"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/utils/ptr"
	"pgregory.net/rapid"

	"headway.dev/engine/controllers/podautoscaler"
)

func rules(window int32, policy autoscalingv2.ScalingPolicySelect, policies ...autoscalingv2.HPAScalingPolicy) *autoscalingv2.HPAScalingRules {
	return &autoscalingv2.HPAScalingRules{StabilizationWindowSeconds: &window, SelectPolicy: &policy, Policies: policies}
}

func podsPolicy(n, seconds int32) autoscalingv2.HPAScalingPolicy {
	return autoscalingv2.HPAScalingPolicy{Type: autoscalingv2.PodsScalingPolicy, Value: n, PeriodSeconds: seconds}
}

func percentPolicy(n, seconds int32) autoscalingv2.HPAScalingPolicy {
	return autoscalingv2.HPAScalingPolicy{Type: autoscalingv2.PercentScalingPolicy, Value: n, PeriodSeconds: seconds}
}

const (
	highest  = autoscalingv2.MaxChangePolicySelect
	lowest   = autoscalingv2.MinChangePolicySelect
	disabled = autoscalingv2.DisabledPolicySelect
)

// step is a recommendation some seconds after the one before, and what comes of it.
type step struct {
	after, desired, want int32
	reason               string
}

// follow has a target scaled as recommended.
func follow(t *testing.T, spec *autoscalingv2.HorizontalPodAutoscalerSpec, current int32, steps []step) {
	t.Helper()
	h, at := &podautoscaler.History{}, now
	h.Begin(current, at)
	for i, s := range steps {
		at = at.Add(time.Duration(s.after) * time.Second)
		got := h.Limit(spec, current, s.desired, at)
		if got.Replicas != s.want || got.LimitedReason != s.reason {
			t.Fatalf("step %d, from %d to %d: %d (%s, %s), want %d (%s)", i, current, s.desired, got.Replicas, got.AbleReason, got.LimitedReason, s.want, s.reason)
		}
		if got.Limited != (s.reason != "DesiredWithinRange") {
			t.Errorf("step %d: limited is %v for %s", i, got.Limited, s.reason)
		}
		if got.Replicas != current {
			h.Scaled(spec, current, got.Replicas, at)
			current = got.Replicas
		}
	}
}

// Examples of
// https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#configurable-scaling-behavior.
func TestBehavior(t *testing.T) {
	up := rules(0, highest, podsPolicy(4, 15), percentPolicy(100, 15))
	down := rules(300, highest, percentPolicy(100, 15))
	within := "DesiredWithinRange"
	for name, c := range map[string]struct {
		up, down *autoscalingv2.HPAScalingRules
		current  int32
		steps    []step
	}{
		"default: up at once, down after the window": {up, down, 2, []step{
			{15, 10, 6, "ScaleUpLimit"}, {15, 10, 10, within}, {15, 2, 10, within}, {150, 4, 10, within}, {155, 3, 4, within}, {140, 3, 4, within}, {10, 3, 3, within},
		}},
		"four pods a minute, or ten percent, whichever is more": {up, rules(0, highest, podsPolicy(4, 60), percentPolicy(10, 60)), 80, []step{
			{15, 10, 72, "ScaleDownLimit"}, {15, 10, 72, "ScaleDownLimit"}, {60, 10, 64, "ScaleDownLimit"}, {60, 10, 57, "ScaleDownLimit"},
		}},
		"whichever is less": {up, rules(0, lowest, podsPolicy(5, 60), percentPolicy(10, 60)), 80, []step{{15, 10, 75, "ScaleDownLimit"}, {61, 10, 70, "ScaleDownLimit"}}},
		"never down":        {up, rules(0, disabled, podsPolicy(4, 60)), 20, []step{{15, 1, 20, "ScaleDownLimit"}, {600, 1, 20, "ScaleDownLimit"}}},
		"never up":          {rules(0, disabled, podsPolicy(4, 60)), down, 20, []step{{15, 40, 20, "ScaleUpLimit"}}},
		"up after a window": {rules(60, highest, percentPolicy(900, 60)), down, 2, []step{{15, 8, 2, within}, {30, 6, 2, within}, {20, 9, 6, within}}},
		"the bounds":        {up, rules(0, highest, percentPolicy(100, 15)), 99, []step{{15, 150, 100, "TooManyReplicas"}, {15, 0, 1, "TooFewReplicas"}}},
		"one pod a minute":  {rules(0, highest, podsPolicy(1, 60)), down, 1, []step{{15, 9, 2, "ScaleUpLimit"}, {30, 9, 2, "ScaleUpLimit"}, {31, 9, 3, "ScaleUpLimit"}}},
	} {
		t.Run(name, func(t *testing.T) {
			spec := &autoscalingv2.HorizontalPodAutoscalerSpec{
				MinReplicas: ptr.To[int32](1), MaxReplicas: 100, Behavior: &autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleUp: c.up, ScaleDown: c.down},
			}
			follow(t, spec, c.current, c.steps)
		})
	}
	t.Run("none", func(t *testing.T) {
		follow(t, &autoscalingv2.HorizontalPodAutoscalerSpec{MinReplicas: ptr.To[int32](2), MaxReplicas: 20}, 2, []step{
			{15, 9, 4, "ScaleUpLimit"},
			{15, 30, 8, "ScaleUpLimit"},
			{15, 30, 16, "ScaleUpLimit"},
			{15, 30, 20, "TooManyReplicas"},
			{15, 1, 20, "TooManyReplicas"},
			{301, 1, 2, "TooFewReplicas"},
		})
	})
}

// Whatever is recommended when, there are never more or fewer replicas than the bounds
// allow, and never a change within a period that is larger than every policy allows.
func TestNeverFasterThanAllowed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(name string) *autoscalingv2.HPAScalingRules {
			var policies []autoscalingv2.HPAScalingPolicy
			for range rapid.IntRange(1, 3).Draw(t, name) {
				policies = append(policies, autoscalingv2.HPAScalingPolicy{
					Type:  rapid.SampledFrom([]autoscalingv2.HPAScalingPolicyType{autoscalingv2.PodsScalingPolicy, autoscalingv2.PercentScalingPolicy}).Draw(t, "type"),
					Value: rapid.Int32Range(1, 150).Draw(t, "value"), PeriodSeconds: rapid.Int32Range(1, 120).Draw(t, "period"),
				})
			}
			return rules(rapid.Int32Range(0, 120).Draw(t, "window"), rapid.SampledFrom([]autoscalingv2.ScalingPolicySelect{highest, lowest, disabled}).Draw(t, "select"), policies...)
		}
		spec := &autoscalingv2.HorizontalPodAutoscalerSpec{
			MinReplicas: new(rapid.Int32Range(1, 10).Draw(t, "min")), MaxReplicas: rapid.Int32Range(10, 200).Draw(t, "max"),
			Behavior: &autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleUp: draw("up"), ScaleDown: draw("down")},
		}
		current := rapid.Int32Range(*spec.MinReplicas, spec.MaxReplicas).Draw(t, "current")
		h, at := &podautoscaler.History{}, now
		h.Begin(current, at)
		type state struct {
			at time.Time
			n  int32
		}
		past := []state{{now.Add(-time.Hour), current}}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			at = at.Add(time.Duration(rapid.IntRange(1, 60).Draw(t, "seconds")) * time.Second)
			desired := rapid.Int32Range(0, 300).Draw(t, "desired")
			got := h.Limit(spec, current, desired, at).Replicas
			if got < *spec.MinReplicas || got > spec.MaxReplicas {
				t.Fatalf("%d is not within %d and %d", got, *spec.MinReplicas, spec.MaxReplicas)
			}
			rule := spec.Behavior.ScaleUp
			if got < current {
				rule = spec.Behavior.ScaleDown
			}
			if got != current {
				if *rule.SelectPolicy == disabled {
					t.Fatalf("from %d to %d in a direction that is disabled", current, got)
				}
				allowed, every := false, true
				for _, p := range rule.Policies {
					start := past[0].n
					for _, s := range past {
						if !s.at.After(at.Add(-time.Duration(p.PeriodSeconds) * time.Second)) {
							start = s.n
						}
					}
					least, most := float64(start-p.Value), float64(start+p.Value)
					if p.Type == autoscalingv2.PercentScalingPolicy {
						least, most = math.Trunc(float64(start)*(1-float64(p.Value)/100)), math.Ceil(float64(start)*(1+float64(p.Value)/100))
					}
					ok := got > current && float64(got) <= most || got < current && float64(got) >= least
					allowed, every = allowed || ok, every && ok
				}
				if !allowed || *rule.SelectPolicy == lowest && !every {
					t.Fatalf("from %d to %d at %s is faster than %+v allow", current, got, at, rule.Policies)
				}
				h.Scaled(spec, current, got, at)
				current = got
				past = append(past, state{at, got})
			}
		}
	})
}
