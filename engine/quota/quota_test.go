package quota_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/engine/quota"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

var (
	now     = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	quotas  = quota.Quotas{Kinds: &scheme.Registry{}, Now: func() time.Time { return now }}
	podKind = schema.GroupKind{Kind: "Pod"}
)

// view is what is stored.
type view []object.Object

// Get implements object.Reader.
func (v view) Get(object.Key) object.Object { return nil }

// List implements object.Reader.
func (v view) List(kind schema.GroupKind, _ string) ([]object.Object, uint64) {
	var list []object.Object
	for _, obj := range v {
		if key, err := scheme.KeyOf(obj); err == nil && key.GroupKind == kind {
			list = append(list, obj)
		}
	}
	return list, 1
}

func amounts(pairs ...string) corev1.ResourceList {
	list := corev1.ResourceList{}
	for i := 0; i < len(pairs); i += 2 {
		list[corev1.ResourceName(pairs[i])] = resource.MustParse(pairs[i+1])
	}
	return list
}

func pod(edit ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c1"}}}}
	for _, e := range edit {
		e(p)
	}
	return p
}

func asks(requests, limits corev1.ResourceList) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Containers[0].Resources = corev1.ResourceRequirements{Requests: requests, Limits: limits}
	}
}

func quotaOf(hard corev1.ResourceList, edit ...func(*corev1.ResourceQuota)) *corev1.ResourceQuota {
	q := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "all"}, Spec: corev1.ResourceQuotaSpec{Hard: hard}}
	for _, e := range edit {
		e(q)
	}
	return q
}

// wantUsed compares amounts as people write them.
func wantUsed(t *testing.T, what string, got corev1.ResourceList, want map[string]string) {
	t.Helper()
	texts := map[string]string{}
	for name, amount := range got {
		texts[string(name)] = amount.String()
	}
	if diff := cmp.Diff(want, texts); diff != "" {
		t.Errorf("%s: used (-want +got):\n%s", what, diff)
	}
}

