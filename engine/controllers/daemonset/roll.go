package daemonset

import (
	corev1 "k8s.io/api/core/v1"
)

// roll deletes old pods as long as no more than unavailable nodes are without an
// available one; the next look gives these nodes new pods. Old pods that are not
// available serve nobody: they go at once.
func (d *decision) roll(unavailable int) {
	var broken, candidates []*corev1.Pod
	missing := 0
	for _, node := range d.rolled() {
		newest, old, ok := d.pair(node)
		switch {
		case !ok || (newest == nil) == (old == nil):
			missing++
		case newest != nil:
			if !d.available(newest) {
				missing++
			}
		case !d.available(old):
			broken = append(broken, old)
			missing++
		default:
			candidates = append(candidates, old)
		}
	}
	more := min(max(0, unavailable-missing), len(candidates))
	d.Delete = append(append(d.Delete, broken...), candidates[:more]...)
}

// surge creates new pods beside the old ones, at most surge at a time, and deletes an old
// one once the new one is available. Where no pod should run any more, an old one that
// is available stays until there are enough elsewhere.
func (d *decision) surge(surge int) {
	var allowed, candidates []string
	var leaving []*corev1.Pod
	surging, available := 0, 0
	for _, node := range d.rolled() {
		newest, old, ok := d.pair(node)
		if !ok {
			surging++
			continue
		}
		if serving := old; serving != nil || newest != nil {
			if serving == nil {
				serving = newest
			}
			if d.available(serving) {
				available++
			}
		}
		run := d.Nodes[node].Run
		switch {
		case old == nil:
		case newest != nil:
			if d.available(newest) {
				d.Delete = append(d.Delete, old)
			} else {
				surging++
			}
		case !d.available(old) && run:
			allowed = append(allowed, node)
		case !d.available(old):
			d.Delete = append(d.Delete, old)
		case run:
			candidates = append(candidates, node)
		default:
			leaving = append(leaving, old)
		}
	}
	d.Delete = append(d.Delete, leaving[:min(max(0, available-d.wanted()), len(leaving))]...)
	more := min(max(0, surge-surging), len(candidates))
	d.Create = append(append(d.Create, allowed...), candidates[:more]...)
}
