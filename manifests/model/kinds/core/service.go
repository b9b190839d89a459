package core

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"

	"headway.dev/manifests/model/column"
	"headway.dev/manifests/model/fill"
	"headway.dev/manifests/model/health"
	"headway.dev/manifests/model/honour"
	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/object"
)

var service = kind.Define[corev1.Service, corev1.ServiceList](kind.Definition[*corev1.Service]{
	Names: kind.Names{
		GroupVersionKind: corev1.SchemeGroupVersion.WithKind("Service"),
		Plural:           "services", Singular: "service",
		ShortNames: []string{"svc"}, Categories: []string{"all"}, Namespaced: true,
	},
	Order:        150,
	Status:       true,
	Subresources: []string{"proxy"},
	REST:         kind.REST{CreateOnUpdate: true, ReturnsDeleted: true},
	Default:      defaultService,
	Lifecycle: kind.Lifecycle[*corev1.Service]{
		Create: func(svc *corev1.Service) {
			svc.Status = corev1.ServiceStatus{}
			families(&svc.Spec)
		},
		Update: func(svc, old *corev1.Service) {
			svc.Status = old.Status
			keepAllocated(&svc.Spec, &old.Spec)
			dropUnused(&svc.Spec, &old.Spec)
			families(&svc.Spec)
		},
		UpdateStatus: func(svc, old *corev1.Service) { svc.Spec = old.Spec },
	},
	Honours: honour.Types{
		honour.Of[corev1.Service]():     {Honoured: "TypeMeta metadata spec status"},
		honour.Of[corev1.ServiceSpec](): serviceSpecFields,
		honour.Of[corev1.ServicePort](): {
			Honoured: "name protocol appProtocol port targetPort nodePort",
		},
		honour.Of[corev1.SessionAffinityConfig](): {Honoured: "clientIP"},
		honour.Of[corev1.ClientIPConfig]():        {Honoured: "timeoutSeconds"},
	},
	Rules: kind.Rules[*corev1.Service]{
		Name:       apivalidation.NameIsDNSLabel,
		Object:     validateService,
		Update:     validateServiceUpdate,
		Status:     validateServiceStatus,
		Duplicates: serviceDuplicates,
	},
	Warnings: serviceWarnings,
	Table: kind.Table[*corev1.Service]{
		Columns: column.Define("Name", "Type", "Cluster-IP", "External-IP", "Port(s)", "Age", "+Selector"),
		Row:     serviceRow,
	},
	Fields: kind.Fields[*corev1.Service]{
		Names: []string{"spec.clusterIP", "spec.type"},
		Read: func(service *corev1.Service, into fields.Set) {
			into["spec.clusterIP"] = service.Spec.ClusterIP
			into["spec.type"] = string(service.Spec.Type)
		},
	},
	Health: kind.Health[*corev1.Service]{Of: serviceHealth},
})

