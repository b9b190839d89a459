package api_test

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/rest"

	"headway.dev/engine/api/apitest"
)

// TestWarnings: what is accepted and is hardly what was meant is told, in Kubernetes'
// words; of a change only if it is about that.
func TestWarnings(t *testing.T) {
	s := apitest.Start(t)
	client, err := rest.HTTPClientFor(s.Config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.CloseIdleConnections)
	send := func(method, path, content, body string) []string {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", content)
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		answer, err := io.ReadAll(response.Body)
		if err != nil || response.StatusCode > http.StatusCreated {
			t.Errorf("%s %s is answered %d: %v %s", method, path, response.StatusCode, err, answer)
		}
		headers, errs := net.ParseWarningHeaders(response.Header["Warning"])
		if len(errs) > 0 {
			t.Errorf("%s %s: %v", method, path, errs)
		}
		var told []string
		for _, h := range headers {
			told = append(told, h.Text)
		}
		return told
	}
	const (
		core = "/api/v1/namespaces/default/"
		apps = "/apis/apps/v1/namespaces/default/"
		jobs = "/apis/batch/v1/namespaces/default/jobs"
		odd  = `containers: [{name: a, image: a, resources: {limits: {memory: 100m}}, env: [{name: A, value: v}, {name: A, value: w}], ports: [{name: p, containerPort: 1}, {containerPort: 1, hostPort: 2}]}]`
	)
	oddly := func(path string) []string {
		return []string{
			path + `spec.containers[0].resources.limits[memory]: fractional byte value "100m" is invalid, must be an integer`,
			path + `spec.containers[0].env[1]: hides previous definition of "A", which may be dropped when using apply`,
			path + `spec.containers[0].ports[1]: overlapping port definition with ` + path + `spec.containers[0].ports[0]`,
		}
	}
	workload := func(kind, name string) string {
		return `{apiVersion: apps/v1, kind: ` + kind + `, metadata: {name: ` + name + `}, spec: {selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {` + odd + `}}}}`
	}
	dotted := `metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: [must not contain dots]`
	for _, c := range []struct {
		path, body string
		want       []string
	}{
		{core + "pods", `{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {` + odd + `}}`, slices.Insert(oddly(""), 1, `spec.containers[0].resources.requests[memory]: fractional byte value "100m" is invalid, must be an integer`)},
		{core + "pods", `{apiVersion: v1, kind: Pod, metadata: {name: b.c}, spec: {nodeSelector: {beta.kubernetes.io/os: linux}, containers: [{name: a, image: a}]}}`, []string{
			"metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: [must not contain dots]",
			`spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use "kubernetes.io/os" instead`,
		}},
		{core + "podtemplates", `{apiVersion: v1, kind: PodTemplate, metadata: {name: a}, template: {spec: {` + odd + `}}}`, oddly("template.")},
		{apps + "deployments", workload("Deployment", "a"), oddly("spec.template.")},
		{apps + "replicasets", workload("ReplicaSet", "a.b"), append([]string{dotted}, oddly("spec.template.")...)},
		{apps + "statefulsets", `{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: a}, spec: {replicas: 0, revisionHistoryLimit: -1, selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: a, image: a}]}},
volumeClaimTemplates: [{metadata: {name: a}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1100m}}}}]}}`, []string{
			`spec.volumeClaimTemplates[0].resources.requests[storage]: fractional byte value "1100m" is invalid, must be an integer`,
			"spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended",
		}},
		{core + "persistentvolumeclaims", `{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: a, annotations: {volume.beta.kubernetes.io/storage-class: none}}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1100m}}}}`, []string{
			`metadata.annotations[volume.beta.kubernetes.io/storage-class]: deprecated since v1.8; use "storageClassName" attribute instead`,
			`spec.resources.requests[storage]: fractional byte value "1100m" is invalid, must be an integer`,
		}},
		{"/api/v1/persistentvolumes", `{apiVersion: v1, kind: PersistentVolume, metadata: {name: a, annotations: {volume.beta.kubernetes.io/mount-options: ro}}, spec: {accessModes: [ReadWriteOnce], capacity: {storage: 1}, hostPath: {path: /a},
nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: beta.kubernetes.io/os, operator: Exists}]}]}}}}`, []string{
			`metadata.annotations[volume.beta.kubernetes.io/mount-options]: deprecated since v1.31; use "mountOptions" attribute instead`,
			`spec.nodeAffinity.required.nodeSelectorTerms[0].matchExpressions[0].key: beta.kubernetes.io/os is deprecated since v1.14; use "kubernetes.io/os" instead`,
		}},
		{jobs, `{apiVersion: batch/v1, kind: Job, metadata: {name: a}, spec: {suspend: true, completionMode: Indexed, completions: 100001, parallelism: 10001, template: {spec: {restartPolicy: Never, containers: [{name: a, image: a}]}}}}`, []string{
			"spec: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes fail",
		}},
		{core + "services", `{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {clusterIP: None, sessionAffinity: ClientIP, ports: [{port: 1}]}}`, []string{"spec.SessionAffinity is ignored for headless services"}},
		{core + "services", `{apiVersion: v1, kind: Service, metadata: {name: b, annotations: {service.kubernetes.io/topology-mode: Auto}}, spec: {ports: [{port: 1}]}}`, []string{`annotation service.kubernetes.io/topology-mode: "Auto" has no effect, use spec.trafficDistribution instead`}},
		{core + "secrets", `{apiVersion: v1, kind: Secret, type: kubernetes.io/tls, metadata: {name: a}, data: {tls.crt: "", tls.key: ""}}`, []string{"tls: failed to find any PEM data in certificate input"}},
		{core + "serviceaccounts", `{apiVersion: v1, kind: ServiceAccount, metadata: {name: a, annotations: {kubernetes.io/enforce-mountable-secrets: "true"}}}`, []string{"metadata.annotations[kubernetes.io/enforce-mountable-secrets]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets"}},
		{core + "resourcequotas", `{apiVersion: v1, kind: ResourceQuota, metadata: {name: a}, spec: {hard: {cpu: 2, limits.cpu: 1}}}`, []string{"ResourceQuota cpu (2) should be less than limits.cpu (1)"}},
		{core + "endpoints", `{apiVersion: v1, kind: Endpoints, metadata: {name: a}, subsets: [{addresses: [{ip: "2001:DB8::1"}], ports: [{port: 1}]}]}`, []string{
			"v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
			`subsets[0].addresses[0].ip: IPv6 address "2001:DB8::1" should be in RFC 5952 canonical format ("2001:db8::1")`,
		}},
		{"/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", `{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: a}, addressType: FQDN, endpoints: [{addresses: [a.example.com]}]}`, []string{"spec.addressType: FQDN endpoints are deprecated"}},
		{"/apis/networking.k8s.io/v1/namespaces/default/networkpolicies", `{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: a}, spec: {podSelector: {}, egress: [{to: [{ipBlock: {cidr: "2001:DB8::/32"}}]}]}}`, []string{
			`spec.egress[0].to[0].ipBlock.cidr: IPv6 CIDR value "2001:DB8::/32" should be in RFC 5952 canonical format ("2001:db8::/32")`,
		}},
		{"/apis/networking.k8s.io/v1/namespaces/default/ingresses", `{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: a, annotations: {kubernetes.io/ingress.class: other}}, spec: {defaultBackend: {service: {name: a, port: {number: 1}}}}}`, []string{
			`annotation "kubernetes.io/ingress.class" is deprecated, please use 'spec.ingressClassName' instead`,
		}},
		{"/apis/networking.k8s.io/v1/namespaces/default/ingresses", `{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: b}, spec: {ingressClassName: other, defaultBackend: {service: {name: a, port: {number: 1}}}}}`, nil},
		{"/apis/node.k8s.io/v1/runtimeclasses", `{apiVersion: node.k8s.io/v1, kind: RuntimeClass, metadata: {name: a}, handler: runc, scheduling: {nodeSelector: {beta.kubernetes.io/os: linux}}}`, []string{
			`scheduling.nodeSelector: deprecated since v1.14; use "kubernetes.io/os" instead`,
		}},
		{"/api/v1/nodes", `{apiVersion: v1, kind: Node, metadata: {name: a}, spec: {externalID: x}}`, []string{"spec.externalID: this field is deprecated, and is unused by Kubernetes", "spec.externalID: not supported yet and without effect: nothing reads it"}},
		{"/apis/apiextensions.k8s.io/v1/customresourcedefinitions", `{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: as.example.com}, spec: {group: example.com, scope: Cluster, names: {plural: as, kind: A},
versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, properties: {a: {type: string, format: shoe-size}, b: {type: array, x-kubernetes-list-type: set, items: {type: object, x-kubernetes-map-type: atomic}}}}}}]}}`, []string{
			`unrecognized format "shoe-size"`,
			`x-kubernetes-list-type: set for items of type "object" is not supported by server-side apply or CEL validation rules`,
		}},
	} {
		if told := send(http.MethodPost, c.path, yamlBody, c.body); !slices.Equal(told, c.want) {
			t.Errorf("%.60s is told\n%s\nwant\n%s", c.body, strings.Join(told, "\n"), strings.Join(c.want, "\n"))
		}
	}
	for patch, want := range map[string][]string{
		`{"metadata":{"labels":{"a":"b"}}}`: nil,
		`{"spec":{"replicas":3}}`:           oddly("spec.template."),
	} {
		if told := send(http.MethodPatch, apps+"deployments/a", "application/merge-patch+json", patch); !slices.Equal(told, want) {
			t.Errorf("%s is told %q", patch, told)
		}
	}
	// Nothing removes a Job that leaves its pods behind: each has its own name.
	for _, c := range []struct {
		name, options string
		want          []string
	}{
		{"background", `{"propagationPolicy":"Background"}`, nil},
		{"orphans", `{}`, []string{"child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning"}},
	} {
		send(http.MethodPost, jobs, yamlBody, `{apiVersion: batch/v1, kind: Job, metadata: {name: `+c.name+`}, spec: {suspend: true, template: {spec: {restartPolicy: Never, containers: [{name: a, image: a}]}}}}`)
		if told := send(http.MethodDelete, jobs+"/"+c.name, "application/json", c.options); !slices.Equal(told, c.want) {
			t.Errorf("a deletion with %s is told %q", c.options, told)
		}
	}
	if told := send(http.MethodPatch, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/as.example.com", "application/merge-patch+json", `{"spec":{"names":{"shortNames":["aa"]}}}`); told != nil {
		t.Errorf("a definition with the same schema is told %q", told)
	}
}
