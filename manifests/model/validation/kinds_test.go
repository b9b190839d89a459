package validation_test

import (
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"

	"headway.dev/manifests/model/defaults"
	"headway.dev/manifests/model/validation"
)

const baseDeployment = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: "web:1"}]}
`

func deploymentCases(t *testing.T) {
	t.Helper()
	rolling := func(unavailable, surge intstr.IntOrString) func(*appsv1.Deployment) {
		return func(d *appsv1.Deployment) {
			d.Spec.Strategy.RollingUpdate = &appsv1.RollingUpdateDeployment{MaxUnavailable: &unavailable, MaxSurge: &surge}
		}
	}
	zero := intstr.FromInt32(0)
	create(t, baseDeployment, cases[*appsv1.Deployment]{
		"replicas":         {func(d *appsv1.Deployment) { d.Spec.Replicas = new(int32(-1)) }, []string{"spec.replicas: Invalid value: -1: must be greater than or equal to 0"}},
		"no selector":      {func(d *appsv1.Deployment) { d.Spec.Selector = nil }, []string{"spec.selector: Required value"}},
		"empty selector":   {func(d *appsv1.Deployment) { d.Spec.Selector.MatchLabels = nil }, []string{"spec.selector: Invalid value: {}: empty selector is invalid for deployment"}},
		"other labels":     {func(d *appsv1.Deployment) { d.Spec.Template.Labels["app"] = "x" }, []string{"spec.template.metadata.labels: Invalid value: {\"app\":\"x\"}: `selector` does not match template `labels`"}},
		"strategy":         {func(d *appsv1.Deployment) { d.Spec.Strategy.Type = "Fast" }, []string{`spec.strategy.type: Unsupported value: "Fast": supported values: "Recreate", "RollingUpdate"`}},
		"recreate":         {func(d *appsv1.Deployment) { d.Spec.Strategy.Type = "Recreate" }, []string{"spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'"}},
		"both 0":           {rolling(zero, zero), []string{"spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0"}},
		"both 0%":          {rolling(intstr.FromString("0%"), zero), []string{"spec.strategy.rollingUpdate.maxUnavailable: Invalid value: \"0%\": may not be 0 when `maxSurge` is 0"}},
		"over 100%":        {rolling(intstr.FromString("101%"), zero), []string{`spec.strategy.rollingUpdate.maxUnavailable: Invalid value: "101%": must not be greater than 100%`}},
		"not a percentage": {rolling(intstr.FromInt32(1), intstr.FromString("x")), []string{`spec.strategy.rollingUpdate.maxSurge: Invalid value: "x": a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')`}},
		"deadline":         {func(d *appsv1.Deployment) { d.Spec.MinReadySeconds = 600 }, []string{"spec.progressDeadlineSeconds: Invalid value: 600: must be greater than minReadySeconds"}},
		"restart policy":   {func(d *appsv1.Deployment) { d.Spec.Template.Spec.RestartPolicy = "Never" }, []string{`spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"`}},
		"active deadline":  {func(d *appsv1.Deployment) { d.Spec.Template.Spec.ActiveDeadlineSeconds = new(int64(1)) }, []string{"spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in ReplicaSet is not Supported"}},
		"no image":         {func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = "" }, []string{"spec.template.spec.containers[0].image: Required value"}},
		"host network, port left out": {func(d *appsv1.Deployment) {
			d.Spec.Template.Spec.HostNetwork = true
			d.Spec.Template.Spec.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: 80, Protocol: "TCP"}}
		}, nil},
	})
	update(t, baseDeployment, cases[*appsv1.Deployment]{
		"image": {func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = "web:2" }, nil},
		"selector": {func(d *appsv1.Deployment) {
			d.Spec.Selector.MatchLabels = map[string]string{"app": "x"}
			d.Spec.Template.Labels["app"] = "x"
		}, []string{`spec.selector: Invalid value: {"matchLabels":{"app":"x"}}: field is immutable`}},
	})
	updateStatus(t, baseDeployment, cases[*appsv1.Deployment]{
		"fine": {func(d *appsv1.Deployment) { d.Status.Replicas, d.Status.ReadyReplicas = 2, 2 }, nil},
		"ready": {func(d *appsv1.Deployment) { d.Status.ReadyReplicas = 2 }, []string{
			"status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas",
		}},
		"available": {func(d *appsv1.Deployment) { d.Status.Replicas, d.Status.AvailableReplicas = 2, 2 }, []string{
			"status.availableReplicas: Invalid value: 2: cannot be greater than readyReplicas",
		}},
	})
}