func defaultService(svc *corev1.Service) {
	spec := &svc.Spec
	fill.Zero(&spec.SessionAffinity, corev1.ServiceAffinityNone)
	if spec.SessionAffinity == corev1.ServiceAffinityNone {
		spec.SessionAffinityConfig = nil
	}
	if spec.SessionAffinity == corev1.ServiceAffinityClientIP {
		fill.Unset(&spec.SessionAffinityConfig, corev1.SessionAffinityConfig{})
		fill.Unset(&spec.SessionAffinityConfig.ClientIP, corev1.ClientIPConfig{})
		fill.Unset(&spec.SessionAffinityConfig.ClientIP.TimeoutSeconds, corev1.DefaultClientIPServiceAffinitySeconds)
	}
	fill.Zero(&spec.Type, corev1.ServiceTypeClusterIP)
	for i := range spec.Ports {
		p := &spec.Ports[i]
		fill.Zero(&p.Protocol, corev1.ProtocolTCP)
		if p.TargetPort == intstr.FromInt32(0) || p.TargetPort == intstr.FromString("") {
			p.TargetPort = intstr.FromInt32(p.Port)
		}
	}
	switch spec.Type {
	case corev1.ServiceTypeClusterIP:
		if len(spec.ExternalIPs) > 0 {
			fill.Zero(&spec.ExternalTrafficPolicy, corev1.ServiceExternalTrafficPolicyCluster)
		}
	case corev1.ServiceTypeNodePort:
		fill.Zero(&spec.ExternalTrafficPolicy, corev1.ServiceExternalTrafficPolicyCluster)
	case corev1.ServiceTypeLoadBalancer:
		fill.Zero(&spec.ExternalTrafficPolicy, corev1.ServiceExternalTrafficPolicyCluster)
		fill.Unset(&spec.AllocateLoadBalancerNodePorts, true)
		for i := range svc.Status.LoadBalancer.Ingress {
			if in := &svc.Status.LoadBalancer.Ingress[i]; in.IP != "" {
				fill.Unset(&in.IPMode, corev1.LoadBalancerIPModeVIP)
			}
		}
	case corev1.ServiceTypeExternalName:
		return
	}
	fill.Unset(&spec.InternalTrafficPolicy, corev1.ServiceInternalTrafficPolicyCluster)
	if len(spec.ClusterIPs) == 0 && spec.ClusterIP != "" {
		spec.ClusterIPs = []string{spec.ClusterIP}
	}
}

// families sets the policy and the address families that neither the manifest nor the
// Service of before has: those of the addresses, else IPv4, the primary one. What the
// cluster's ranges make of it is up to engine/admit.
func families(spec *corev1.ServiceSpec) {
	if spec.Type == corev1.ServiceTypeExternalName {
		return
	}
	policy := corev1.IPFamilyPolicySingleStack
	if spec.ClusterIP == corev1.ClusterIPNone && len(spec.Selector) == 0 {
		policy = corev1.IPFamilyPolicyRequireDualStack
	}
	fill.Unset(&spec.IPFamilyPolicy, policy)
	if len(spec.IPFamilies) > 0 {
		return
	}
	for _, ip := range spec.ClusterIPs {
		if netutils.IsIPv4String(ip) {
			spec.IPFamilies = append(spec.IPFamilies, corev1.IPv4Protocol)
		} else if netutils.IsIPv6String(ip) {
			spec.IPFamilies = append(spec.IPFamilies, corev1.IPv6Protocol)
		}
	}
	if len(spec.IPFamilies) == 0 {
		spec.IPFamilies = []corev1.IPFamily{corev1.IPv4Protocol}
	}
}

func serviceRow(svc *corev1.Service, now time.Time) []any {
	clusterIP := column.None
	if len(svc.Spec.ClusterIPs) > 0 {
		clusterIP = svc.Spec.ClusterIPs[0]
	} else {
		clusterIP = column.Or(svc.Spec.ClusterIP, clusterIP)
	}
	var ports []string
	for _, p := range svc.Spec.Ports {
		if p.NodePort > 0 {
			ports = append(ports, fmt.Sprintf("%d:%d/%s", p.Port, p.NodePort, p.Protocol))
		} else {
			ports = append(ports, fmt.Sprintf("%d/%s", p.Port, p.Protocol))
		}
	}
	return []any{
		svc.Name, string(svc.Spec.Type), clusterIP, externalIP(svc), column.Or(strings.Join(ports, ","), column.None), column.Age(svc, now),
		metav1.FormatLabelSelector(metav1.SetAsLabelSelector(svc.Spec.Selector)),
	}
}

func externalIP(svc *corev1.Service) string {
	ips := svc.Spec.ExternalIPs
	switch svc.Spec.Type {
	case corev1.ServiceTypeExternalName:
		return svc.Spec.ExternalName
	case corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort:
	case corev1.ServiceTypeLoadBalancer:
		balancers := sets.New[string]()
		for _, i := range svc.Status.LoadBalancer.Ingress {
			if a := column.Or(i.IP, i.Hostname); a != "" {
				balancers.Insert(a)
			}
		}
		// As kubectl has it, also with external addresses of the spec alone.
		if len(ips) == 0 && balancers.Len() == 0 {
			return "<pending>"
		}
		ips = slices.Concat(sets.List(balancers), ips)
	}
	return column.Or(strings.Join(ips, ","), column.None)
}

