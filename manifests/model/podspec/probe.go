package podspec

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"headway.dev/manifests/model/rule"
)

// livenessProbe holds for startup probes too.
func livenessProbe(p *corev1.Probe, grace int64, path *field.Path) field.ErrorList {
	if p == nil {
		return nil
	}
	errs := probe(p, grace, path)
	if p.SuccessThreshold != 1 {
		errs = append(errs, field.Invalid(path.Child("successThreshold"), p.SuccessThreshold, "must be 1"))
	}
	return errs
}

func readinessProbe(p *corev1.Probe, grace int64, path *field.Path) field.ErrorList {
	if p == nil {
		return nil
	}
	errs := probe(p, grace, path)
	if p.TerminationGracePeriodSeconds != nil {
		errs = append(errs, field.Invalid(path.Child("terminationGracePeriodSeconds"), *p.TerminationGracePeriodSeconds, "must not be set for readinessProbes"))
	}
	return errs
}

func probe(p *corev1.Probe, grace int64, path *field.Path) field.ErrorList {
	errs := handler(actions{exec: p.Exec, httpGet: p.HTTPGet, tcpSocket: p.TCPSocket, grpc: p.GRPC}, grace, path)
	errs = append(errs, rule.NonNegative(p.InitialDelaySeconds, path.Child("initialDelaySeconds"))...)
	errs = append(errs, rule.NonNegative(p.TimeoutSeconds, path.Child("timeoutSeconds"))...)
	errs = append(errs, rule.NonNegative(p.PeriodSeconds, path.Child("periodSeconds"))...)
	errs = append(errs, rule.NonNegative(p.SuccessThreshold, path.Child("successThreshold"))...)
	errs = append(errs, rule.NonNegative(p.FailureThreshold, path.Child("failureThreshold"))...)
	if s := p.TerminationGracePeriodSeconds; s != nil && *s <= 0 {
		errs = append(errs, field.Invalid(path.Child("terminationGracePeriodSeconds"), *s, "must be greater than 0"))
	}
	return errs
}

func hook(h *corev1.LifecycleHandler, grace int64, path *field.Path) field.ErrorList {
	if h == nil {
		return nil
	}
	return handler(actions{exec: h.Exec, httpGet: h.HTTPGet, tcpSocket: h.TCPSocket, sleep: h.Sleep}, grace, path)
}

// actions are what a probe or a hook can do; exactly one must be set.
type actions struct {
	exec      *corev1.ExecAction
	httpGet   *corev1.HTTPGetAction
	tcpSocket *corev1.TCPSocketAction
	grpc      *corev1.GRPCAction
	sleep     *corev1.SleepAction
}

func handler(a actions, grace int64, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	count := 0
	check := func(set bool, name string, rule func(at *field.Path) field.ErrorList) {
		if !set {
			return
		}
		if count++; count > 1 {
			errs = append(errs, field.Forbidden(path.Child(name), "may not specify more than 1 handler type"))
			return
		}
		errs = append(errs, rule(path.Child(name))...)
	}
	check(a.exec != nil, "exec", func(at *field.Path) field.ErrorList {
		if len(a.exec.Command) == 0 {
			return field.ErrorList{field.Required(at.Child("command"), "")}
		}
		return nil
	})
	check(a.httpGet != nil, "httpGet", func(at *field.Path) field.ErrorList { return httpGet(a.httpGet, at) })
	check(a.tcpSocket != nil, "tcpSocket", func(at *field.Path) field.ErrorList {
		return rule.PortNumberOrName(a.tcpSocket.Port, at.Child("port"))
	})
	check(a.grpc != nil, "grpc", func(at *field.Path) field.ErrorList {
		return rule.PortNumberOrName(intstr.FromInt32(a.grpc.Port), at.Child("port"))
	})
	check(a.sleep != nil, "sleep", func(at *field.Path) field.ErrorList {
		if a.sleep.Seconds < 0 || a.sleep.Seconds > grace {
			return field.ErrorList{field.Invalid(at, a.sleep.Seconds,
				fmt.Sprintf("must be non-negative and less than terminationGracePeriodSeconds (%d)", grace))}
		}
		return nil
	})
	if count == 0 {
		errs = append(errs, field.Required(path, "must specify a handler type"))
	}
	return errs
}

func httpGet(get *corev1.HTTPGetAction, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if get.Path == "" {
		errs = append(errs, field.Required(path.Child("path"), ""))
	}
	errs = append(errs, rule.PortNumberOrName(get.Port, path.Child("port"))...)
	errs = append(errs, rule.NotSupported(get.Scheme, path.Child("scheme"), corev1.URISchemeHTTP, corev1.URISchemeHTTPS)...)
	for _, header := range get.HTTPHeaders {
		errs = append(errs, rule.Invalid(path.Child("httpHeaders"), header.Name, validation.IsHTTPHeaderName(header.Name))...)
	}
	return errs
}
