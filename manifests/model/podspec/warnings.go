package podspec

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// oldLabels are labels of nodes that have another name now.
var oldLabels = map[string]string{
	"beta.kubernetes.io/arch":                       `deprecated since v1.14; use "kubernetes.io/arch" instead`,
	"beta.kubernetes.io/os":                         `deprecated since v1.14; use "kubernetes.io/os" instead`,
	"failure-domain.beta.kubernetes.io/region":      `deprecated since v1.17; use "topology.kubernetes.io/region" instead`,
	"failure-domain.beta.kubernetes.io/zone":        `deprecated since v1.17; use "topology.kubernetes.io/zone" instead`,
	"beta.kubernetes.io/instance-type":              `deprecated since v1.17; use "node.kubernetes.io/instance-type" instead`,
	"app.kubernetes.io/created-by":                  "deprecated since v1.9",
	"scheduler.alpha.kubernetes.io/preferAvoidPods": "deprecated since v1.22; use Taints and Tolerations instead",
	"node-role.kubernetes.io/master":                `use "node-role.kubernetes.io/control-plane" instead`,
}

// oldAnnotations are annotations that have become fields.
var oldAnnotations = [...]struct{ key, told string }{
	{"scheduler.alpha.kubernetes.io/critical-pod", `non-functional in v1.16+; use the "priorityClassName" field instead`},
	{"security.alpha.kubernetes.io/sysctls", `non-functional in v1.11+; use the "sysctls" field instead`},
	{"security.alpha.kubernetes.io/unsafe-sysctls", `non-functional in v1.11+; use the "sysctls" field instead`},
}

// warnings are what is told about a pod or a template, which is valid.
type warnings struct {
	told []string
	meta *metav1.ObjectMeta
	spec *corev1.PodSpec
	// template is the path of a template, nil for a pod.
	template *field.Path
}

// Warnings tells what is accepted of a pod or a template, and is hardly what was meant.
// template is the path of the template, nil for a pod.
func Warnings(meta *metav1.ObjectMeta, spec *corev1.PodSpec, template *field.Path) []string {
	w := &warnings{meta: meta, spec: spec, template: template}
	path := template.Child("spec")
	w.placement(path)
	w.annotations(template.Child("metadata", "annotations"))
	w.volumes()
	w.twice(path)
	w.bytes(path.Child("overhead"), spec.Overhead)
	w.profiles(template.Child("metadata", "annotations"))
	w.containers(func(c *corev1.Container, path *field.Path) {
		w.bytes(path.Child("resources", "limits"), c.Resources.Limits)
		w.bytes(path.Child("resources", "requests"), c.Resources.Requests)
		w.variables(c, path.Child("env"))
	})
	w.ports()
	if grace := spec.TerminationGracePeriodSeconds; grace != nil && *grace < 0 {
		w.add(path.Child("terminationGracePeriodSeconds"), "must be >= 0; negative values are invalid and will be treated as 1")
	}
	w.podAffinity(path.Child("affinity"))
	w.addresses(path)
	return w.told
}

func (w *warnings) add(path *field.Path, format string, args ...any) {
	w.told = append(w.told, path.String()+": "+fmt.Sprintf(format, args...))
}

// containers calls look for the containers of all sorts.
func (w *warnings) containers(look func(c *corev1.Container, path *field.Path)) {
	path := w.template.Child("spec")
	for i := range w.spec.InitContainers {
		look(&w.spec.InitContainers[i], path.Child("initContainers").Index(i))
	}
	for i := range w.spec.Containers {
		look(&w.spec.Containers[i], path.Child("containers").Index(i))
	}
	for i := range w.spec.EphemeralContainers {
		look((*corev1.Container)(&w.spec.EphemeralContainers[i].EphemeralContainerCommon), path.Child("ephemeralContainers").Index(i))
	}
}