func serviceHealth(svc *corev1.Service, _ object.Reader) health.Result {
	if svc.Spec.Type == corev1.ServiceTypeLoadBalancer && svc.Spec.ClusterIP == "" {
		return health.Result{Status: health.InProgress, Message: "ClusterIP not set. Service type: LoadBalancer"}
	}
	return health.Result{Status: health.Current, Message: "Service is ready"}
}

func serviceWarnings(svc, _ *corev1.Service) []string {
	if svc.DeletionTimestamp != nil {
		return nil
	}
	var told []string
	spec := field.NewPath("spec")
	if _, ok := svc.Annotations[corev1.DeprecatedAnnotationTopologyAwareHints]; ok {
		told = append(told, fmt.Sprintf("annotation %s is deprecated, please use %s instead", corev1.DeprecatedAnnotationTopologyAwareHints, corev1.AnnotationTopologyMode))
	}
	for _, name := range []string{corev1.AnnotationTopologyMode, corev1.DeprecatedAnnotationTopologyAwareHints} {
		// Kubernetes computes hints for these two values (Kubernetes documentation, Topology
		// Aware Routing), in a part that was never finished.
		if mode := svc.Annotations[name]; mode == "Auto" || mode == "auto" {
			told = append(told, fmt.Sprintf("annotation %s: %q has no effect, use spec.trafficDistribution instead", name, mode))
			break
		}
	}
	external, headless := svc.Spec.Type == corev1.ServiceTypeExternalName, svc.Spec.Type == corev1.ServiceTypeClusterIP && svc.Spec.ClusterIP == corev1.ClusterIPNone
	if svc.Spec.ClusterIP != "" && svc.Spec.ClusterIP != corev1.ClusterIPNone {
		for i, address := range svc.Spec.ClusterIPs {
			told = append(told, validation.GetWarningsForIP(spec.Child("clusterIPs").Index(i), address)...)
		}
	}
	if headless {
		if svc.Spec.LoadBalancerIP != "" {
			told = append(told, "spec.loadBalancerIP is ignored for headless services")
		}
		if len(svc.Spec.ExternalIPs) > 0 {
			told = append(told, "spec.externalIPs is ignored for headless services")
		}
		if svc.Spec.SessionAffinity != corev1.ServiceAffinityNone {
			told = append(told, "spec.SessionAffinity is ignored for headless services")
		}
	}
	for i, address := range svc.Spec.ExternalIPs {
		told = append(told, validation.GetWarningsForIP(spec.Child("externalIPs").Index(i), address)...)
	}
	if len(svc.Spec.ExternalIPs) > 0 && !headless && !external {
		told = append(told, "spec.externalIPs is deprecated and may no longer be implemented in some clusters")
	}
	if address := svc.Spec.LoadBalancerIP; address != "" {
		told = append(told, validation.GetWarningsForIP(spec.Child("loadBalancerIP"), address)...)
	}
	for i, block := range svc.Spec.LoadBalancerSourceRanges {
		told = append(told, validation.GetWarningsForCIDR(spec.Child("loadBalancerSourceRanges").Index(i), block)...)
	}
	if external && len(svc.Spec.ExternalIPs) > 0 {
		told = append(told, fmt.Sprintf("spec.externalIPs is ignored when spec.type is %q", svc.Spec.Type))
	}
	if !external && svc.Spec.ExternalName != "" {
		told = append(told, fmt.Sprintf("spec.externalName is ignored when spec.type is not %q", corev1.ServiceTypeExternalName))
	}
	if d := svc.Spec.TrafficDistribution; d != nil && *d == corev1.ServiceTrafficDistributionPreferClose {
		told = append(told, fmt.Sprintf("spec.trafficDistribution: %q is deprecated; use %q", *d, corev1.ServiceTrafficDistributionPreferSameZone))
	}
	return told
}
