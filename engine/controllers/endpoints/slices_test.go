package endpoints_test

import (
	"fmt"
	"math/rand"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"headway.dev/engine/controllers/endpoints"
)

func noZone(string) string { return "" }

func service(edit ...func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "svc", Labels: map[string]string{"team": "x"}},
		Spec: corev1.ServiceSpec{
			ClusterIP: "10.96.0.9", IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol}, Selector: map[string]string{"app": "web"},
			Ports: []corev1.ServicePort{{Name: "http", Protocol: corev1.ProtocolTCP, Port: 80, TargetPort: intstr.FromString("http")}},
		},
	}
	for _, e := range edit {
		e(s)
	}
	return s
}

func pod(i int, edit ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("web-%d", i), UID: types.UID(fmt.Sprintf("uid-%d", i))},
		Spec:       corev1.PodSpec{NodeName: "a", Containers: []corev1.Container{{Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080, Protocol: corev1.ProtocolTCP}}}}},
		Status: corev1.PodStatus{
			Phase: corev1.PodRunning, PodIP: fmt.Sprintf("10.1.%d.%d", i/200, i%200+1),
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
		},
	}
	for _, e := range edit {
		e(p)
	}
	return p
}

func unready(p *corev1.Pod)     { p.Status.Conditions[0].Status = corev1.ConditionFalse }
func terminating(p *corev1.Pod) { p.DeletionTimestamp = new(metav1.NewTime(time.Unix(1, 0))) }

// The conditions of an endpoint follow from its pod's.
func TestConditions(t *testing.T) {
	type conditions struct{ Ready, Serving, Terminating bool }
	publish := func(s *corev1.Service) { s.Spec.PublishNotReadyAddresses = true }
	for _, tc := range []struct {
		name string
		svc  *corev1.Service
		pod  *corev1.Pod
		want *conditions
	}{
		{"ready", service(), pod(0), &conditions{true, true, false}},
		{"not ready", service(), pod(0, unready), &conditions{false, false, false}},
		{"terminating and serving", service(), pod(0, terminating), &conditions{false, true, true}},
		{"terminating", service(), pod(0, unready, terminating), &conditions{false, false, true}},
		{"published before it is ready", service(publish), pod(0, unready), &conditions{true, false, false}},
		{"without an address", service(), pod(0, func(p *corev1.Pod) { p.Status.PodIP = "" }), nil},
		{"ended", service(), pod(0, func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }), nil},
		{"of the other family", service(), pod(0, func(p *corev1.Pod) { p.Status.PodIP = "fd00::1" }), nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			plan := endpoints.DecideSlices(tc.svc, []*corev1.Pod{tc.pod}, nil, noZone)
			if len(plan.Create) != 1 {
				t.Fatalf("plan = %+v, want one slice", plan)
			}
			var got *conditions
			if e := plan.Create[0].Endpoints; len(e) > 0 {
				got = &conditions{*e[0].Conditions.Ready, *e[0].Conditions.Serving, *e[0].Conditions.Terminating}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("conditions (-want +got):\n%s", diff)
			}
		})
	}
}

// A slice is what Kubernetes' controller makes of a Service.
func TestSlice(t *testing.T) {
	svc := service(func(s *corev1.Service) { s.Spec.ClusterIP = corev1.ClusterIPNone })
	p := pod(0, func(p *corev1.Pod) { p.Spec.Hostname, p.Spec.Subdomain = "first", "web" })
	got := endpoints.DecideSlices(svc, []*corev1.Pod{p}, nil, func(string) string { return "zone-1" }).Create[0]
	want := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", GenerateName: "web-",
			Labels: map[string]string{
				"team": "x", "kubernetes.io/service-name": "web", "service.kubernetes.io/headless": "",
				"endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
			},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Service", Name: "web", UID: "svc", Controller: new(true), BlockOwnerDeletion: new(true)}},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: new("http"), Port: ptr.To[int32](8080), Protocol: new(corev1.ProtocolTCP)}},
		Endpoints: []discoveryv1.Endpoint{{
			Addresses: []string{"10.1.0.1"}, Hostname: new("first"), NodeName: new("a"), Zone: new("zone-1"),
			Conditions: discoveryv1.EndpointConditions{Ready: new(true), Serving: new(true), Terminating: new(false)},
			TargetRef:  &corev1.ObjectReference{Kind: "Pod", Namespace: "default", Name: "web-0", UID: "uid-0"},
		}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("slice (-want +got):\n%s", diff)
	}
}