// What pods and Services use, as Kubernetes counts it.
func TestUsage(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	dying := func(ago time.Duration) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.DeletionTimestamp, p.DeletionGracePeriodSeconds = &metav1.Time{Time: now.Add(-ago)}, new(int64(30))
		}
	}
	service := func(typ corev1.ServiceType, edit ...func(*corev1.ServiceSpec)) *corev1.Service {
		s := &corev1.Service{Spec: corev1.ServiceSpec{Type: typ, Ports: []corev1.ServicePort{{Port: 80}, {Port: 443, NodePort: 30443}}}}
		for _, e := range edit {
			e(&s.Spec)
		}
		return s
	}
	compute := amounts("pods", "9", "count/pods", "9", "cpu", "9", "requests.cpu", "9", "limits.cpu", "9", "memory", "9Gi", "limits.memory", "9Gi")
	services := amounts("services", "9", "count/services", "9", "services.nodeports", "9", "services.loadbalancers", "9")
	for name, test := range map[string]struct {
		hard corev1.ResourceList
		objs []object.Object
		want map[string]string
	}{
		"nothing": {compute, nil, map[string]string{"pods": "0", "count/pods": "0", "cpu": "0", "requests.cpu": "0", "limits.cpu": "0", "memory": "0", "limits.memory": "0"}},
		"two pods": {
			compute,
			[]object.Object{pod(asks(amounts("cpu", "100m", "memory", "1Gi"), amounts("cpu", "1"))), pod(asks(amounts("cpu", "200m"), amounts("memory", "2Gi")))},
			map[string]string{"pods": "2", "count/pods": "2", "cpu": "300m", "requests.cpu": "300m", "limits.cpu": "1", "memory": "1Gi", "limits.memory": "2Gi"},
		},
		"first containers, and one that stays": {
			amounts("cpu", "9", "limits.cpu", "9"),
			[]object.Object{pod(asks(amounts("cpu", "1"), nil), func(p *corev1.Pod) {
				p.Spec.InitContainers = []corev1.Container{
					{Name: "large", Resources: corev1.ResourceRequirements{Requests: amounts("cpu", "3"), Limits: amounts("cpu", "4")}},
					{Name: "sidecar", RestartPolicy: &always, Resources: corev1.ResourceRequirements{Requests: amounts("cpu", "500m")}},
				}
			})},
			map[string]string{"cpu": "3", "limits.cpu": "4"},
		},
		"a sidecar counts with the others": {
			amounts("cpu", "9"),
			[]object.Object{pod(asks(amounts("cpu", "1"), nil), func(p *corev1.Pod) {
				p.Spec.InitContainers = []corev1.Container{{Name: "sidecar", RestartPolicy: &always, Resources: corev1.ResourceRequirements{Requests: amounts("cpu", "500m")}}}
			})},
			map[string]string{"cpu": "1500m"},
		},
		"overhead": {
			amounts("memory", "9Gi"),
			[]object.Object{pod(asks(amounts("memory", "1Gi"), nil), func(p *corev1.Pod) { p.Spec.Overhead = amounts("memory", "1Gi") })},
			map[string]string{"memory": "2Gi"},
		},
		"ended and lost ones": {
			compute,
			[]object.Object{
				pod(asks(amounts("cpu", "1"), nil), func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }),
				pod(asks(amounts("cpu", "1"), nil), func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }),
				pod(asks(amounts("cpu", "1"), nil), dying(31*time.Second)), pod(asks(amounts("cpu", "1"), nil), dying(29*time.Second)),
			},
			map[string]string{"pods": "1", "count/pods": "4", "cpu": "1", "requests.cpu": "1", "limits.cpu": "0", "memory": "0", "limits.memory": "0"},
		},
		"extended, huge pages, storage": {
			amounts("requests.example.com/gpu", "9", "hugepages-2Mi", "9Gi", "requests.hugepages-2Mi", "9Gi", "requests.ephemeral-storage", "9Gi", "limits.ephemeral-storage", "9Gi", "ephemeral-storage", "9Gi"),
			[]object.Object{pod(asks(amounts("example.com/gpu", "2", "hugepages-2Mi", "4Mi", "ephemeral-storage", "1Gi"), amounts("example.com/gpu", "2", "ephemeral-storage", "2Gi")))},
			map[string]string{"requests.example.com/gpu": "2", "hugepages-2Mi": "4Mi", "requests.hugepages-2Mi": "4Mi", "requests.ephemeral-storage": "1Gi", "ephemeral-storage": "1Gi", "limits.ephemeral-storage": "2Gi"},
		},
		"services": {
			services,
			[]object.Object{
				service(corev1.ServiceTypeClusterIP), service(corev1.ServiceTypeNodePort), service(corev1.ServiceTypeLoadBalancer),
				service(corev1.ServiceTypeLoadBalancer, func(s *corev1.ServiceSpec) { s.AllocateLoadBalancerNodePorts = new(false) }),
			},
			map[string]string{"services": "4", "count/services": "4", "services.nodeports": "5", "services.loadbalancers": "2"},
		},
		"objects": {
			amounts("configmaps", "9", "count/configmaps", "9", "secrets", "9", "count/roles.rbac.authorization.k8s.io", "9"),
			[]object.Object{&corev1.ConfigMap{}, &corev1.ConfigMap{}, &corev1.Secret{}},
			map[string]string{"configmaps": "2", "count/configmaps": "2", "secrets": "1", "count/roles.rbac.authorization.k8s.io": "0"},
		},
		"claims": {
			amounts("persistentvolumeclaims", "9", "count/persistentvolumeclaims", "9", "requests.storage", "9Gi", "gold.storageclass.storage.k8s.io/requests.storage", "9Gi",
				"gold.storageclass.storage.k8s.io/persistentvolumeclaims", "9", "lead.storageclass.storage.k8s.io/persistentvolumeclaims", "9"),
			[]object.Object{claim("gold", "1Gi"), claim("gold", "2Gi"), claim("tin", "4Gi"), claim("", "8Gi")},
			map[string]string{
				"persistentvolumeclaims": "4", "count/persistentvolumeclaims": "4", "requests.storage": "15Gi", "gold.storageclass.storage.k8s.io/requests.storage": "3Gi",
				"gold.storageclass.storage.k8s.io/persistentvolumeclaims": "2", "lead.storageclass.storage.k8s.io/persistentvolumeclaims": "0",
			},
		},
		"half a byte of a claim": {
			amounts("requests.storage", "9", "gold.storageclass.storage.k8s.io/requests.storage", "9"),
			[]object.Object{claim("gold", "1500m")},
			map[string]string{"requests.storage": "2", "gold.storageclass.storage.k8s.io/requests.storage": "2"},
		},
		"what is not there": {
			amounts("persistentvolumeclaims", "9", "requests.storage", "9", "replicationcontrollers", "9", "gold.storageclass.storage.k8s.io/requests.storage", "9", "count/widgets.example.com", "9"),
			nil,
			map[string]string{"persistentvolumeclaims": "0", "requests.storage": "0", "replicationcontrollers": "0", "gold.storageclass.storage.k8s.io/requests.storage": "0"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			q := quotas.Recalculate(view(test.objs), quotaOf(test.hard))
			wantUsed(t, name, q.Status.Used, test.want)
		})
	}
}