func replicaSetCases(t *testing.T) {
	t.Helper()
	base := strings.Replace(baseDeployment, "Deployment", "ReplicaSet", 1)
	create(t, base, cases[*appsv1.ReplicaSet]{
		"other labels": {func(rs *appsv1.ReplicaSet) { rs.Spec.Template.Labels = nil }, []string{"spec.template.metadata.labels: Invalid value: null: `selector` does not match template `labels`"}},
		"minReady":     {func(rs *appsv1.ReplicaSet) { rs.Spec.MinReadySeconds = -1 }, []string{"spec.minReadySeconds: Invalid value: -1: must be greater than or equal to 0"}},
	})
	update(t, base, cases[*appsv1.ReplicaSet]{
		"image": {func(rs *appsv1.ReplicaSet) { rs.Spec.Template.Spec.Containers[0].Image = "web:2" }, nil},
		"selector": {func(rs *appsv1.ReplicaSet) {
			rs.Spec.Selector.MatchLabels = map[string]string{"app": "x"}
			rs.Spec.Template.Labels["app"] = "x"
		}, []string{`spec.selector: Invalid value: {"matchLabels":{"app":"x"}}: field is immutable`}},
	})
	updateStatus(t, base, cases[*appsv1.ReplicaSet]{
		"labeled": {func(rs *appsv1.ReplicaSet) { rs.Status.FullyLabeledReplicas = 1 }, []string{
			"status.fullyLabeledReplicas: Invalid value: 1: cannot be greater than status.replicas",
		}},
	})
}

func limitRangeCases(t *testing.T) {
	t.Helper()
	base := `{apiVersion: v1, kind: LimitRange, metadata: {name: limits, namespace: shop}, spec: {limits: [{type: Container, min: {cpu: 100m, memory: 1Mi}, max: {cpu: 2, memory: 1Gi}, maxLimitRequestRatio: {cpu: 2}}]}}`
	item := func(edit func(i *corev1.LimitRangeItem)) func(*corev1.LimitRange) {
		return func(r *corev1.LimitRange) { edit(&r.Spec.Limits[0]) }
	}
	list := func(name corev1.ResourceName, value string) corev1.ResourceList {
		return corev1.ResourceList{name: resource.MustParse(value)}
	}
	create(t, base, cases[*corev1.LimitRange]{
		"a type of others": {item(func(i *corev1.LimitRangeItem) { i.Type = "example.com/Thing" }), nil},
		"the whole ratio": {item(func(i *corev1.LimitRangeItem) {
			i.Min, i.Max, i.MaxLimitRequestRatio = list("cpu", "200m"), list("cpu", "600m"), list("cpu", "3")
			i.Default, i.DefaultRequest = nil, nil
		}), nil},
		"of claims, of quotas' names": {item(func(i *corev1.LimitRangeItem) {
			*i = corev1.LimitRangeItem{Type: corev1.LimitTypePersistentVolumeClaim, Max: list("storage", "5Gi"), Min: list("requests.storage", "1Gi")}
		}), nil},
		"of quotas":    {item(func(i *corev1.LimitRangeItem) { i.Min["requests.cpu"] = resource.MustParse("1") }), []string{`spec.limits[0].min[requests.cpu]: Invalid value: "requests.cpu": must be a standard resource for containers`}},
		"no such type": {item(func(i *corev1.LimitRangeItem) { i.Type = "Volume" }), []string{`spec.limits[0].type: Invalid value: "Volume": must be a standard limit type or fully qualified`}},
		"twice":        {func(r *corev1.LimitRange) { r.Spec.Limits = append(r.Spec.Limits, r.Spec.Limits[0]) }, []string{`spec.limits[1].type: Duplicate value: "Container"`}},
		"resource":     {item(func(i *corev1.LimitRangeItem) { i.Min["disk"] = resource.MustParse("1") }), []string{`spec.limits[0].min[disk]: Invalid value: "disk": must be a standard resource type or fully qualified`, `spec.limits[0].min[disk]: Invalid value: "disk": must be a standard resource for containers`}},
		"min and max":  {item(func(i *corev1.LimitRangeItem) { i.Min["memory"] = resource.MustParse("2Gi") }), []string{`spec.limits[0].min[memory]: Invalid value: "2Gi": min value 2Gi is greater than max value 1Gi`, `spec.limits[0].defaultRequest[memory]: Invalid value: "1Gi": min value 2Gi is greater than default request value 1Gi`, `spec.limits[0].default[memory]: Invalid value: "2Gi": min value 2Gi is greater than default value 1Gi`}},
		"default":      {item(func(i *corev1.LimitRangeItem) { i.Default = list("cpu", "3") }), []string{`spec.limits[0].default[cpu]: Invalid value: "2": default value 3 is greater than max value 2`}},
		"request":      {item(func(i *corev1.LimitRangeItem) { i.Default, i.DefaultRequest = list("cpu", "1"), list("cpu", "1500m") }), []string{`spec.limits[0].defaultRequest[cpu]: Invalid value: "1500m": default request value 1500m is greater than default limit value 1`}},
		"small ratio":  {item(func(i *corev1.LimitRangeItem) { i.MaxLimitRequestRatio = list("memory", "500m") }), []string{`spec.limits[0].maxLimitRequestRatio[memory]: Invalid value: "500m": ratio 500m is less than 1`}},
		"large ratio":  {item(func(i *corev1.LimitRangeItem) { i.MaxLimitRequestRatio = list("cpu", "30") }), []string{`spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: "30": ratio 30 is greater than max/min = 20.000000`}},
		"not overcommitted": {item(func(i *corev1.LimitRangeItem) {
			i.Default, i.DefaultRequest = list("example.com/gpu", "2"), list("example.com/gpu", "1")
		}), []string{`spec.limits[0].defaultRequest[example.com/gpu]: Invalid value: "1": default value 2 must equal to defaultRequest value 1 in example.com/gpu`}},
		"of pods": {item(func(i *corev1.LimitRangeItem) {
			i.Type, i.Default, i.DefaultRequest = corev1.LimitTypePod, list("cpu", "1"), list("cpu", "1")
		}), []string{"spec.limits[0].default: Forbidden: may not be specified when `type` is 'Pod'", "spec.limits[0].defaultRequest: Forbidden: may not be specified when `type` is 'Pod'"}},
		"of claims": {item(func(i *corev1.LimitRangeItem) {
			*i = corev1.LimitRangeItem{Type: corev1.LimitTypePersistentVolumeClaim}
		}), []string{"spec.limits[0].limits: Required value: either minimum or maximum storage value is required, but neither was provided"}},
	})
	update(t, base, cases[*corev1.LimitRange]{
		"more": {item(func(i *corev1.LimitRangeItem) { i.Max["memory"] = resource.MustParse("2Gi") }), nil},
		"of claims, of quotas' names": {item(func(i *corev1.LimitRangeItem) {
			*i = corev1.LimitRangeItem{Type: corev1.LimitTypePersistentVolumeClaim, Max: list("storage", "5Gi"), Min: list("requests.storage", "1Gi")}
		}), nil},
		"of quotas":    {item(func(i *corev1.LimitRangeItem) { i.Min["requests.cpu"] = resource.MustParse("1") }), []string{`spec.limits[0].min[requests.cpu]: Invalid value: "requests.cpu": must be a standard resource for containers`}},
		"no such type": {item(func(i *corev1.LimitRangeItem) { i.Type = "Volume" }), []string{`spec.limits[0].type: Invalid value: "Volume": must be a standard limit type or fully qualified`}},
	})
}

