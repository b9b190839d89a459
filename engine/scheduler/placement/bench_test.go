package placement_test

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/engine/scheduler/placement"
)

// perfNodes are nodes as in Kubernetes' scheduler_perf.
func perfNodes(n int) *placement.Snapshot {
	s := placement.NewSnapshot()
	for i := range n {
		s.SetNode(&corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("node-%05d", i), Labels: map[string]string{
				corev1.LabelHostname: fmt.Sprintf("node-%05d", i), corev1.LabelTopologyZone: fmt.Sprintf("zone-%d", i%3),
			}},
			Status: corev1.NodeStatus{Allocatable: corev1.ResourceList{"cpu": resource.MustParse("4"), "memory": resource.MustParse("32Gi"), "pods": resource.MustParse("110")}},
		})
	}
	return s
}

func perfPod(i int, edit ...func(*corev1.Pod)) *corev1.Pod {
	return pod(fmt.Sprintf("pod-%06d", i), append([]func(*corev1.Pod){requests("100m", "500Mi"), func(p *corev1.Pod) { p.Labels = map[string]string{"color": "green"} }}, edit...)...)
}

// BenchmarkScheduling places pods in the shapes of Kubernetes' scheduler_perf, on
// nodes on which some are already; each operation is a pod.
func BenchmarkScheduling(b *testing.B) {
	term := func(key string) corev1.PodAffinityTerm {
		return corev1.PodAffinityTerm{LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"color": "green"}}, TopologyKey: key, Namespaces: []string{"default"}}
	}
	anti := func(p *corev1.Pod) {
		p.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{term(corev1.LabelHostname)}}}
	}
	affine := func(p *corev1.Pod) {
		p.Spec.Affinity = &corev1.Affinity{PodAffinity: &corev1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{term(corev1.LabelTopologyZone)}}}
	}
	drawn := func(p *corev1.Pod) {
		p.Spec.Affinity = &corev1.Affinity{PodAffinity: &corev1.PodAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []corev1.WeightedPodAffinityTerm{{Weight: 1, PodAffinityTerm: term(corev1.LabelHostname)}}}}
	}
	spread := func(p *corev1.Pod) {
		p.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{MaxSkew: 5, TopologyKey: corev1.LabelTopologyZone, WhenUnsatisfiable: corev1.DoNotSchedule, LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"color": "green"}}}}
	}
	soft := func(p *corev1.Pod) {
		spread(p)
		p.Spec.TopologySpreadConstraints[0].WhenUnsatisfiable = corev1.ScheduleAnyway
	}
	owned := func(p *corev1.Pod) {
		p.OwnerReferences = []metav1.OwnerReference{{UID: "rs", Controller: new(true)}}
	}
	for _, shape := range []struct {
		name string
		most int // pods that fit on a node; 0 for many
		edit func(*corev1.Pod)
	}{
		{"Basic", 0, func(*corev1.Pod) {}},
		{"Owned", 0, owned},
		{"NodeAffinity", 0, required(corev1.LabelTopologyZone, "zone-0", "zone-1")},
		{"PodAntiAffinity", 1, anti},
		{"PodAffinity", 0, affine},
		{"PreferredPodAffinity", 0, drawn},
		{"TopologySpreading", 0, spread},
		{"PreferredTopologySpreading", 0, soft},
	} {
		for _, nodes := range []int{1000, 2500, 5000} {
			b.Run(fmt.Sprintf("%s/%d", shape.name, nodes), func(b *testing.B) {
				s := perfNodes(nodes)
				room := nodes / 2
				var there []*corev1.Pod
				next := 0
				for b.Loop() {
					if len(there) >= room {
						b.StopTimer()
						for _, p := range there {
							s.RemovePod(p.UID)
						}
						there = there[:0]
						b.StartTimer()
					}
					p := perfPod(next, shape.edit)
					next++
					name, failure := placement.Pick(p, s, 0)
					if failure != nil {
						b.Fatal(failure.Message())
					}
					s.Assume(p, name)
					there = append(there, p)
				}
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "pods/s")
			})
		}
	}
}

// BenchmarkPreemption has each pod replace less important ones, of which every node
// is full.
func BenchmarkPreemption(b *testing.B) {
	for _, nodes := range []int{1000, 2500, 5000} {
		b.Run(fmt.Sprint(nodes), func(b *testing.B) {
			s := perfNodes(nodes)
			for i := range 4 * nodes {
				s.SetPod(perfPod(i, requests("900m", "500Mi"), on(fmt.Sprintf("node-%05d", i%nodes))))
			}
			next := 4 * nodes
			for b.Loop() {
				p := perfPod(next, requests("3", "500Mi"), func(p *corev1.Pod) { p.Spec.Priority = new(int32(10)) })
				next++
				_, failure := placement.Pick(p, s, 0)
				if failure == nil {
					b.Fatal("it fits")
				}
				found := placement.Preempt(p, s, failure, nil, 0)
				if found == nil {
					b.Fatal(failure.Message())
				}
				for _, v := range found.Victims {
					s.RemovePod(v.UID)
				}
				if _, failure := placement.Pick(p, s, 0); failure != nil {
					b.Fatal(failure.Message())
				}
				b.StopTimer()
				for _, v := range found.Victims {
					s.SetPod(v)
				}
				b.StartTimer()
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "pods/s")
		})
	}
}