func claim(class, size string) *corev1.PersistentVolumeClaim {
	return &corev1.PersistentVolumeClaim{Spec: corev1.PersistentVolumeClaimSpec{
		StorageClassName: &class, Resources: corev1.VolumeResourceRequirements{Requests: amounts("storage", size)},
	}}
}

func selector(name corev1.ResourceQuotaScope, op corev1.ScopeSelectorOperator, values ...string) func(*corev1.ResourceQuota) {
	return func(q *corev1.ResourceQuota) {
		q.Spec.ScopeSelector = &corev1.ScopeSelector{MatchExpressions: []corev1.ScopedResourceSelectorRequirement{{ScopeName: name, Operator: op, Values: values}}}
	}
}

// Which claims a quota of a class of attributes counts: those of no class, too.
func TestScopesOfClaims(t *testing.T) {
	asks, has, gets := claim("", "1Gi"), claim("", "2Gi"), claim("", "4Gi")
	asks.Spec.VolumeAttributesClassName = new("gold")
	has.Status.CurrentVolumeAttributesClassName = new("silver")
	gets.Spec.VolumeAttributesClassName, gets.Status.CurrentVolumeAttributesClassName = new("gold"), new("silver")
	gets.Status.ModifyVolumeStatus = &corev1.ModifyVolumeStatus{TargetVolumeAttributesClassName: "gold"}
	all := view{asks, has, gets, claim("", "8Gi")}
	const scope = corev1.ResourceQuotaScopeVolumeAttributesClass
	for name, test := range map[string]struct {
		edit func(*corev1.ResourceQuota)
		want string
	}{
		"scope":        {func(q *corev1.ResourceQuota) { q.Spec.Scopes = []corev1.ResourceQuotaScope{scope} }, "7Gi"},
		"Exists":       {selector(scope, "Exists"), "7Gi"},
		"DoesNotExist": {selector(scope, "DoesNotExist"), "8Gi"},
		"In":           {selector(scope, "In", "gold"), "5Gi"},
		"NotIn":        {selector(scope, "NotIn", "gold"), "14Gi"},
		"of pods":      {selector("PriorityClass", "DoesNotExist"), "0"},
	} {
		t.Run(name, func(t *testing.T) {
			q := quotas.Recalculate(all, quotaOf(amounts("requests.storage", "99Gi"), test.edit))
			wantUsed(t, name, q.Status.Used, map[string]string{"requests.storage": test.want})
		})
	}
}

// Which pods a quota with scopes counts.
func TestScopes(t *testing.T) {
	deadline := pod(func(p *corev1.Pod) { p.Spec.ActiveDeadlineSeconds = new(int64(5)) })
	asking := pod(asks(amounts("cpu", "1"), nil))
	class := func(name string) *corev1.Pod { return pod(func(p *corev1.Pod) { p.Spec.PriorityClassName = name }) }
	elsewhere := pod(func(p *corev1.Pod) {
		p.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []corev1.WeightedPodAffinityTerm{
			{PodAffinityTerm: corev1.PodAffinityTerm{Namespaces: []string{"other"}}},
		}}}
	})
	all := view{deadline, asking, class("high"), class("low"), elsewhere}
	scopes := func(names ...corev1.ResourceQuotaScope) func(*corev1.ResourceQuota) {
		return func(q *corev1.ResourceQuota) { q.Spec.Scopes = names }
	}
	for name, test := range map[string]struct {
		edit func(*corev1.ResourceQuota)
		want string
	}{
		"none":                        {scopes(), "5"},
		"Terminating":                 {scopes("Terminating"), "1"},
		"NotTerminating":              {scopes("NotTerminating"), "4"},
		"BestEffort":                  {scopes("BestEffort"), "4"},
		"NotBestEffort":               {scopes("NotBestEffort"), "1"},
		"both":                        {scopes("NotTerminating", "BestEffort"), "3"},
		"PriorityClass":               {scopes("PriorityClass"), "2"},
		"PriorityClass In":            {selector("PriorityClass", "In", "high"), "1"},
		"PriorityClass NotIn":         {selector("PriorityClass", "NotIn", "high"), "4"},
		"PriorityClass DoesNotExist":  {selector("PriorityClass", "DoesNotExist"), "3"},
		"CrossNamespacePodAffinity":   {scopes("CrossNamespacePodAffinity"), "1"},
		"of claims, which are no pod": {selector("VolumeAttributesClass", "Exists"), "0"},
	} {
		t.Run(name, func(t *testing.T) {
			q := quotas.Recalculate(all, quotaOf(amounts("pods", "9"), test.edit))
			wantUsed(t, name, q.Status.Used, map[string]string{"pods": test.want})
		})
	}
}