func resourceQuotaCases(t *testing.T) {
	t.Helper()
	base := `{apiVersion: v1, kind: ResourceQuota, metadata: {name: all, namespace: shop}, spec: {hard: {pods: 3, cpu: 2, limits.memory: 1Gi, requests.storage: 1Gi, requests.example.com/gpu: 1, count/deployments.apps: 2, persistentvolumeclaims: 1, hugepages-2Mi: 4Mi, requests.hugepages-2Mi: 4Mi}}}`
	type quota = *corev1.ResourceQuota
	hard := func(name corev1.ResourceName, value string) func(quota) {
		return func(q quota) { q.Spec.Hard = corev1.ResourceList{name: resource.MustParse(value)} }
	}
	scoped := func(names ...corev1.ResourceQuotaScope) func(quota) {
		return func(q quota) {
			q.Spec.Hard, q.Spec.Scopes = corev1.ResourceList{corev1.ResourcePods: resource.MustParse("1")}, names
		}
	}
	selected := func(name corev1.ResourceQuotaScope, op corev1.ScopeSelectorOperator, values ...string) func(quota) {
		return func(q quota) {
			scoped()(q)
			q.Spec.ScopeSelector = &corev1.ScopeSelector{MatchExpressions: []corev1.ScopedResourceSelectorRequirement{{ScopeName: name, Operator: op, Values: values}}}
		}
	}
	create(t, base, cases[quota]{
		"a resource of others": {hard("example.com/things", "1"), nil},
		"no such resource":     {hard("disk", "1"), []string{`spec.hard[disk]: Invalid value: "disk": must be a standard resource type or fully qualified`, `spec.hard[disk]: Invalid value: "disk": must be a standard resource for quota`}},
		"storage":              {hard("storage", "1"), []string{`spec.hard[storage]: Invalid value: "storage": must be a standard resource for quota`}},
		"negative":             {hard("cpu", "-1"), []string{`spec.hard[cpu]: Invalid value: "-1": must be greater than or equal to 0`}},
		"half a secret":        {hard("secrets", "500m"), []string{`spec.hard[secrets]: Invalid value: "500m": must be an integer`}},
		"half a pod":           {hard("pods", "500m"), []string{`spec.hard[pods]: Invalid value: "500m": must be an integer`}},
		"scopes":               {scoped("NotTerminating", "BestEffort"), nil},
		"no such scope":        {scoped("Tired"), []string{`spec.scopes: Invalid value: ["Tired"]: unsupported scope`}},
		"conflicting":          {scoped("BestEffort", "NotBestEffort"), []string{`spec.scopes: Invalid value: ["BestEffort","NotBestEffort"]: conflicting scopes`}},
		"of no pods": {func(q quota) {
			scoped("Terminating")(q)
			q.Spec.Hard["secrets"] = resource.MustParse("1")
		}, []string{`spec.scopes: Invalid value: ["Terminating"]: unsupported scope applied to resource`}},
		"best effort has no cpu": {func(q quota) {
			scoped("BestEffort")(q)
			q.Spec.Hard["cpu"] = resource.MustParse("1")
		}, []string{`spec.scopes: Invalid value: ["BestEffort"]: unsupported scope applied to resource`}},
		"classes":         {selected("PriorityClass", "In", "high"), nil},
		"no classes":      {selected("PriorityClass", "In"), []string{"spec.scopeSelector.matchExpressions.values: Required value: must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"}},
		"too many values": {selected("PriorityClass", "Exists", "high"), []string{"spec.scopeSelector.matchExpressions.values: Invalid value: [\"high\"]: must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"}},
		"operator":        {selected("PriorityClass", "Like"), []string{`spec.scopeSelector.matchExpressions.operator: Invalid value: "Like": not a valid selector operator`}},
		"in of a scope that is or is not": {selected("Terminating", "In", "x"), []string{
			`spec.scopeSelector.matchExpressions.operator: Invalid value: "In": must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity`,
		}},
		"unknown scope": {selected("Tired", "Exists"), []string{`spec.scopeSelector.matchExpressions.scopeName: Invalid value: "Tired": unsupported scope`}},
	})
	update(t, `{apiVersion: v1, kind: ResourceQuota, metadata: {name: all, namespace: shop}, spec: {scopes: [Terminating, NotBestEffort], hard: {pods: 3}}}`, cases[quota]{
		"more":         {func(q quota) { q.Spec.Hard["pods"] = resource.MustParse("9") }, nil},
		"in any order": {func(q quota) { q.Spec.Scopes = []corev1.ResourceQuotaScope{"NotBestEffort", "Terminating"} }, nil},
		"scopes":       {func(q quota) { q.Spec.Scopes = nil }, []string{`spec.scopes: Invalid value: null: field is immutable`}},
	})
	updateStatus(t, base, cases[quota]{
		"fine":    {func(q quota) { q.Status.Used = corev1.ResourceList{"pods": resource.MustParse("1")} }, nil},
		"unknown": {func(q quota) { q.Status.Used = corev1.ResourceList{"disk": resource.MustParse("1")} }, []string{`status.used[disk]: Invalid value: "disk": must be a standard resource type or fully qualified`, `status.used[disk]: Invalid value: "disk": must be a standard resource for quota`}},
	})
}

