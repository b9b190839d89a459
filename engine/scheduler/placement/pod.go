package placement

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	scheduling "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"

	"headway.dev/engine/scheduler/placement/match"
	"headway.dev/engine/scheduler/placement/profile"
	"headway.dev/engine/scheduler/volumes"
)

type hostPort struct {
	ip       string
	protocol corev1.Protocol
	port     int32
}

// podInfo is what counts of a pod, worked out once.
type podInfo struct {
	pod           *corev1.Pod
	profile       *profile.Profile
	node          *nodeInfo // on which it is counted
	exact, scored resources
	bestEffort    bool // asks for neither CPU nor memory
	ports         []hostPort
	owner         types.UID
	priority      int32
	leaving       bool      // it has been asked to stop
	since         time.Time // it runs
	images        []string
	claims        []string // names of PersistentVolumeClaims

	// template is equal for pods of a profile that the static filters and scores treat alike.
	template  string
	names     []string // of the only nodes that its affinity allows; nil if any
	one       bool     // names is set, and can be empty
	affinity  nodeaffinity.RequiredNodeAffinity
	narrowed  bool // it has a selector or an affinity
	preferred *nodeaffinity.PreferredSchedulingTerms

	attract, repel []*match.Term // required affinity and anti-affinity
	drawn, shy     []*match.Term // preferred ones
	hard, soft     []*match.Constraint

	carried []*carrier // while it is counted
}

func newPodInfo(pod *corev1.Pod, s *Snapshot) *podInfo {
	p := &podInfo{
		pod: pod, profile: s.Profiles.Of(pod.Spec.SchedulerName), priority: scheduling.PodPriority(pod), leaving: pod.DeletionTimestamp != nil, since: started(pod),
		affinity: nodeaffinity.GetRequiredNodeAffinity(pod),
	}
	p.exact, p.scored = requests(pod)
	p.bestEffort = p.exact.milliCPU == 0 && p.exact.memory == 0
	if ref := metav1.GetControllerOfNoCopy(pod); ref != nil {
		p.owner = ref.UID
	}
	for i := range pod.Spec.Containers {
		p.addPorts(&pod.Spec.Containers[i])
		p.images = append(p.images, imageName(pod.Spec.Containers[i].Image))
	}
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		p.images = append(p.images, imageName(c.Image))
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			p.addPorts(c)
		}
	}
	p.claims = volumes.ClaimsOf(pod)
	p.readAffinity()
	p.hard, p.soft = match.Spread(pod, p.owner != "", p.profile.Spread)
	if !p.profile.Has(profile.PodTopologySpread) {
		p.hard = nil
	}
	return p
}

func (p *podInfo) readAffinity() {
	spec := &p.pod.Spec
	p.narrowed = len(spec.NodeSelector) > 0
	var of struct {
		Name      string
		Selector  map[string]string
		Required  *corev1.NodeSelector
		Preferred []corev1.PreferredSchedulingTerm
		Tolerate  []corev1.Toleration
	}
	of.Name, of.Selector, of.Tolerate = spec.NodeName, spec.NodeSelector, spec.Tolerations
	if a := spec.Affinity; a != nil {
		if a.NodeAffinity != nil {
			of.Required, of.Preferred = a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution, a.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution
			// A term that cannot be read only prefers nothing.
			p.preferred, _ = nodeaffinity.NewPreferredSchedulingTerms(of.Preferred)
			if of.Required != nil {
				p.narrowed = true
				if p.profile.Has(profile.NodeAffinity) {
					p.names, p.one = namedNodes(of.Required)
				}
			}
			if len(of.Preferred) == 0 {
				p.preferred = nil
			}
		}
		if a.PodAffinity != nil {
			p.attract, p.drawn = match.Terms(p.pod, a.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution, a.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution)
		}
		if a.PodAntiAffinity != nil {
			p.repel, p.shy = match.Terms(p.pod, a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution, a.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution)
		}
	}
	if !p.profile.Standard() {
		p.template = p.profile.Name
	}
	if of.Name == "" && len(of.Selector) == 0 && of.Required == nil && len(of.Preferred) == 0 && len(of.Tolerate) == 0 || p.one {
		return
	}
	// Maps are encoded in the order of their keys.
	text, err := json.Marshal(&of)
	if err != nil {
		text = []byte(p.pod.UID)
	}
	p.template += string(text)
}

// namedNodes returns the nodes that a selector names, if each of its terms
// names some.
func namedNodes(selector *corev1.NodeSelector) (names []string, one bool) {
	for i := range selector.NodeSelectorTerms {
		var of []string
		named := false
		for _, f := range selector.NodeSelectorTerms[i].MatchFields {
			if f.Key != metav1.ObjectNameField || f.Operator != corev1.NodeSelectorOpIn {
				continue
			}
			if named {
				of = slices.DeleteFunc(of, func(name string) bool { return !slices.Contains(f.Values, name) })
			} else {
				of, named = slices.Clone(f.Values), true
			}
		}
		if !named {
			return nil, false
		}
		names = append(names, of...)
	}
	slices.Sort(names)
	return slices.Compact(names), len(selector.NodeSelectorTerms) > 0
}

func (p *podInfo) addPorts(c *corev1.Container) {
	for _, port := range c.Ports {
		if port.HostPort <= 0 {
			continue
		}
		h := hostPort{ip: port.HostIP, protocol: port.Protocol, port: port.HostPort}
		if h.ip == "" {
			h.ip = anyAddress
		}
		if h.protocol == "" {
			h.protocol = corev1.ProtocolTCP
		}
		p.ports = append(p.ports, h)
	}
}

// imageName is the name under which nodes list an image.
func imageName(name string) string {
	if strings.LastIndex(name, ":") <= strings.LastIndex(name, "/") {
		return name + ":latest"
	}
	return name
}

// levels count pods by their priority, the lowest first.
type levels []level

type level struct {
	priority int32
	pods     int
}

func (l *levels) add(priority int32, n int) {
	i, found := slices.BinarySearchFunc(*l, priority, func(x level, p int32) int { return cmp.Compare(x.priority, p) })
	if !found {
		*l = slices.Insert(*l, i, level{priority: priority})
	}
	if (*l)[i].pods += n; (*l)[i].pods == 0 {
		*l = slices.Delete(*l, i, i+1)
	}
}

// below reports whether some have a lower priority.
func (l levels) below(priority int32) bool { return len(l) > 0 && l[0].priority < priority }
