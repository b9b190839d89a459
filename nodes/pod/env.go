package pod

import (
	"fmt"
	"net"
	"sort"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/kubectl/pkg/util/fieldpath"
	kubectlresource "k8s.io/kubectl/pkg/util/resource"
)

// Facts contains what environment variables and downward API files are made
// from.
type Facts struct {
	PodIPs, HostIPs []string
	// Allocatable stands in for limits a container does not set.
	Allocatable corev1.ResourceList
	// Services are the Services that existed when the container was created.
	Services []Service
	// ConfigMap and Secret look an object of the pod's namespace up. Their
	// errors become the message of CreateContainerConfigError.
	ConfigMap func(name string) (*corev1.ConfigMap, error)
	Secret    func(name string) (*corev1.Secret, error)
	// Volume returns the volume that a claim of the pod's namespace is bound to.
	Volume func(claim string) (*corev1.PersistentVolume, error)
	// Token returns a token of the pod's service account for an audience
	// (empty: the API server), valid for some time.
	Token func(audience string, seconds int64) (string, error)
}

// Service is what service environment variables need of a Service.
type Service struct {
	Namespace, Name string
	ClusterIP       string
	Ports           []ServicePort
}

// ServicePort is one port of a Service.
type ServicePort struct {
	Name, Protocol string
	Port           int32
}

// environment is an ordered set of variables: the first place, the last value.
type environment struct {
	names  []string
	values map[string]string
}

func (e *environment) set(name, value string) {
	if _, ok := e.values[name]; !ok {
		e.names = append(e.names, name)
	}
	e.values[name] = value
}

func (e *environment) lookup(name string) (string, bool) {
	v, ok := e.values[name]
	return v, ok
}

// Environment builds a container's environment: envFrom, then env with the
// references expanded, then the variables of the services the namespace sees.
func Environment(p *corev1.Pod, c *corev1.Container, facts Facts) ([]string, error) {
	services := servicesEnv(p, facts.Services)
	env := &environment{values: map[string]string{}}
	lookup := func(name string) (string, bool) {
		if v, ok := env.lookup(name); ok {
			return v, true
		}
		v, ok := services[name]
		return v, ok
	}
	for _, from := range c.EnvFrom {
		if err := envFrom(env, from, facts); err != nil {
			return nil, err
		}
	}
	for _, e := range c.Env {
		value, ok, err := envValue(p, c, e, facts, lookup)
		if err != nil {
			return nil, err
		}
		if ok {
			env.set(e.Name, value)
		}
	}
	list := make([]string, 0, len(env.names)+len(services))
	for _, name := range env.names {
		list = append(list, name+"="+env.values[name])
		delete(services, name)
	}
	rest := make([]string, 0, len(services))
	for name, value := range services {
		rest = append(rest, name+"="+value)
	}
	sort.Strings(rest)
	return append(list, rest...), nil
}

func envFrom(env *environment, from corev1.EnvFromSource, facts Facts) error {
	data := map[string]string{}
	switch {
	case from.ConfigMapRef != nil:
		cm, err := facts.ConfigMap(from.ConfigMapRef.Name)
		if err != nil {
			return unlessOptional(err, from.ConfigMapRef.Optional)
		}
		data = cm.Data
	case from.SecretRef != nil:
		secret, err := facts.Secret(from.SecretRef.Name)
		if err != nil {
			return unlessOptional(err, from.SecretRef.Optional)
		}
		for k, v := range secret.Data {
			data[k] = string(v)
		}
	}
	names := make([]string, 0, len(data))
	for k := range data {
		names = append(names, k)
	}
	sort.Strings(names)
	for _, k := range names {
		// A key that is no variable name is left out, as the kubelet does.
		if name := from.Prefix + k; len(validation.IsRelaxedEnvVarName(name)) == 0 {
			env.set(name, data[k])
		}
	}
	return nil
}