// A slice that others have made larger than ours are stays as it is.
func TestOverfullSlice(t *testing.T) {
	var pods []*corev1.Pod
	for i := range 150 {
		pods = append(pods, pod(i))
	}
	// One slice of 140 that somebody else has filled, and ten new pods.
	full := endpoints.DecideSlices(service(), pods[:100], nil, noZone).Create[0]
	full.Name = "web-full"
	rest := endpoints.DecideSlices(service(), pods[100:140], nil, noZone).Create[0]
	full.Endpoints = append(full.Endpoints, rest.Endpoints...)
	plan := endpoints.DecideSlices(service(), pods, []*discoveryv1.EndpointSlice{full}, noZone)
	if len(plan.Create) != 1 || len(plan.Create[0].Endpoints) != 10 || len(plan.Update)+len(plan.Delete) != 0 {
		t.Errorf("plan creates %d, updates %d, deletes %d slices; want one more with the ten new endpoints", len(plan.Create), len(plan.Update), len(plan.Delete))
	}
}

// Pods in which the named port is another number get a slice of their own.
func TestNamedPorts(t *testing.T) {
	other := pod(1, func(p *corev1.Pod) { p.Spec.Containers[0].Ports[0].ContainerPort = 9090 })
	plan := endpoints.DecideSlices(service(), []*corev1.Pod{pod(0), other}, nil, noZone)
	var ports []int32
	for _, s := range plan.Create {
		ports = append(ports, *s.Ports[0].Port)
	}
	if slices.Sort(ports); !slices.Equal(ports, []int32{8080, 9090}) {
		t.Errorf("slices for the ports %v, want 8080 and 9090", ports)
	}
}

// However pods come and go: each has its one endpoint, no slice is too large,
// a plan for what is already so is empty, and one change touches one slice.
func TestSlicesProperties(t *testing.T) {
	for seed := range int64(12) {
		r := rand.New(rand.NewSource(seed))
		pods := map[int]*corev1.Pod{}
		var existing []*discoveryv1.EndpointSlice
		names := 0
		apply := func() endpoints.SlicePlan {
			var list []*corev1.Pod
			for _, p := range pods {
				list = append(list, p)
			}
			slices.SortFunc(list, func(a, b *corev1.Pod) int { return (len(a.Name)-len(b.Name))*1000 + strings.Compare(a.Name, b.Name) })
			plan := endpoints.DecideSlices(service(), list, existing, noZone)
			for _, s := range plan.Create {
				names++
				s.Name = fmt.Sprint(names)
				existing = append(existing, s)
			}
			for _, u := range plan.Update {
				for i := range existing {
					if existing[i].Name == u.Name {
						existing[i] = u
					}
				}
			}
			for _, d := range plan.Delete {
				existing = slices.DeleteFunc(existing, func(s *discoveryv1.EndpointSlice) bool { return s.Name == d.Name })
			}
			return plan
		}
		for range 20 {
			for range r.Intn(120) {
				i := r.Intn(400)
				if pods[i] == nil {
					pods[i] = pod(i)
				} else {
					delete(pods, i)
				}
			}
			apply()
			count := 0
			for _, s := range existing {
				if len(s.Endpoints) > 100 || len(s.Endpoints) == 0 && len(existing) > 1 {
					t.Fatalf("seed %d: a slice of %d among %d", seed, len(s.Endpoints), len(existing))
				}
				count += len(s.Endpoints)
			}
			if count != len(pods) {
				t.Fatalf("seed %d: %d endpoints for %d pods", seed, count, len(pods))
			}
			if p := apply(); len(p.Create)+len(p.Update)+len(p.Delete) > 0 {
				t.Fatalf("seed %d: a second plan is not empty: %d, %d, %d", seed, len(p.Create), len(p.Update), len(p.Delete))
			}
			for i := range pods {
				pods[i] = pod(i, unready)
				if p := apply(); len(p.Create)+len(p.Delete) > 0 || len(p.Update) != 1 {
					t.Fatalf("seed %d: one pod's change creates %d, updates %d, deletes %d slices", seed, len(p.Create), len(p.Update), len(p.Delete))
				}
				pods[i] = pod(i)
				apply()
				break
			}
		}
	}
}