// What a change makes of a quota, and why it is refused.
func TestCharge(t *testing.T) {
	key := object.Key{GroupKind: podKind, Namespace: "shop", Name: "web"}
	balancer := &corev1.Service{Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, Ports: []corev1.ServicePort{{Port: 80}}}}
	plain := &corev1.Service{Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP, Ports: []corev1.ServicePort{{Port: 80}}}}
	for _, svc := range []*corev1.Service{balancer, plain} {
		svc.Namespace, svc.Name, svc.ResourceVersion = "shop", "web", "1"
	}
	succeeded := pod(asks(amounts("cpu", "1"), nil), func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded })
	for name, test := range map[string]struct {
		hard, used corev1.ResourceList
		next, old  object.Object
		want       map[string]string // nil: the quota is left alone
		refusal    string
	}{
		"one more":                    {amounts("pods", "2"), amounts("pods", "1"), pod(), nil, map[string]string{"pods": "2"}, ""},
		"one too many":                {amounts("pods", "2"), amounts("pods", "2"), pod(), nil, nil, `pods "web" is forbidden: exceeded quota: all, requested: pods=1, used: pods=2, limited: pods=2`},
		"two resources":               {amounts("pods", "2", "requests.cpu", "1"), amounts("pods", "2", "requests.cpu", "800m"), pod(asks(amounts("cpu", "300m"), nil)), nil, nil, `pods "web" is forbidden: exceeded quota: all, requested: pods=1,requests.cpu=300m, used: pods=2,requests.cpu=800m, limited: pods=2,requests.cpu=1`},
		"says nothing":                {amounts("limits.cpu", "2"), amounts("limits.cpu", "0"), pod(), nil, nil, `pods "web" is forbidden: failed quota: all: must specify limits.cpu for: c1`},
		"of storage":                  {amounts("limits.ephemeral-storage", "2"), amounts("limits.ephemeral-storage", "0"), pod(), nil, nil, ""},
		"deleted":                     {amounts("pods", "2"), amounts("pods", "2"), nil, pod(), map[string]string{"pods": "1"}, ""},
		"has ended":                   {amounts("pods", "2", "count/pods", "2", "cpu", "2"), amounts("pods", "2", "count/pods", "2", "cpu", "2"), succeeded, pod(asks(amounts("cpu", "1"), nil)), map[string]string{"pods": "1", "count/pods": "2", "cpu": "1"}, ""},
		"never negative":              {amounts("pods", "2"), amounts("pods", "0"), nil, pod(), map[string]string{"pods": "0"}, ""},
		"another kind":                {amounts("secrets", "0"), amounts("secrets", "0"), pod(), nil, nil, ""},
		"in excess already, and less": {amounts("pods", "1"), amounts("pods", "3"), nil, pod(), map[string]string{"pods": "2"}, ""},
		"not counted yet":             {amounts("pods", "2"), amounts(), pod(), nil, map[string]string{"pods": "1"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			q := quotaOf(test.hard)
			q.Status = corev1.ResourceQuotaStatus{Hard: test.hard, Used: test.used}
			var stored view
			if test.next != nil {
				stored = view{test.next}
			}
			got, err := quotas.Charge(stored, q, key, test.next, test.old)
			wantCharge(t, q, got, err, test.want, test.refusal)
		})
	}
	svcKey := object.Key{GroupKind: schema.GroupKind{Kind: "Service"}, Namespace: "shop", Name: "web"}
	for name, test := range map[string]struct {
		used, refusal string
		want          map[string]string
	}{
		"becomes a load balancer":      {"0", "", map[string]string{"services": "1", "services.loadbalancers": "1"}},
		"may not, as there is one yet": {"1", `services "web" is forbidden: exceeded quota: all, requested: services.loadbalancers=1, used: services.loadbalancers=1, limited: services.loadbalancers=1`, nil},
	} {
		t.Run(name, func(t *testing.T) {
			q := quotaOf(amounts("services", "1", "services.loadbalancers", "1"))
			q.Status = corev1.ResourceQuotaStatus{Hard: q.Spec.Hard, Used: amounts("services", "1", "services.loadbalancers", test.used)}
			got, err := quotas.Charge(view{balancer}, q, svcKey, balancer, plain)
			wantCharge(t, q, got, err, test.want, test.refusal)
		})
	}
}

func wantCharge(t *testing.T, q, got *corev1.ResourceQuota, err error, want map[string]string, refusal string) {
	t.Helper()
	switch {
	case refusal != "":
		if err == nil || err.Error() != refusal {
			t.Errorf("error = %v, want %s", err, refusal)
		}
	case err != nil:
		t.Error(err)
	case want == nil:
		if got != q {
			t.Errorf("used = %v, want the quota left alone", got.Status.Used)
		}
	default:
		wantUsed(t, "charge", got.Status.Used, want)
	}
}
