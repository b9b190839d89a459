// Package podautoscaler keeps the scale of what HorizontalPodAutoscalers name at what
// their metrics ask for.
//
//	metrics, pods ─▶ Calculator: a number for each metric ─▶ the highest
//	─▶ History.Limit: stabilised, no faster than the behavior allows, within the bounds
//	─▶ spec.replicas of the target, HorizontalPodAutoscaler.status
//
// [Calculator] and [History] are the pure core, which takes the clock as an argument.
// [Metrics] is where figures come from; [NewMetrics] asks the metrics APIs for them,
// whoever serves them. A HorizontalPodAutoscaler is looked at every 15 s.
package podautoscaler