func (w *warnings) placement(path *field.Path) {
	for _, label := range slices.Sorted(maps.Keys(w.spec.NodeSelector)) {
		if told, ok := oldLabels[label]; ok {
			w.add(path.Child("nodeSelector").Key(label), "%s", told)
		}
	}
	if a := w.spec.Affinity; a != nil && a.NodeAffinity != nil {
		at := path.Child("affinity", "nodeAffinity")
		if required := a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution; required != nil {
			for i, term := range required.NodeSelectorTerms {
				w.nodeTerm(term, false, at.Child("requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms").Index(i))
			}
		}
		for i, term := range a.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution {
			w.nodeTerm(term.Preference, true, at.Child("preferredDuringSchedulingIgnoredDuringExecution").Index(i).Child("preference"))
		}
	}
	for i, c := range w.spec.TopologySpreadConstraints {
		at := path.Child("topologySpreadConstraints").Index(i)
		if told, ok := oldLabels[c.TopologyKey]; ok {
			w.add(at.Child("topologyKey"), "%s is %s", c.TopologyKey, told)
		}
		w.selector(c.LabelSelector, at.Child("labelSelector"))
	}
}

// OldLabels tells of the labels of nodes in a selector that others have replaced.
func OldLabels(selector map[string]string, path *field.Path) []string {
	var told []string
	for _, label := range slices.Sorted(maps.Keys(selector)) {
		if instead, ok := oldLabels[label]; ok {
			told = append(told, path.String()+": "+instead)
		}
	}
	return told
}

// TermWarnings tells of labels of nodes that others have replaced.
func TermWarnings(terms []corev1.NodeSelectorTerm, path *field.Path) []string {
	var w warnings
	for i, term := range terms {
		w.nodeTerm(term, false, path.Index(i))
	}
	return w.told
}

// nodeTerm looks at a term of node affinity. Values of one that is required are valid.
func (w *warnings) nodeTerm(term corev1.NodeSelectorTerm, preferred bool, path *field.Path) {
	for i, e := range term.MatchExpressions {
		at := path.Child("matchExpressions").Index(i)
		if told, ok := oldLabels[e.Key]; ok {
			w.add(at.Child("key"), "%s is %s", e.Key, told)
		}
		if !preferred {
			continue
		}
		for j, value := range e.Values {
			for _, told := range validation.IsValidLabelValue(value) {
				w.add(at.Child("values").Index(j), "%s is invalid, %s", value, told)
			}
		}
	}
}

func (w *warnings) selector(s *metav1.LabelSelector, path *field.Path) {
	if s == nil {
		w.add(path, "a null labelSelector results in matching no pod")
	}
}

func (w *warnings) podAffinity(path *field.Path) {
	terms := func(required []corev1.PodAffinityTerm, preferred []corev1.WeightedPodAffinityTerm, path *field.Path) {
		for i, term := range required {
			w.selector(term.LabelSelector, path.Child("requiredDuringSchedulingIgnoredDuringExecution").Index(i).Child("labelSelector"))
		}
		for i, term := range preferred {
			w.selector(term.PodAffinityTerm.LabelSelector, path.Child("preferredDuringSchedulingIgnoredDuringExecution").Index(i).Child("podAffinityTerm", "labelSelector"))
		}
	}
	a := w.spec.Affinity
	if a == nil {
		return
	}
	if p := a.PodAffinity; p != nil {
		terms(p.RequiredDuringSchedulingIgnoredDuringExecution, p.PreferredDuringSchedulingIgnoredDuringExecution, path.Child("podAffinity"))
	}
	if p := a.PodAntiAffinity; p != nil {
		terms(p.RequiredDuringSchedulingIgnoredDuringExecution, p.PreferredDuringSchedulingIgnoredDuringExecution, path.Child("podAntiAffinity"))
	}
}

func (w *warnings) annotations(path *field.Path) {
	for _, a := range oldAnnotations {
		if _, ok := w.meta.Annotations[a.key]; ok {
			w.add(path.Key(a.key), "%s", a.told)
		}
	}
}

