package server

import (
	"fmt"
	"io"
	"net/http"
	"sort"
	"time"

	"github.com/prometheus/common/expfmt"
	corev1 "k8s.io/api/core/v1"

	"headway.dev/nodes/machine"
)

// The parts of the kubelet's summary API that the machine and the cgroups give.
type (
	summary struct {
		Node nodeStats  `json:"node"`
		Pods []podStats `json:"pods"`
	}
	nodeStats struct {
		NodeName string       `json:"nodeName"`
		CPU      *cpuStats    `json:"cpu,omitempty"`
		Memory   *memoryStats `json:"memory,omitempty"`
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
		Name      string      `json:"name"`
		StartTime time.Time   `json:"startTime"`
		CPU       cpuStats    `json:"cpu"`
		Memory    memoryStats `json:"memory"`
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

// collect reads the figures of the machine and of all running containers.
func (s *Server) collect(r *http.Request) summary {
	out := summary{Node: nodeStats{NodeName: s.node}, Pods: []podStats{}}
	now := time.Now().UTC()
	if u, err := machine.ReadUsage(); err == nil {
		out.Node.CPU = &cpuStats{now, u.CPUNanos}
		out.Node.Memory = &memoryStats{now, u.MemoryBytes, u.WorkingSetBytes}
	} else {
		s.log.Warn("the machine's usage is not known", "err", err)
	}
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
				Name: c.Name, StartTime: started(&p, c.Name), CPU: cpuStats{now, c.CPUNanos}, Memory: memoryStats{now, c.MemoryUsageBytes, c.WorkingSetBytes},
			})
		}
		out.Pods = append(out.Pods, one)
	}
	return out
}

// started is when a container has started, zero if its status does not say that yet.
func started(p *corev1.Pod, container string) time.Time {
	for _, list := range [][]corev1.ContainerStatus{p.Status.ContainerStatuses, p.Status.InitContainerStatuses, p.Status.EphemeralContainerStatuses} {
		for _, c := range list {
			if c.Name == container && c.State.Running != nil {
				return c.State.Running.StartedAt.Time
			}
		}
	}
	return time.Time{}
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
	if s.more == nil {
		return
	}
	families, err := s.more.Gather()
	if err != nil {
		s.log.Warn("some metrics are missing", "err", err)
	}
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(w, f); err != nil {
			return // the client is gone
		}
	}
}

// resource gives what autoscaling needs, as metrics-server reads it of a kubelet.
func (s *Server) resource(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4")
	all := s.collect(r)
	seconds := func(c cpuStats) string {
		return fmt.Sprintf("%.6f %d", float64(c.UsageCoreNanoSeconds)/1e9, c.Time.UnixMilli())
	}
	bytes := func(m memoryStats) string { return fmt.Sprintf("%d %d", m.WorkingSetBytes, m.Time.UnixMilli()) }
	head := func(name, help, kind string) {
		fmt.Fprintf(w, "# HELP %s [STABLE] %s\n# TYPE %s %s\n", name, help, name, kind)
	}
	containers := func(name, help, kind string, value func(containerStats) string) {
		head(name, help, kind)
		for _, p := range all.Pods {
			for _, c := range p.Containers {
				fmt.Fprintf(w, "%s{container=%q,namespace=%q,pod=%q} %s\n", name, c.Name, p.PodRef.Namespace, p.PodRef.Name, value(c))
			}
		}
	}
	containers("container_cpu_usage_seconds_total", "Cumulative cpu time consumed by the container in core-seconds", "counter", func(c containerStats) string { return seconds(c.CPU) })
	containers("container_memory_working_set_bytes", "Current working set of the container in bytes", "gauge", func(c containerStats) string { return bytes(c.Memory) })
	containers("container_start_time_seconds", "Start time of the container since unix epoch in seconds", "gauge", func(c containerStats) string {
		return fmt.Sprintf("%.3f", float64(c.StartTime.UnixMilli())/1e3)
	})
	failed := 1
	if all.Node.CPU != nil && all.Node.Memory != nil {
		failed = 0
		head("node_cpu_usage_seconds_total", "Cumulative cpu time consumed by the node in core-seconds", "counter")
		fmt.Fprintf(w, "node_cpu_usage_seconds_total %s\n", seconds(*all.Node.CPU))
		head("node_memory_working_set_bytes", "Current working set of the node in bytes", "gauge")
		fmt.Fprintf(w, "node_memory_working_set_bytes %s\n", bytes(*all.Node.Memory))
	}
	pods(w, head, all.Pods, seconds, bytes)
	head("resource_scrape_error", "1 if there was an error while getting container metrics, 0 otherwise", "gauge")
	fmt.Fprintf(w, "resource_scrape_error %d\n", failed)
}

// pods gives the sums of the containers of each pod.
func pods(w io.Writer, head func(name, help, kind string), all []podStats, seconds func(cpuStats) string, bytes func(memoryStats) string) {
	sums := make([]containerStats, len(all))
	for i, p := range all {
		for _, c := range p.Containers {
			sums[i].CPU = cpuStats{c.CPU.Time, sums[i].CPU.UsageCoreNanoSeconds + c.CPU.UsageCoreNanoSeconds}
			sums[i].Memory = memoryStats{c.Memory.Time, sums[i].Memory.UsageBytes + c.Memory.UsageBytes, sums[i].Memory.WorkingSetBytes + c.Memory.WorkingSetBytes}
		}
	}
	family := func(name, help, kind string, value func(containerStats) string) {
		head(name, help, kind)
		for i, p := range all {
			if len(p.Containers) > 0 {
				fmt.Fprintf(w, "%s{namespace=%q,pod=%q} %s\n", name, p.PodRef.Namespace, p.PodRef.Name, value(sums[i]))
			}
		}
	}
	family("pod_cpu_usage_seconds_total", "Cumulative cpu time consumed by the pod in core-seconds", "counter", func(c containerStats) string { return seconds(c.CPU) })
	family("pod_memory_working_set_bytes", "Current working set of the pod in bytes", "gauge", func(c containerStats) string { return bytes(c.Memory) })
}
