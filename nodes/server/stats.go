package server

import (
	"fmt"
	"net/http"
	"sort"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// The parts of the kubelet's summary API that the cgroups give.
type (
	summary struct {
		Node nodeStats  `json:"node"`
		Pods []podStats `json:"pods"`
	}
	nodeStats struct {
		NodeName string `json:"nodeName"`
	}
	podStats struct {
		PodRef     podRef           `json:"podRef"`
		Containers []containerStats `json:"containers"`
	}
	podRef struct {
		Name      string `json:"name"`
		Namespace string `json:"namespace"`
		UID       string `json:"uid"`
	}
	containerStats struct {
		Name   string      `json:"name"`
		CPU    cpuStats    `json:"cpu"`
		Memory memoryStats `json:"memory"`
	}
	cpuStats struct {
		Time                 time.Time `json:"time"`
		UsageCoreNanoSeconds uint64    `json:"usageCoreNanoSeconds"`
	}
	memoryStats struct {
		Time            time.Time `json:"time"`
		UsageBytes      uint64    `json:"usageBytes"`
		WorkingSetBytes uint64    `json:"workingSetBytes"`
	}
)

// collect reads the figures of all running containers.
func (s *Server) collect(r *http.Request) summary {
	out := summary{Node: nodeStats{NodeName: s.node}, Pods: []podStats{}}
	pods := s.pods.List()
	sort.Slice(pods, func(i, j int) bool {
		return pods[i].Namespace+"/"+pods[i].Name < pods[j].Namespace+"/"+pods[j].Name
	})
	for _, p := range pods {
		if p.Status.Phase != corev1.PodRunning {
			continue
		}
		stats, err := s.runtime.Stats(r.Context(), string(p.UID))
		if err != nil {
			continue // it may just have ended
		}
		now := time.Now().UTC()
		one := podStats{PodRef: podRef{p.Name, p.Namespace, string(p.UID)}}
		for _, c := range stats {
			one.Containers = append(one.Containers, containerStats{
				Name: c.Name, CPU: cpuStats{now, c.CPUNanos}, Memory: memoryStats{now, c.MemoryUsageBytes, c.WorkingSetBytes},
			})
		}
		out.Pods = append(out.Pods, one)
	}
	return out
}

func (s *Server) summary(w http.ResponseWriter, r *http.Request) { writeJSON(w, s.collect(r)) }

// metrics gives the figures in the Prometheus text format, under cAdvisor's
// names.
func (s *Server) metrics(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4")
	all := s.collect(r)
	family := func(name, help, kind string, value func(containerStats) string) {
		fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
		for _, p := range all.Pods {
			for _, c := range p.Containers {
				fmt.Fprintf(w, "%s{container=%q,namespace=%q,pod=%q} %s\n", name, c.Name, p.PodRef.Namespace, p.PodRef.Name, value(c))
			}
		}
	}
	family("container_cpu_usage_seconds_total", "Cumulative CPU time consumed in seconds.", "counter", func(c containerStats) string {
		return fmt.Sprintf("%.6f", float64(c.CPU.UsageCoreNanoSeconds)/1e9)
	})
	family("container_memory_working_set_bytes", "Current working set in bytes.", "gauge", func(c containerStats) string {
		return fmt.Sprint(c.Memory.WorkingSetBytes)
	})
}