// profiles looks at annotations in the place of which there are fields of the security
// context.
func (w *warnings) profiles(path *field.Path) {
	const instead = `non-functional in v1.27+; use the "seccompProfile" field instead`
	var armor *corev1.AppArmorProfile
	var seccomp bool
	if c := w.spec.SecurityContext; c != nil {
		armor, seccomp = c.AppArmorProfile, c.SeccompProfile != nil
	}
	if _, ok := w.meta.Annotations[corev1.SeccompPodAnnotationKey]; ok && !seccomp {
		w.add(path.Key(corev1.SeccompPodAnnotationKey), instead)
	}
	w.containers(func(c *corev1.Container, _ *field.Path) {
		key := corev1.SeccompContainerAnnotationKeyPrefix + c.Name
		if _, ok := w.meta.Annotations[key]; ok && (c.SecurityContext == nil || c.SecurityContext.SeccompProfile == nil) {
			w.add(path.Key(key), instead)
		}
		key = corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix + c.Name
		value, ok := w.meta.Annotations[key]
		if !ok || w.template == nil || c.SecurityContext != nil && c.SecurityContext.AppArmorProfile != nil {
			return
		}
		if armor == nil || !equality.Semantic.DeepEqual(armor, formerProfile(value)) {
			w.add(path.Key(key), `deprecated since v1.30; use the "appArmorProfile" field instead`)
		}
	})
}

// formerProfile is the field that an annotation stood for.
func formerProfile(value string) *corev1.AppArmorProfile {
	name, local := strings.CutPrefix(value, corev1.DeprecatedAppArmorBetaProfileNamePrefix)
	switch {
	case value == corev1.DeprecatedAppArmorBetaProfileNameUnconfined:
		return &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeUnconfined}
	case value == corev1.DeprecatedAppArmorBetaProfileRuntimeDefault:
		return &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeRuntimeDefault}
	case local && name != "":
		return &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeLocalhost, LocalhostProfile: &name}
	}
	return nil
}

// twice looks at what is there more than once, of which only one has an effect.
func (w *warnings) twice(path *field.Path) {
	known := map[string]bool{}
	for i, alias := range w.spec.HostAliases {
		if known[alias.IP] {
			w.add(path.Child("hostAliases").Index(i).Child("ip"), "duplicate ip %q", alias.IP)
		}
		known[alias.IP] = true
	}
	clear(known)
	for i, secret := range w.spec.ImagePullSecrets {
		if known[secret.Name] {
			w.add(path.Child("imagePullSecrets").Index(i).Child("name"), "duplicate name %q", secret.Name)
		}
		known[secret.Name] = true
	}
	for i, secret := range w.spec.ImagePullSecrets {
		if secret.Name == "" {
			w.add(path.Child("imagePullSecrets").Index(i).Child("name"), "invalid empty name %q", secret.Name)
		}
	}
}

// bytes looks for parts of bytes.
func (w *warnings) bytes(path *field.Path, amounts corev1.ResourceList) {
	for _, name := range []corev1.ResourceName{corev1.ResourceMemory, corev1.ResourceEphemeralStorage} {
		if amount, ok := amounts[name]; ok && fractional(amount) {
			w.add(path.Key(string(name)), "fractional byte value %q is invalid, must be an integer", amount.String())
		}
	}
}

func fractional(q resource.Quantity) bool { return q.MilliValue()%1000 != 0 }

// variables looks for those that hide an earlier one of the same name.
func (w *warnings) variables(c *corev1.Container, path *field.Path) {
	known := map[string]bool{}
	for i, v := range c.Env {
		former := "$(" + v.Name + ")"
		if known[v.Name] && (v.ValueFrom != nil || v.Value == former || !strings.Contains(v.Value, former)) {
			w.add(path.Index(i), "hides previous definition of %q, which may be dropped when using apply", v.Name)
		}
		known[v.Name] = true
	}
}

func (w *warnings) ports() {
	type place struct {
		at   *field.Path
		port corev1.ContainerPort
	}
	known := map[string][]place{}
	w.containers(func(c *corev1.Container, path *field.Path) {
		for i, port := range c.Ports {
			at := path.Child("ports").Index(i)
			if port.HostIP != "" && port.HostPort == 0 {
				w.add(at, "hostIP set without hostPort: %+v", port)
			}
			key := fmt.Sprintf("%d/%s", port.ContainerPort, port.Protocol)
			for _, other := range known[key] {
				switch {
				case port.HostIP == other.port.HostIP && port.HostPort == other.port.HostPort:
					w.add(at, "duplicate port definition with %s", other.at)
				case port.HostPort == 0 || other.port.HostPort == 0:
					w.add(at, "overlapping port definition with %s", other.at)
				case port.HostPort == other.port.HostPort && (port.HostIP == "") != (other.port.HostIP == ""):
					w.add(at, "dangerously ambiguous port definition with %s", other.at)
				}
			}
			known[key] = append(known[key], place{at, port})
		}
	})
	names := map[string]*field.Path{}
	w.containers(func(c *corev1.Container, path *field.Path) {
		for i, port := range c.Ports {
			at := path.Child("ports").Index(i)
			if other, ok := names[port.Name]; ok && port.Name != "" {
				w.add(at, "duplicate port name %q with %s, services and probes that select ports by name will use %s", port.Name, other, other)
				continue
			}
			names[port.Name] = at
		}
	})
}