func priorityClassCases(t *testing.T) {
	t.Helper()
	base := `{apiVersion: scheduling.k8s.io/v1, kind: PriorityClass, metadata: {name: high}, value: 1000000000}`
	type class = *schedulingv1.PriorityClass
	create(t, base, cases[class]{
		"negative": {func(c class) { c.Value = -2147483648 }, nil},
		"too high": {func(c class) { c.Value++ }, []string{"value: Forbidden: maximum allowed value of a user defined priority is 1000000000"}},
		"policy":   {func(c class) { c.PreemptionPolicy = new(corev1.PreemptionPolicy("Always")) }, []string{`preemptionPolicy: Unsupported value: "Always": supported values: "PreemptLowerPriority", "Never"`}},
		"prefix": {func(c class) { c.Name = "system-a" }, []string{
			"metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. error: system-a is not a known system priority class",
		}},
		"the cluster's": {func(c class) { c.Name, c.Value = "system-node-critical", 2000001000 }, nil},
		"the cluster's, with another value": {func(c class) { c.Name = "system-node-critical" }, []string{
			"metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. error: value of system-node-critical PriorityClass must be 2000001000",
		}},
		"the cluster's, as default": {func(c class) { c.Name, c.Value, c.GlobalDefault = "system-cluster-critical", 2000000000, true }, []string{
			"metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. error: globalDefault of system-cluster-critical PriorityClass must be false",
		}},
	})
	update(t, base, cases[class]{
		"fine":   {func(c class) { c.Description, c.GlobalDefault = "x", true }, nil},
		"value":  {func(c class) { c.Value = 1 }, []string{"value: Forbidden: may not be changed in an update."}},
		"policy": {func(c class) { c.PreemptionPolicy = new(corev1.PreemptNever) }, []string{`preemptionPolicy: Invalid value: "Never": field is immutable`}},
	})
}

