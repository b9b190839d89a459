package aggregate

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
)

// The reasons and messages are Kubernetes'.
func TestJudge(t *testing.T) {
	s := &apiregistrationv1.APIService{Spec: apiregistrationv1.APIServiceSpec{Service: &apiregistrationv1.ServiceReference{Namespace: "shop", Name: "api", Port: new(int32(443))}}}
	service := func(edit func(*corev1.ServiceSpec)) *corev1.Service {
		svc := &corev1.Service{Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP, Ports: []corev1.ServicePort{{Name: "https", Port: 443}}}}
		edit(&svc.Spec)
		return svc
	}
	as := func(*corev1.ServiceSpec) {}
	slice := func(port string, ready *bool) *discoveryv1.EndpointSlice {
		return &discoveryv1.EndpointSlice{
			Ports:     []discoveryv1.EndpointPort{{Name: &port, Port: new(int32(8443))}},
			Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.0.0.1"}, Conditions: discoveryv1.EndpointConditions{Ready: ready}}},
		}
	}
	for name, c := range map[string]struct {
		service         *corev1.Service
		slices          []*discoveryv1.EndpointSlice
		reason, message string
	}{
		"no Service": {reason: "ServiceNotFound", message: `service/api in "shop" is not present`},
		"no port": {
			service: service(func(s *corev1.ServiceSpec) { s.Ports[0].Port = 80 }),
			reason:  "ServicePortError", message: `service/api in "shop" is not listening on port 443`,
		},
		"no slice": {service: service(as), reason: "EndpointsNotFound", message: `cannot find endpointslices for service/api in "shop"`},
		"not ready": {
			service: service(as), slices: []*discoveryv1.EndpointSlice{slice("https", new(false))},
			reason: "MissingEndpoints", message: `endpointslices for service/api in "shop" have no addresses with port name "https"`,
		},
		"another port": {
			service: service(as), slices: []*discoveryv1.EndpointSlice{slice("http", nil)},
			reason: "MissingEndpoints", message: `endpointslices for service/api in "shop" have no addresses with port name "https"`,
		},
		"one of two slices":     {service: service(as), slices: []*discoveryv1.EndpointSlice{slice("http", nil), slice("https", new(true))}},
		"a name":                {service: service(func(s *corev1.ServiceSpec) { s.Type, s.Ports = corev1.ServiceTypeExternalName, nil })},
		"nothing said of ready": {service: service(as), slices: []*discoveryv1.EndpointSlice{slice("https", nil)}},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := judge(s, c.service, c.slices)
			if ok != (c.reason == "") || got.Reason != c.reason || got.Message != c.message || !ok && got.Status != apiregistrationv1.ConditionFalse {
				t.Errorf("%v, %+v", ok, got)
			}
		})
	}
}

func TestVersionIn(t *testing.T) {
	for path, want := range map[string]string{
		"/apis": "/", "/apis/": "/", "/apis/a.b": "a.b/", "/apis/a.b/": "a.b/", "/apis/a.b/v1": "a.b/v1", "/apis/a.b/v1/things/x": "a.b/v1", "/apis//v1": "/v1",
		"/api/v1": "", "/apisa/b": "", "/": "", "": "",
	} {
		gv, ok := versionIn(path)
		if got := gv.Group + "/" + gv.Version; ok != (want != "") || ok && got != want {
			t.Errorf("%s: %s, %v, want %q", path, got, ok, want)
		}
	}
}
