package validation_test

import (
	"testing"

	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
)

func TestAPIService(t *testing.T) {
	type service = apiregistrationv1.APIService
	base := `{apiVersion: apiregistration.k8s.io/v1, kind: APIService, metadata: {name: v1.example.com}, spec: {group: example.com, version: v1, groupPriorityMinimum: 100, versionPriority: 10, service: {namespace: shop, name: api}}}`
	create(t, base, cases[*service]{
		"as it is": {func(*service) {}, nil},
		"name":     {func(s *service) { s.Name = "v2.example.com" }, []string{"metadata.name: Invalid value: \"v2.example.com\": must be `spec.version+\".\"+spec.group`: \"v1.example.com\""}},
		"path":     {func(s *service) { s.Name = "a/b" }, []string{`metadata.name: Invalid value: "a/b": may not contain '/'`}},
		"no group": {func(s *service) { s.Name, s.Spec.Group, s.Spec.Version = "v2.", "", "v2" }, []string{
			"spec.group: Required value: only v1 may have an empty group and it better be legacy kube", "spec.service: Forbidden: Headway serves the legacy group itself",
		}},
		"group": {func(s *service) { s.Name, s.Spec.Group = "v1.A", "A" }, []string{
			`spec.group: Invalid value: "A": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')`,
		}},
		"version": {func(s *service) { s.Name, s.Spec.Version = "1.example.com", "1" }, []string{
			`spec.version: Invalid value: "1": a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')`,
		}},
		"no priorities": {func(s *service) { s.Spec.GroupPriorityMinimum, s.Spec.VersionPriority = 0, 0 }, []string{
			"spec.groupPriorityMinimum: Invalid value: 0: must be positive and less than 20000", "spec.versionPriority: Invalid value: 0: must be positive and less than 1000",
		}},
		"highest priorities": {func(s *service) { s.Spec.GroupPriorityMinimum, s.Spec.VersionPriority = 20000, 1000 }, nil},
		"higher priorities": {func(s *service) { s.Spec.GroupPriorityMinimum, s.Spec.VersionPriority = 20001, 1001 }, []string{
			"spec.groupPriorityMinimum: Invalid value: 20001: must be positive and less than 20000", "spec.versionPriority: Invalid value: 1001: must be positive and less than 1000",
		}},
		"no names": {func(s *service) { s.Spec.Service.Namespace, s.Spec.Service.Name = "", "" }, []string{"spec.service.name: Required value", "spec.service.namespace: Required value"}},
		"port": {func(s *service) { s.Spec.Service.Port = new(int32(70000)) }, []string{
			"spec.service.port: Invalid value: 70000: port is not valid: must be between 1 and 65535, inclusive",
		}},
		"verified or not": {func(s *service) { s.Spec.InsecureSkipTLSVerify, s.Spec.CABundle = true, []byte("x") }, []string{
			"spec.insecureSkipTLSVerify: Invalid value: true: may not be true if caBundle is present",
		}},
		"local": {func(s *service) { s.Spec.Service = nil }, nil},
		"local with TLS": {func(s *service) {
			s.Spec.Service, s.Spec.InsecureSkipTLSVerify, s.Spec.CABundle = nil, true, []byte("xy")
		}, []string{
			`spec.caBundle: Invalid value: "2 bytes": local APIServices may not have a caBundle`, "spec.insecureSkipTLSVerify: Invalid value: true: local APIServices may not have insecureSkipTLSVerify",
		}},
		"Headway's own group": {func(s *service) { s.Name, s.Spec.Group = "v1.apps", "apps" }, []string{"spec.service: Forbidden: Headway serves apps itself"}},
		"another version of it": {func(s *service) {
			s.Name, s.Spec.Group, s.Spec.Version = "v9.authorization.k8s.io", "authorization.k8s.io", "v9"
		}, []string{
			"spec.service: Forbidden: Headway serves authorization.k8s.io itself",
		}},
	})
	update(t, base, cases[*service]{
		"taken over": {func(s *service) { s.Name, s.Spec.Group = "v1.apps", "apps" }, []string{
			`metadata.name: Invalid value: "v1.apps": field is immutable`, "spec.service: Forbidden: Headway serves apps itself",
		}},
		"port": {func(s *service) { s.Spec.Service.Port = new(int32(8443)) }, nil},
	})
	updateStatus(t, base, cases[*service]{
		"condition": {func(s *service) {
			s.Status.Conditions = []apiregistrationv1.APIServiceCondition{{Type: "Available", Status: "Perhaps"}}
		}, []string{`status.conditions[0].status: Unsupported value: "Perhaps": supported values: "True", "False", "Unknown"`}},
	})
}