func podTemplateCases(t *testing.T) {
	t.Helper()
	base := `{apiVersion: v1, kind: PodTemplate, metadata: {name: job, namespace: shop}, template: {spec: {containers: [{name: job, image: "job:1"}]}}}`
	create(t, base, cases[*corev1.PodTemplate]{
		"runs once":    {func(p *corev1.PodTemplate) { p.Template.Spec.RestartPolicy = corev1.RestartPolicyNever }, nil},
		"deadline":     {func(p *corev1.PodTemplate) { p.Template.Spec.ActiveDeadlineSeconds = new(int64(1)) }, nil},
		"no container": {func(p *corev1.PodTemplate) { p.Template.Spec.Containers = nil }, []string{"template.spec.containers: Required value"}},
		"label":        {func(p *corev1.PodTemplate) { p.Template.Labels = map[string]string{"a": "-"} }, []string{`template.labels: Invalid value: "-": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')`}},
		"ephemeral": {func(p *corev1.PodTemplate) {
			p.Template.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{
				Name: "debug", Image: "debug:1", ImagePullPolicy: "Always", TerminationMessagePolicy: "File",
			}}}
		}, []string{"template.spec.ephemeralContainers: Forbidden: ephemeral containers not allowed in pod template"}},
	})
	update(t, base, cases[*corev1.PodTemplate]{
		"image":        {func(p *corev1.PodTemplate) { p.Template.Spec.Containers[0].Image = "job:2" }, nil},
		"no container": {func(p *corev1.PodTemplate) { p.Template.Spec.Containers = nil }, []string{"template.spec.containers: Required value"}},
	})
}

const baseService = `{apiVersion: v1, kind: Service, metadata: {name: web, namespace: shop}, spec: {clusterIP: 10.0.0.1, ipFamilies: [IPv4], selector: {app: web}, ports: [{port: 80}]}}`