func unlessOptional(err error, optional *bool) error {
	if optional != nil && *optional && apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

func envValue(p *corev1.Pod, c *corev1.Container, e corev1.EnvVar, facts Facts, lookup func(string) (string, bool)) (value string, ok bool, err error) {
	switch from := e.ValueFrom; {
	case from == nil:
		return Expand(e.Value, lookup), true, nil
	case from.FieldRef != nil:
		value, err = FieldValue(p, from.FieldRef.FieldPath, facts)
		return value, err == nil, err
	case from.ResourceFieldRef != nil:
		value, err = ResourceValue(p, c, from.ResourceFieldRef, facts)
		return value, err == nil, err
	case from.ConfigMapKeyRef != nil:
		ref := from.ConfigMapKeyRef
		cm, err := facts.ConfigMap(ref.Name)
		if err != nil {
			return "", false, unlessOptional(err, ref.Optional)
		}
		value, ok := cm.Data[ref.Key]
		if !ok && (ref.Optional == nil || !*ref.Optional) {
			return "", false, fmt.Errorf("couldn't find key %v in ConfigMap %v/%v", ref.Key, p.Namespace, ref.Name)
		}
		return value, ok, nil
	case from.SecretKeyRef != nil:
		ref := from.SecretKeyRef
		secret, err := facts.Secret(ref.Name)
		if err != nil {
			return "", false, unlessOptional(err, ref.Optional)
		}
		value, ok := secret.Data[ref.Key]
		if !ok && (ref.Optional == nil || !*ref.Optional) {
			return "", false, fmt.Errorf("couldn't find key %v in Secret %v/%v", ref.Key, p.Namespace, ref.Name)
		}
		return string(value), ok, nil
	}
	return "", false, nil
}

// FieldValue is the value of a fieldRef.
func FieldValue(p *corev1.Pod, path string, facts Facts) (string, error) {
	first := func(list []string) string {
		if len(list) == 0 {
			return ""
		}
		return list[0]
	}
	switch path {
	case "spec.nodeName":
		return p.Spec.NodeName, nil
	case "spec.serviceAccountName":
		return p.Spec.ServiceAccountName, nil
	case "status.hostIP":
		return first(facts.HostIPs), nil
	case "status.hostIPs":
		return strings.Join(facts.HostIPs, ","), nil
	case "status.podIP":
		return first(facts.PodIPs), nil
	case "status.podIPs":
		return strings.Join(facts.PodIPs, ","), nil
	}
	return fieldpath.ExtractFieldPathAsString(p, path)
}

// ResourceValue returns the value of a resourceFieldRef. c is the container
// that contains it; the reference may name another one.
func ResourceValue(p *corev1.Pod, c *corev1.Container, ref *corev1.ResourceFieldSelector, facts Facts) (string, error) {
	if ref.ContainerName != "" {
		c = Container(p, ref.ContainerName)
	}
	if c == nil {
		return "", fmt.Errorf("container %s not found", ref.ContainerName)
	}
	c = c.DeepCopy()
	c.Resources.Limits = limitsOf(p, c)
	if c.Resources.Limits == nil {
		c.Resources.Limits = corev1.ResourceList{}
	}
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage} {
		quantity, known := facts.Allocatable[name]
		if have := c.Resources.Limits[name]; known && have.IsZero() {
			c.Resources.Limits[name] = quantity
		}
	}
	return kubectlresource.ExtractContainerResourceValue(ref, c)
}

// servicesEnv is the Docker-style environment of services: those of the pod's
// namespace, and always the API's own.
// https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
func servicesEnv(p *corev1.Pod, services []Service) map[string]string {
	links := p.Spec.EnableServiceLinks == nil || *p.Spec.EnableServiceLinks
	env := map[string]string{}
	for _, s := range services {
		api := s.Namespace == corev1.NamespaceDefault && s.Name == "kubernetes"
		if s.ClusterIP == "" || s.ClusterIP == corev1.ClusterIPNone || len(s.Ports) == 0 {
			continue
		}
		if !api && (!links || s.Namespace != p.Namespace) {
			continue
		}
		// A service of the same name in the pod's namespace wins over the API's.
		if api && p.Namespace != corev1.NamespaceDefault && links && shadowed(services, p.Namespace) {
			continue
		}
		serviceEnv(env, s)
	}
	return env
}

func shadowed(services []Service, namespace string) bool {
	for _, s := range services {
		if s.Namespace == namespace && s.Name == "kubernetes" && s.ClusterIP != "" && s.ClusterIP != corev1.ClusterIPNone {
			return true
		}
	}
	return false
}

func serviceEnv(env map[string]string, s Service) {
	prefix := envName(s.Name)
	env[prefix+"_SERVICE_HOST"] = s.ClusterIP
	env[prefix+"_SERVICE_PORT"] = strconv.Itoa(int(s.Ports[0].Port))
	for i, p := range s.Ports {
		port := strconv.Itoa(int(p.Port))
		if p.Name != "" {
			env[prefix+"_SERVICE_PORT_"+envName(p.Name)] = port
		}
		protocol := p.Protocol
		if protocol == "" {
			protocol = "TCP"
		}
		url := strings.ToLower(protocol) + "://" + net.JoinHostPort(s.ClusterIP, port)
		if i == 0 {
			env[prefix+"_PORT"] = url
		}
		base := prefix + "_PORT_" + port + "_" + strings.ToUpper(protocol)
		env[base] = url
		env[base+"_PROTO"] = strings.ToLower(protocol)
		env[base+"_PORT"] = port
		env[base+"_ADDR"] = s.ClusterIP
	}
}

func envName(s string) string { return strings.ToUpper(strings.ReplaceAll(s, "-", "_")) }

// Expand replaces $(NAME) in s by its value, as command, args, env values and
// subPathExpr have it: $$ is a literal $, and a reference to an unknown name
// stays as it is. https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/
func Expand(s string, lookup func(name string) (string, bool)) string {
	if !strings.Contains(s, "$") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '$' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		switch s[i+1] {
		case '$':
			b.WriteByte('$')
			i++
		case '(':
			end := strings.IndexByte(s[i+2:], ')')
			if end < 0 {
				// An unclosed reference is literal text.
				b.WriteString("$(")
				i++
				continue
			}
			name := s[i+2 : i+2+end]
			if value, ok := lookup(name); ok {
				b.WriteString(value)
			} else {
				b.WriteString("$(" + name + ")")
			}
			i += 2 + end
		default:
			b.WriteByte('$')
		}
	}
	return b.String()
}