// The Endpoints object leaves out what terminates and tells the rest apart.
func TestObject(t *testing.T) {
	got := endpoints.DecideObject(service(), []*corev1.Pod{pod(1), pod(0), pod(2, unready), pod(3, terminating)}, nil)
	ref := func(i int) *corev1.ObjectReference {
		return &corev1.ObjectReference{Kind: "Pod", Namespace: "default", Name: fmt.Sprintf("web-%d", i), UID: types.UID(fmt.Sprintf("uid-%d", i))}
	}
	want := []corev1.EndpointSubset{{
		Addresses: []corev1.EndpointAddress{
			{IP: "10.1.0.1", NodeName: new("a"), TargetRef: ref(0)}, {IP: "10.1.0.2", NodeName: new("a"), TargetRef: ref(1)},
		},
		NotReadyAddresses: []corev1.EndpointAddress{{IP: "10.1.0.3", NodeName: new("a"), TargetRef: ref(2)}},
		Ports:             []corev1.EndpointPort{{Name: "http", Port: 8080, Protocol: corev1.ProtocolTCP}},
	}}
	if diff := cmp.Diff(want, got.Subsets); diff != "" {
		t.Errorf("subsets (-want +got):\n%s", diff)
	}
	if again := endpoints.DecideObject(service(), []*corev1.Pod{pod(0), pod(1), pod(2, unready)}, got); again != nil {
		t.Errorf("the order of the pods changes the object: %+v", again.Subsets)
	}
}

// trafficDistribution becomes hints: of the endpoint's zone, or of its node and
// its zone; where neither is known there is none.
func TestHints(t *testing.T) {
	distribution := func(d string) func(*corev1.Service) {
		return func(s *corev1.Service) { s.Spec.TrafficDistribution = &d }
	}
	zones := []discoveryv1.ForZone{{Name: "zone-1"}}
	nodes := []discoveryv1.ForNode{{Name: "a"}}
	inZone := func(string) string { return "zone-1" }
	for _, tc := range []struct {
		name string
		svc  *corev1.Service
		pod  *corev1.Pod
		zone endpoints.Zone
		want *discoveryv1.EndpointHints
	}{
		{"none", service(), pod(0), inZone, nil},
		{"PreferClose", service(distribution("PreferClose")), pod(0), inZone, &discoveryv1.EndpointHints{ForZones: zones}},
		{"PreferSameZone", service(distribution("PreferSameZone")), pod(0), inZone, &discoveryv1.EndpointHints{ForZones: zones}},
		{"PreferSameZone, no zone", service(distribution("PreferSameZone")), pod(0), noZone, nil},
		{"PreferSameNode", service(distribution("PreferSameNode")), pod(0), inZone, &discoveryv1.EndpointHints{ForNodes: nodes, ForZones: zones}},
		{"PreferSameNode, no zone", service(distribution("PreferSameNode")), pod(0), noZone, &discoveryv1.EndpointHints{ForNodes: nodes}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			slice := endpoints.DecideSlices(tc.svc, []*corev1.Pod{tc.pod}, nil, tc.zone).Create[0]
			if diff := cmp.Diff(tc.want, slice.Endpoints[0].Hints); diff != "" {
				t.Errorf("hints (-want +got):\n%s", diff)
			}
			// Hints come and go with the field.
			plain := endpoints.DecideSlices(service(), []*corev1.Pod{tc.pod}, []*discoveryv1.EndpointSlice{slice}, tc.zone)
			if tc.want != nil && (len(plain.Update) != 1 || plain.Update[0].Endpoints[0].Hints != nil) {
				t.Errorf("without the field: %+v", plain)
			}
		})
	}
}