func serviceCases(t *testing.T) {
	t.Helper()
	port := func(edit func(p *corev1.ServicePort)) func(*corev1.Service) {
		return func(s *corev1.Service) { edit(&s.Spec.Ports[0]) }
	}
	second := func(name string, number int32) func(*corev1.Service) {
		return func(s *corev1.Service) {
			s.Spec.Ports[0].Name = "a"
			s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: name, Port: number, Protocol: "TCP", TargetPort: intstr.FromInt32(number)})
		}
	}
	typed := func(typ corev1.ServiceType, nodePort int32) func(*corev1.Service) {
		return func(s *corev1.Service) {
			s.Spec.Type = typ
			s.Spec.Ports[0].NodePort = nodePort
			defaults.Apply(s)
		}
	}
	create(t, baseService, cases[*corev1.Service]{
		"name, a digit": {func(s *corev1.Service) { s.Name = "1a" }, nil},
		"name":          {func(s *corev1.Service) { s.Name = "a_b" }, []string{`metadata.name: Invalid value: "a_b": ` + dnsLabelMessage}},
		"no ports":      {func(s *corev1.Service) { s.Spec.Ports = nil }, []string{"spec.ports: Required value"}},
		"headless": {func(s *corev1.Service) {
			s.Spec.Ports, s.Spec.ClusterIP, s.Spec.ClusterIPs = nil, "None", []string{"None"}
		}, nil},
		"type":            {func(s *corev1.Service) { s.Spec.Type = "Pipe" }, []string{`spec.type: Unsupported value: "Pipe": supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort"`}},
		"port 0":          {port(func(p *corev1.ServicePort) { p.Port = 0 }), []string{"spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive"}},
		"protocol":        {port(func(p *corev1.ServicePort) { p.Protocol = "X" }), []string{`spec.ports[0].protocol: Unsupported value: "X": supported values: "SCTP", "TCP", "UDP"`}},
		"target port":     {port(func(p *corev1.ServicePort) { p.TargetPort = intstr.FromString("a!") }), []string{`spec.ports[0].targetPort: Invalid value: "a!": must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)`}},
		"second, no name": {second("", 81), []string{"spec.ports[1].name: Required value"}},
		"same name":       {second("a", 81), []string{`spec.ports[1].name: Duplicate value: "a"`}},
		"same port":       {second("b", 80), []string{`spec.ports[1]: Duplicate value: {"Name":"","Protocol":"TCP","AppProtocol":null,"Port":80,"TargetPort":0,"NodePort":0}`}},
		"node port":       {typed("NodePort", 30001), nil},
		"low node port":   {typed("NodePort", 80), []string{"spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. The range of valid ports is 30000-32767"}},
		"unused port":     {typed("ClusterIP", 30001), []string{"spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"}},
		"affinity":        {func(s *corev1.Service) { s.Spec.SessionAffinity = "IP" }, []string{`spec.sessionAffinity: Unsupported value: "IP": supported values: "ClientIP", "None"`}},
		"affinity time": {func(s *corev1.Service) {
			s.Spec.SessionAffinity = "ClientIP"
			s.Spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: new(int32(0))}}
		}, []string{"spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 0: must be greater than 0 and less than 86400"}},
		"address":         {func(s *corev1.Service) { s.Spec.ClusterIP, s.Spec.ClusterIPs = "x", []string{"x"} }, []string{`spec.clusterIPs[0]: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)`}},
		"two addresses":   {func(s *corev1.Service) { s.Spec.ClusterIP = "10.0.0.2" }, []string{"spec.clusterIPs: Invalid value: [\"10.0.0.1\"]: first value must match `clusterIP`"}},
		"external policy": {func(s *corev1.Service) { s.Spec.ExternalTrafficPolicy = "Local" }, []string{`spec.externalTrafficPolicy: Invalid value: "Local": may only be set for externally-accessible services`}},
		"internal policy": {func(s *corev1.Service) { *s.Spec.InternalTrafficPolicy = "x" }, []string{`spec.internalTrafficPolicy: Unsupported value: "x": supported values: "Cluster", "Local"`}},
		"external IP": {func(s *corev1.Service) {
			s.Spec.ExternalIPs = []string{"127.0.0.1"}
			s.Spec.ExternalTrafficPolicy = "Cluster"
		}, []string{`spec.externalIPs[0]: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)`}},
		"distribution": {func(s *corev1.Service) { s.Spec.TrafficDistribution = new("Zork") }, []string{`spec.trafficDistribution: Unsupported value: "Zork": supported values: "PreferClose", "PreferSameZone", "PreferSameNode"`}},
		"source ranges": {func(s *corev1.Service) {
			typed("LoadBalancer", 0)(s)
			s.Spec.LoadBalancerSourceRanges = []string{"foo"}
		}, []string{
			`spec.LoadBalancerSourceRanges[0]: Invalid value: "foo": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)`,
		}},
		"source ranges as an annotation": {func(s *corev1.Service) {
			s.Annotations = map[string]string{corev1.AnnotationLoadBalancerSourceRangesKey: " 10.0.0.0/8, foo"}
		}, []string{
			"metadata.annotations[service.beta.kubernetes.io/load-balancer-source-ranges]: Forbidden: may only be used when `type` is 'LoadBalancer'",
			`metadata.annotations[service.beta.kubernetes.io/load-balancer-source-ranges]: Invalid value: "foo": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)`,
		}},
		"topology": {func(s *corev1.Service) {
			s.Annotations = map[string]string{corev1.AnnotationTopologyMode: "Auto", corev1.DeprecatedAnnotationTopologyAwareHints: "Disabled"}
		}, []string{
			`metadata.annotations[service.kubernetes.io/topology-mode]: Invalid value: "Auto": must match annotations[service.kubernetes.io/topology-aware-hints] when both are specified`,
		}},
		"affinity config": {func(s *corev1.Service) {
			s.Spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: new(int32(5))}}
		}, []string{"spec.sessionAffinityConfig: Forbidden: must not be set when session affinity is None"}},
		"class of a balancer": {func(s *corev1.Service) {
			typed("LoadBalancer", 0)(s)
			s.Spec.LoadBalancerClass = new("a b")
		}, []string{`spec.loadBalancerClass: Invalid value: "a b": ` + qualifiedMessage}},
		"families": {func(s *corev1.Service) { s.Spec.IPFamilies = []corev1.IPFamily{"IPv4", "IPv4", "X"} }, []string{
			`spec.ipFamilies[1]: Duplicate value: "IPv4"`, `spec.ipFamilies[2]: Unsupported value: "X": supported values: "IPv4", "IPv6"`,
		}},
		"family policy": {func(s *corev1.Service) { s.Spec.IPFamilyPolicy = new(corev1.IPFamilyPolicy("Any")) }, []string{`spec.ipFamilyPolicy: Unsupported value: "Any": supported values: "PreferDualStack", "RequireDualStack", "SingleStack"`}},
		"only the list": {func(s *corev1.Service) { s.Spec.ClusterIP = "" }, []string{"spec.clusterIPs: Invalid value: [\"10.0.0.1\"]: must be empty when `clusterIP` is not specified"}},
		"three": {func(s *corev1.Service) { s.Spec.ClusterIPs = []string{"10.0.0.1", "10.0.0.2", "10.0.0.3"} }, []string{
			`spec.clusterIPs: Invalid value: ["10.0.0.1","10.0.0.2","10.0.0.3"]: may only hold up to 2 values`,
			`spec.clusterIPs: Invalid value: ["10.0.0.1","10.0.0.2","10.0.0.3"]: may specify no more than one IP for each IP family`,
		}},
		"class": {func(s *corev1.Service) { s.Spec.LoadBalancerClass = new("x") }, []string{"spec.loadBalancerClass: Forbidden: may only be used when `type` is 'LoadBalancer'"}},
		"node port, no IP": {func(s *corev1.Service) {
			s.Spec.ClusterIP, s.Spec.ClusterIPs = "None", []string{"None"}
			typed("NodePort", 0)(s)
		}, []string{`spec.clusterIPs[0]: Invalid value: "None": may not be set to 'None' for NodePort services`}},
		"selector":          {func(s *corev1.Service) { s.Spec.Selector["app"] = "-" }, []string{`spec.selector: Invalid value: "-": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')`}},
		"health check port": {func(s *corev1.Service) { s.Spec.HealthCheckNodePort = 30001 }, []string{"spec.healthCheckNodePort: Invalid value: 30001: may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"}},
	})
	balancer := strings.Replace(baseService, "spec: {", "status: {loadBalancer: {ingress: [{ip: 192.0.2.1}]}}, spec: {type: LoadBalancer, externalTrafficPolicy: Local, healthCheckNodePort: 30001, ", 1)
	ingress := func(edit func(i *corev1.LoadBalancerIngress)) func(*corev1.Service) {
		return func(s *corev1.Service) { edit(&s.Status.LoadBalancer.Ingress[0]) }
	}
	update(t, balancer, cases[*corev1.Service]{
		"class":             {func(s *corev1.Service) { s.Spec.LoadBalancerClass = new("example.com/x") }, []string{`spec.loadBalancerClass: Invalid value: "example.com/x": may not change once set`}},
		"health check port": {func(s *corev1.Service) { s.Spec.HealthCheckNodePort = 30002 }, []string{"spec.healthCheckNodePort: Forbidden: field is immutable"}},
	})
	updateStatus(t, balancer, cases[*corev1.Service]{
		"as it is":           {func(*corev1.Service) {}, nil},
		"address":            {ingress(func(i *corev1.LoadBalancerIngress) { i.IP = "x" }), []string{`status.loadBalancer.ingress[0].ip: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)`}},
		"no mode":            {ingress(func(i *corev1.LoadBalancerIngress) { i.IPMode = nil }), []string{"status.loadBalancer.ingress[0].ipMode: Required value: must be specified when `ip` is set"}},
		"mode":               {ingress(func(i *corev1.LoadBalancerIngress) { *i.IPMode = "Odd" }), []string{`status.loadBalancer.ingress[0].ipMode: Unsupported value: "Odd": supported values: "Proxy", "VIP"`}},
		"mode of no address": {ingress(func(i *corev1.LoadBalancerIngress) { i.IP = "" }), []string{"status.loadBalancer.ingress[0].ipMode: Forbidden: may not be specified when `ip` is not set"}},
		"name":               {ingress(func(i *corev1.LoadBalancerIngress) { i.Hostname = "192.0.2.1" }), []string{`status.loadBalancer.ingress[0].hostname: Invalid value: "192.0.2.1": must be a DNS name, not an IP address`}},
	})
	updateStatus(t, baseService, cases[*corev1.Service]{
		"no balancer": {func(s *corev1.Service) {
			s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.0.2.1"}}
		}, []string{
			"status.loadBalancer.ingress: Forbidden: may only be used when `spec.type` is 'LoadBalancer'",
		}},
	})
	create(t, `{apiVersion: v1, kind: Service, metadata: {name: web, namespace: shop}, spec: {type: ExternalName, externalName: a.example}}`, cases[*corev1.Service]{
		"no name":     {func(s *corev1.Service) { s.Spec.ExternalName = "" }, []string{"spec.externalName: Required value"}},
		"address":     {func(s *corev1.Service) { s.Spec.ClusterIPs = []string{"10.0.0.1"} }, []string{"spec.clusterIPs: Forbidden: may not be set for ExternalName services"}},
		"older field": {func(s *corev1.Service) { s.Spec.ClusterIP = "10.0.0.1" }, []string{"spec.clusterIPs: Forbidden: may not be set for ExternalName services"}},
	})
	update(t, baseService, cases[*corev1.Service]{
		"another address": {func(s *corev1.Service) { s.Spec.ClusterIP, s.Spec.ClusterIPs = "10.0.0.2", []string{"10.0.0.2"} }, []string{`spec.clusterIPs[0]: Invalid value: ["10.0.0.2"]: may not change once set`}},
		"no address":      {func(s *corev1.Service) { s.Spec.ClusterIP, s.Spec.ClusterIPs = "", nil }, []string{`spec.clusterIPs[0]: Invalid value: null: primary clusterIP can not be unset`}},
		"another family":  {func(s *corev1.Service) { s.Spec.IPFamilies = []corev1.IPFamily{"IPv6"} }, []string{"spec.clusterIPs[0]: Invalid value: \"10.0.0.1\": expected an IPv6 value as indicated by `ipFamilies[0]`", `spec.ipFamilies[0]: Invalid value: ["IPv6"]: may not change once set`}},
	})
	update(t, `{apiVersion: v1, kind: Service, metadata: {name: web, namespace: shop}, spec: {clusterIPs: [10.0.0.1, "fd00::1"], clusterIP: 10.0.0.1, ipFamilies: [IPv4, IPv6], ipFamilyPolicy: RequireDualStack, ports: [{port: 80}]}}`, cases[*corev1.Service]{
		"one address":    {func(s *corev1.Service) { s.Spec.ClusterIPs = s.Spec.ClusterIPs[:1] }, []string{`spec.ipFamilyPolicy: Invalid value: "RequireDualStack": must be 'SingleStack' to release the secondary cluster IP`}},
		"one family":     {func(s *corev1.Service) { s.Spec.IPFamilies = s.Spec.IPFamilies[:1] }, []string{`spec.ipFamilyPolicy: Invalid value: "RequireDualStack": must be 'SingleStack' to release the secondary IP family`}},
		"another second": {func(s *corev1.Service) { s.Spec.ClusterIPs[1] = "fd00::2" }, []string{`spec.clusterIPs[1]: Invalid value: ["10.0.0.1","fd00::2"]: may not change once set`}},
		"single by intent": {func(s *corev1.Service) {
			s.Spec.IPFamilyPolicy, s.Spec.ClusterIPs, s.Spec.IPFamilies = new(corev1.IPFamilyPolicySingleStack), s.Spec.ClusterIPs[:1], s.Spec.IPFamilies[:1]
		}, nil},
	})
}