// BenchmarkPreemptionBurst has 500 pods one after the other keep a node of 5,000,
// from which others take their time to leave; each operation is a pod.
func BenchmarkPreemptionBurst(b *testing.B) {
	const nodes, burst = 5000, 500
	var s *placement.Snapshot
	for i := 0; b.Loop(); i++ {
		if i%burst == 0 {
			b.StopTimer()
			s = perfNodes(nodes)
			for i := range 4 * nodes {
				s.SetPod(perfPod(i, requests("900m", "500Mi"), on(fmt.Sprintf("node-%05d", i%nodes))))
			}
			b.StartTimer()
		}
		p := perfPod(4*nodes+i, requests("3", "500Mi"), prioritised(10))
		_, failure := placement.Pick(p, s, 0)
		if failure == nil {
			b.Fatal("it fits")
		}
		found := placement.Preempt(p, s, failure, nil, 0)
		if found == nil {
			b.Fatal(failure.Message())
		}
		s.Nominate(p, found.Node)
		for _, v := range found.Victims {
			v = v.DeepCopy()
			v.DeletionTimestamp = new(metav1.Now())
			s.SetPod(v)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "pods/s")
}

// BenchmarkChurn places pods while nodes come and go.
func BenchmarkChurn(b *testing.B) {
	for _, nodes := range []int{1000, 2500, 5000} {
		b.Run(fmt.Sprint(nodes), func(b *testing.B) {
			s := perfNodes(nodes)
			i := 0
			for b.Loop() {
				if i%100 == 0 {
					n := node(fmt.Sprintf("churn-%d", i))
					n.Status.Allocatable[corev1.ResourceCPU] = resource.MustParse("0")
					s.SetNode(n)
					s.RemoveNode(fmt.Sprintf("churn-%d", i-100))
				}
				p := perfPod(i)
				name, failure := placement.Pick(p, s, 0)
				if failure != nil {
					b.Fatal(failure.Message())
				}
				s.Assume(p, name)
				if i%2 == 1 {
					s.RemovePod(p.UID)
				}
				i++
				if i%(10*nodes) == 0 {
					b.StopTimer()
					s = perfNodes(nodes)
					b.StartTimer()
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "pods/s")
		})
	}
}

// BenchmarkMixedChurn is scheduler_perf's: pods are placed and deleted while a node and a
// pod that is more important, and larger than any node, come and go all the time. Each
// operation is a pod that gets a node; others wake the one that waits as the scheduler does.
func BenchmarkMixedChurn(b *testing.B) {
	for _, nodes := range []int{1000, 2500, 5000} {
		b.Run(fmt.Sprint(nodes), func(b *testing.B) {
			s, room := perfNodes(nodes), 2*nodes
			there := make([]*corev1.Pod, 0, room)
			placed := func(p *corev1.Pod) {
				name, failure := placement.Pick(p, s, 0)
				if failure != nil {
					b.Fatal(failure.Message())
				}
				s.Assume(p, name)
			}
			for i := range room {
				there = append(there, perfPod(i))
				placed(there[i])
			}
			var large *corev1.Pod
			for i := 0; b.Loop(); i++ {
				if i%10 == 0 {
					come := node(fmt.Sprintf("churn-%d", i))
					come.Status.Allocatable[corev1.ResourceCPU] = resource.MustParse("0")
					s.SetNode(come)
					s.RemoveNode(fmt.Sprintf("churn-%d", i-10))
					large = pod(fmt.Sprintf("large-%d", i), requests("9", "500Mi"), prioritised(10))
					_, failure := placement.Pick(large, s, 0)
					if failure == nil || placement.Preempt(large, s, failure, nil, 0) != nil || failure.Message() == "" {
						b.Fatal("the large pod fits")
					}
				}
				gone := &there[i%room]
				on := s.On((*gone).UID)
				s.RemovePod((*gone).UID)
				if placement.Fits(large, s, on) {
					b.Fatal("the large pod fits")
				}
				*gone = perfPod(room + i)
				placed(*gone)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "pods/s")
		})
	}
}

// BenchmarkRefused is a pod that fits nowhere.
func BenchmarkRefused(b *testing.B) {
	s := perfNodes(5000)
	p := perfPod(0, requests("100", "1Gi"))
	for b.Loop() {
		if _, failure := placement.Pick(p, s, 0); failure == nil || failure.Message() == "" {
			b.Fatal("it fits")
		}
	}
}
