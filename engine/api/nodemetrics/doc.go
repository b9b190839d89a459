// Package nodemetrics serves metrics.k8s.io/v1beta1: what nodes and pods use of CPU
// and memory. It asks the nodes only while somebody asks for it: the first request
// starts the rounds, and some minutes after the last one they end.
//
//	request ─▶ Collector ─▶ a round every 15 s: /stats/summary of each node ─▶ sample
//	two samples of a container ─▶ rate ─▶ NodeMetrics, PodMetrics
//
// [New] makes the [Collector], whose [Collector.Run] asks; [Storage] are the REST
// storages. A hollow node has nothing to ask: its pods use what they request.
package nodemetrics