func configMapCases(t *testing.T) {
	t.Helper()
	create(t, cm, cases[*corev1.ConfigMap]{
		"key": {func(c *corev1.ConfigMap) { c.Data = map[string]string{"a b": ""} }, []string{`data[a b]: Invalid value: "a b": a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')`}},
		"twice": {func(c *corev1.ConfigMap) {
			c.Data, c.BinaryData = map[string]string{"a": ""}, map[string][]byte{"a": nil}
		}, []string{`data[a]: Invalid value: "a": duplicate of key present in binaryData`}},
		"size":  {func(c *corev1.ConfigMap) { c.Data = map[string]string{"a": strings.Repeat("x", 1<<20+1)} }, []string{`[]: Too long: may not be more than 1048576 bytes`}},
		"1 MiB": {func(c *corev1.ConfigMap) { c.Data = map[string]string{"a": strings.Repeat("x", 1<<20)} }, nil},
	})
	update(t, strings.Replace(cm, "metadata", "immutable: true, metadata", 1), cases[*corev1.ConfigMap]{
		"data":    {func(c *corev1.ConfigMap) { c.Data = map[string]string{"a": "b"} }, []string{"data: Forbidden: field is immutable when `immutable` is set"}},
		"mutable": {func(c *corev1.ConfigMap) { c.Immutable = nil }, []string{"immutable: Forbidden: field is immutable when `immutable` is set"}},
		"labels":  {func(c *corev1.ConfigMap) { c.Labels = map[string]string{"a": "b"} }, nil},
	})
}