func (w *warnings) addresses(path *field.Path) {
	if c := w.spec.DNSConfig; c != nil {
		for i, address := range c.Nameservers {
			w.told = append(w.told, validation.GetWarningsForIP(path.Child("dnsConfig", "nameservers").Index(i), address)...)
		}
	}
	for i, alias := range w.spec.HostAliases {
		w.told = append(w.told, validation.GetWarningsForIP(path.Child("hostAliases").Index(i).Child("ip"), alias.IP)...)
	}
}

// file is one of a volume, and where it comes from.
type file struct{ path, source string }

// String tells it to people.
func (f file) String() string {
	if f.source == "" {
		return fmt.Sprintf("%q", f.path)
	}
	return fmt.Sprintf("%q (%s)", f.path, f.source)
}

// volumes looks for files of a volume that lie upon each other.
func (w *warnings) volumes() {
	for _, v := range w.spec.Volumes {
		switch {
		case v.ConfigMap != nil:
			w.overlaps(v.Name, fmt.Sprintf("ConfigMap %q", v.ConfigMap.Name), items("", v.ConfigMap.Items))
		case v.Secret != nil:
			w.overlaps(v.Name, fmt.Sprintf("Secret %q", v.Secret.SecretName), items("", v.Secret.Items))
		case v.DownwardAPI != nil:
			w.overlaps(v.Name, "DownwardAPI", fieldsOf("", v.DownwardAPI.Items))
		case v.Projected != nil:
			var all []file
			for _, s := range v.Projected.Sources {
				switch {
				case s == (corev1.VolumeProjection{}):
					w.told = append(w.told, fmt.Sprintf("volume %q (Projected) has no sources provided", v.Name))
				case s.ConfigMap != nil:
					all = append(all, items(fmt.Sprintf("ConfigMap %q", s.ConfigMap.Name), s.ConfigMap.Items)...)
				case s.Secret != nil:
					all = append(all, items(fmt.Sprintf("Secret %q", s.Secret.Name), s.Secret.Items)...)
				case s.DownwardAPI != nil:
					all = append(all, fieldsOf("DownwardAPI", s.DownwardAPI.Items)...)
				case s.ServiceAccountToken != nil:
					all = append(all, file{s.ServiceAccountToken.Path, "ServiceAccountToken"})
				}
			}
			w.overlaps(v.Name, "Projected", all)
		}
	}
}

func items(source string, keys []corev1.KeyToPath) []file {
	files := make([]file, len(keys))
	for i, k := range keys {
		files[i] = file{k.Path, source}
	}
	return files
}

func fieldsOf(source string, keys []corev1.DownwardAPIVolumeFile) []file {
	files := make([]file, len(keys))
	for i, k := range keys {
		files[i] = file{k.Path, source}
	}
	return files
}

// overlapsTold bounds what is told of one volume, of which there may be a square.
const overlapsTold = 20

func (w *warnings) overlaps(volume, what string, files []file) {
	told := 0
	for i := range files {
		files[i].path = strings.TrimRight(files[i].path, "/")
		for _, other := range files[:i] {
			within, around := strings.HasPrefix(files[i].path+"/", other.path+"/"), strings.HasPrefix(other.path+"/", files[i].path+"/")
			if files[i].path == "" || other.path == "" || !within && !around {
				continue
			}
			if told++; told > overlapsTold {
				return
			}
			w.told = append(w.told, fmt.Sprintf("volume %q (%s): overlapping paths: %s with %s", volume, what, files[i], other))
		}
	}
}

// NameWarnings tells if pods cannot be named after a workload without surprises.
func NameWarnings(name string) []string {
	faults := validation.IsDNS1123Label(name)
	if len(faults) == 0 {
		return nil
	}
	return []string{fmt.Sprintf("metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: %v", faults)}
}
