package fill

import (
	"github.com/distribution/reference"
	corev1 "k8s.io/api/core/v1"
)

func container(c *corev1.Container) {
	Zero(&c.ImagePullPolicy, pullPolicy(c.Image))
	Zero(&c.TerminationMessagePath, corev1.TerminationMessagePathDefault)
	Zero(&c.TerminationMessagePolicy, corev1.TerminationMessageReadFile)
	for i := range c.Ports {
		Zero(&c.Ports[i].Protocol, corev1.ProtocolTCP)
	}
	for i := range c.Env {
		if from := c.Env[i].ValueFrom; from != nil {
			fieldRef(from.FieldRef)
		}
	}
	Milli(c.Resources.Limits)
	Milli(c.Resources.Requests)
	for _, p := range []*corev1.Probe{c.LivenessProbe, c.ReadinessProbe, c.StartupProbe} {
		probe(p)
	}
	if c.Lifecycle != nil {
		hook(c.Lifecycle.PostStart)
		hook(c.Lifecycle.PreStop)
	}
}

// pullPolicy is Always for an image whose name may mean another image
// tomorrow: one with the tag latest, or with neither tag nor digest. A name
// that is none is left to validation.
func pullPolicy(image string) corev1.PullPolicy {
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return corev1.PullIfNotPresent
	}
	if tagged, ok := reference.TagNameOnly(named).(reference.Tagged); ok && tagged.Tag() == "latest" {
		return corev1.PullAlways
	}
	return corev1.PullIfNotPresent
}

func probe(p *corev1.Probe) {
	if p == nil {
		return
	}
	Zero(&p.TimeoutSeconds, 1)
	Zero(&p.PeriodSeconds, 10)
	Zero(&p.SuccessThreshold, 1)
	Zero(&p.FailureThreshold, 3)
	httpGet(p.HTTPGet)
	if p.GRPC != nil {
		Unset(&p.GRPC.Service, "")
	}
}

func hook(h *corev1.LifecycleHandler) {
	if h != nil {
		httpGet(h.HTTPGet)
	}
}

func httpGet(get *corev1.HTTPGetAction) {
	if get != nil {
		Zero(&get.Path, "/")
		Zero(&get.Scheme, corev1.URISchemeHTTP)
	}
}

func fieldRef(ref *corev1.ObjectFieldSelector) {
	if ref != nil {
		Zero(&ref.APIVersion, "v1")
	}
}