func secretCases(t *testing.T) {
	t.Helper()
	base := strings.Replace(cm, "ConfigMap", "Secret", 1)
	typed := func(typ corev1.SecretType, data map[string][]byte) func(*corev1.Secret) {
		return func(s *corev1.Secret) { s.Type, s.Data = typ, data }
	}
	create(t, base, cases[*corev1.Secret]{
		"tls":         {typed("kubernetes.io/tls", nil), []string{"data[tls.crt]: Required value", "data[tls.key]: Required value"}},
		"basic":       {typed("kubernetes.io/basic-auth", nil), []string{"data[username]: Required value", "data[password]: Required value"}},
		"basic, user": {typed("kubernetes.io/basic-auth", map[string][]byte{"username": nil}), nil},
		"ssh":         {typed("kubernetes.io/ssh-auth", nil), []string{"data[ssh-privatekey]: Required value"}},
		"docker":      {typed("kubernetes.io/dockerconfigjson", nil), []string{"data[.dockerconfigjson]: Required value"}},
		"not JSON":    {typed("kubernetes.io/dockerconfigjson", map[string][]byte{".dockerconfigjson": []byte("x")}), []string{`data[.dockerconfigjson]: Invalid value: "<secret contents redacted>": invalid character 'x' looking for beginning of value`}},
		"token":       {typed("kubernetes.io/service-account-token", nil), []string{"metadata.annotations[kubernetes.io/service-account.name]: Required value"}},
		"size":        {typed("Opaque", map[string][]byte{"a": make([]byte, 1<<20+1)}), []string{"data: Too long: may not be more than 1048576 bytes"}},
	})
	update(t, base, cases[*corev1.Secret]{
		"type": {func(s *corev1.Secret) { s.Type = "other" }, []string{`type: Invalid value: "other": field is immutable`}},
	})
	update(t, strings.Replace(base, "metadata", "immutable: true, metadata", 1), cases[*corev1.Secret]{
		"data": {func(s *corev1.Secret) { s.Data = map[string][]byte{"a": []byte("hidden")} }, []string{"data: Forbidden: field is immutable when `immutable` is set"}},
	})
}

func BenchmarkDeployment(b *testing.B) {
	base := parse[*appsv1.Deployment](b, baseDeployment)
	b.ReportAllocs()
	for b.Loop() {
		d := base.DeepCopy()
		defaults.Apply(d)
		if errs := validation.Create(d); len(errs) > 0 {
			b.Fatal(errs)
		}
	}
}
