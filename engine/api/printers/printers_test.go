package printers_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	nodev1 "k8s.io/api/node/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	storagev1 "k8s.io/api/storage/v1"
	storagemigrationv1 "k8s.io/api/storagemigration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"

	"headway.dev/engine/api/printers"
	"headway.dev/manifests/model/scheme"
)

func row(t *testing.T, obj runtime.Object) string {
	t.Helper()
	gvks, _, err := scheme.Scheme.ObjectKinds(obj)
	if err != nil {
		t.Fatal(err)
	}
	kind, ok := scheme.ForKind(gvks[0].GroupKind())
	if !ok {
		t.Fatalf("no kind %s", gvks[0])
	}
	table, err := printers.For(kind).ConvertToTable(context.Background(), obj, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := len(table.Rows[0].Cells), len(table.ColumnDefinitions); got != want {
		t.Errorf("%T: %d cells in %d columns", obj, got, want)
	}
	var cells []string
	for _, c := range table.Rows[0].Cells {
		cells = append(cells, fmt.Sprint(c))
	}
	return strings.Join(cells, "|")
}

// Every kind has as many cells as columns, and its list, too.
func TestColumns(t *testing.T) {
	for _, kind := range scheme.Kinds() {
		// As in Kubernetes roles show when they were created instead of their age,
		// and pod templates and migrations neither.
		if got := row(t, kind.New()); kind.Kind != "PodTemplate" && kind.Kind != "StorageVersionMigration" && !strings.Contains(got, "<unknown>") && !strings.HasSuffix(got, "|0001-01-01T00:00:00Z") {
			t.Errorf("%s: no age in %q", kind.Kind, got)
		}
		table, err := printers.For(kind).ConvertToTable(context.Background(), kind.NewList(), &metav1.TableOptions{NoHeaders: true})
		if err != nil || len(table.Rows) != 0 || len(table.ColumnDefinitions) != 0 {
			t.Errorf("empty list of %s without headers: %v, %v", kind.Kind, table, err)
		}
	}
}

func waiting(reason string) corev1.ContainerState {
	return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason}}
}

func ended(code int32, reason string) corev1.ContainerState {
	return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Reason: reason}}
}

var running = corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}

// The columns READY, STATUS and RESTARTS of pods in all their states.
func TestPod(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	yes := true
	now := metav1.Now()
	ago := metav1.NewTime(now.Add(-5 * time.Minute))
	restarted := corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{FinishedAt: ago}}
	two := []corev1.Container{{Name: "a"}, {Name: "b"}}
	ready := []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	for _, c := range []struct {
		name string
		pod  corev1.Pod
		want string
	}{
		{"pending", corev1.Pod{Spec: corev1.PodSpec{Containers: two}, Status: corev1.PodStatus{Phase: corev1.PodPending}}, "0/2|Pending|0"},
		{"creating", corev1.Pod{Spec: corev1.PodSpec{Containers: two}, Status: corev1.PodStatus{
			Phase: corev1.PodPending, ContainerStatuses: []corev1.ContainerStatus{{State: waiting("ContainerCreating")}, {State: waiting("ContainerCreating")}},
		}}, "0/2|ContainerCreating|0"},
		{"running", corev1.Pod{Spec: corev1.PodSpec{Containers: two}, Status: corev1.PodStatus{
			Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{{State: running, Ready: true}, {State: running}},
		}}, "1/2|Running|0"},
		{"crash loop", corev1.Pod{Spec: corev1.PodSpec{Containers: two[:1]}, Status: corev1.PodStatus{
			Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{{State: waiting("CrashLoopBackOff"), RestartCount: 3, LastTerminationState: restarted}},
		}}, "0/1|CrashLoopBackOff|3 (5m ago)"},
		{"completed", corev1.Pod{Spec: corev1.PodSpec{Containers: two[:1]}, Status: corev1.PodStatus{
			Phase: corev1.PodSucceeded, ContainerStatuses: []corev1.ContainerStatus{{State: ended(0, "Completed")}},
		}}, "0/1|Completed|0"},
		{"one completed", corev1.Pod{Spec: corev1.PodSpec{Containers: two}, Status: corev1.PodStatus{
			Phase: corev1.PodRunning, Conditions: ready, ContainerStatuses: []corev1.ContainerStatus{{State: ended(0, "Completed")}, {State: running, Ready: true}},
		}}, "1/2|Running|0"},
		{"one completed, one failed", corev1.Pod{Spec: corev1.PodSpec{Containers: two}, Status: corev1.PodStatus{
			Phase: corev1.PodFailed, ContainerStatuses: []corev1.ContainerStatus{{State: ended(0, "Completed")}, {State: ended(1, "Error")}},
		}}, "0/2|Error|0"},
		{"exit code", corev1.Pod{Spec: corev1.PodSpec{Containers: two[:1]}, Status: corev1.PodStatus{
			Phase: corev1.PodFailed, ContainerStatuses: []corev1.ContainerStatus{{State: ended(3, "")}},
		}}, "0/1|ExitCode:3|0"},
		{"evicted", corev1.Pod{Spec: corev1.PodSpec{Containers: two[:1]}, Status: corev1.PodStatus{Phase: corev1.PodFailed, Reason: "Evicted"}}, "0/1|Evicted|0"},
		{"initializing", corev1.Pod{Spec: corev1.PodSpec{InitContainers: two, Containers: two[:1]}, Status: corev1.PodStatus{
			Phase: corev1.PodPending, InitContainerStatuses: []corev1.ContainerStatus{{State: ended(0, "Completed")}, {State: running}},
			ContainerStatuses: []corev1.ContainerStatus{{State: waiting("PodInitializing")}},
		}}, "0/1|Init:1/2|0"},
		{"init fails", corev1.Pod{Spec: corev1.PodSpec{InitContainers: two, Containers: two[:1]}, Status: corev1.PodStatus{
			Phase: corev1.PodPending, InitContainerStatuses: []corev1.ContainerStatus{{State: waiting("CrashLoopBackOff"), RestartCount: 2}},
		}}, "0/1|Init:CrashLoopBackOff|2"},
		{"sidecar", corev1.Pod{Spec: corev1.PodSpec{InitContainers: []corev1.Container{{Name: "s", RestartPolicy: &always}}, Containers: two[:1]}, Status: corev1.PodStatus{
			Phase: corev1.PodRunning, InitContainerStatuses: []corev1.ContainerStatus{{Name: "s", State: running, Ready: true, Started: &yes}},
			ContainerStatuses: []corev1.ContainerStatus{{State: running, Ready: true}},
		}}, "2/2|Running|0"},
		{"terminating", corev1.Pod{ObjectMeta: metav1.ObjectMeta{DeletionTimestamp: &now}, Spec: corev1.PodSpec{Containers: two[:1]}, Status: corev1.PodStatus{
			Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{{State: running, Ready: true}},
		}}, "1/1|Terminating|0"},
		{"node lost", corev1.Pod{ObjectMeta: metav1.ObjectMeta{DeletionTimestamp: &now}, Spec: corev1.PodSpec{Containers: two[:1]}, Status: corev1.PodStatus{
			Phase: corev1.PodRunning, Reason: "NodeLost",
		}}, "0/1|Unknown|0"},
		{"gated", corev1.Pod{Spec: corev1.PodSpec{Containers: two[:1]}, Status: corev1.PodStatus{
			Phase: corev1.PodPending, Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Reason: corev1.PodReasonSchedulingGated}},
		}}, "0/1|SchedulingGated|0"},
	} {
		cells := strings.Split(row(t, &c.pod), "|")
		if got := strings.Join(cells[1:4], "|"); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
}

// The other kinds, as kubectl shows them.
func TestRows(t *testing.T) {
	three := int32(3)
	port := int32(80)
	meta := metav1.ObjectMeta{Name: "x", CreationTimestamp: metav1.NewTime(time.Now().Add(-3 * time.Hour))}
	labelled := meta
	labelled.Labels = map[string]string{"node-role.kubernetes.io/control-plane": "", "kubernetes.io/role": "edge"}
	for _, c := range []struct {
		obj  runtime.Object
		want string
	}{
		{&corev1.Node{ObjectMeta: labelled, Spec: corev1.NodeSpec{Unschedulable: true}, Status: corev1.NodeStatus{
			Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
			Addresses:  []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "10.0.0.1"}},
			NodeInfo:   corev1.NodeSystemInfo{KubeletVersion: "v1.37.2", OSImage: "Debian", ContainerRuntimeVersion: "containerd://1.7", KernelVersion: "6.1", Architecture: "amd64"},
		}}, "x|Ready,SchedulingDisabled|control-plane,edge|3h|v1.37.2|10.0.0.1|<none>|Debian|6.1 (amd64)|containerd://1.7"},
		{&corev1.Service{ObjectMeta: meta, Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeNodePort, ClusterIP: "10.96.0.9", Selector: map[string]string{"app": "web"},
			Ports: []corev1.ServicePort{{Port: 80, NodePort: 30080, Protocol: corev1.ProtocolTCP}, {Port: 53, Protocol: corev1.ProtocolUDP}},
		}}, "x|NodePort|10.96.0.9|<none>|80:30080/TCP,53/UDP|3h|app=web"},
		{&corev1.Service{ObjectMeta: meta, Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer}}, "x|LoadBalancer|<none>|<pending>|<none>|3h|<none>"},
		{&corev1.Endpoints{ObjectMeta: meta, Subsets: []corev1.EndpointSubset{{
			Addresses: []corev1.EndpointAddress{{IP: "10.0.0.1"}, {IP: "10.0.0.2"}, {IP: "10.0.0.3"}, {IP: "10.0.0.4"}}, Ports: []corev1.EndpointPort{{Port: 80}},
		}}}, "x|10.0.0.1:80,10.0.0.2:80,10.0.0.3:80 + 1 more...|3h"},
		{&discoveryv1.EndpointSlice{ObjectMeta: meta, AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Port: &port}}, Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.0.0.1"}}}}, "x|IPv4|80|10.0.0.1|3h"},
		{&discoveryv1.EndpointSlice{ObjectMeta: meta, AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{}, {Port: &port}, {Name: new("web")}, {Port: &port}, {Port: &port}}}, "x|IPv4|*,80,web + 2 more...|<unset>|3h"},
		{&corev1.Endpoints{ObjectMeta: meta, Subsets: []corev1.EndpointSubset{{NotReadyAddresses: []corev1.EndpointAddress{{IP: "10.0.0.1"}}}}}, "x||3h"},
		{&corev1.ServiceAccount{ObjectMeta: meta, Secrets: []corev1.ObjectReference{{}}}, "x|3h"},
		{&storagev1.VolumeAttachment{ObjectMeta: meta, Spec: storagev1.VolumeAttachmentSpec{Attacher: "csi.example.com", NodeName: "n1", Source: storagev1.VolumeAttachmentSource{PersistentVolumeName: new("disk")}}, Status: storagev1.VolumeAttachmentStatus{Attached: true}}, "x|csi.example.com|disk|n1|true|3h"},
		{&networkingv1.NetworkPolicy{ObjectMeta: meta, Spec: networkingv1.NetworkPolicySpec{PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}}}, "x|app=web|3h"},
		{&networkingv1.NetworkPolicy{ObjectMeta: meta}, "x|<none>|3h"},
		{&networkingv1.IngressClass{ObjectMeta: meta, Spec: networkingv1.IngressClassSpec{Controller: "headway.dev/ingress"}}, "x|headway.dev/ingress|<none>|3h"},
		{&networkingv1.IngressClass{ObjectMeta: meta, Spec: networkingv1.IngressClassSpec{Controller: "example.com/a", Parameters: &networkingv1.IngressClassParametersReference{APIGroup: new("example.com"), Kind: "Settings", Name: "s"}}}, "x|example.com/a|Settings.example.com/s|3h"},
		{&networkingv1.Ingress{ObjectMeta: meta}, "x|<none>|*||80|3h"},
		{&networkingv1.Ingress{
			ObjectMeta: meta,
			Spec:       networkingv1.IngressSpec{IngressClassName: new("headway"), TLS: []networkingv1.IngressTLS{{}}, Rules: []networkingv1.IngressRule{{Host: "a.com"}, {}, {Host: "b.com"}, {Host: "c.com"}, {Host: "d.com"}, {Host: "e.com"}}},
			Status:     networkingv1.IngressStatus{LoadBalancer: networkingv1.IngressLoadBalancerStatus{Ingress: []networkingv1.IngressLoadBalancerIngress{{IP: "192.0.2.2"}, {Hostname: "h"}, {IP: "192.0.2.1"}}}},
		}, "x|headway|a.com,b.com,c.com + 3 more...|192.0.2.1,192.0.2.2,h|80, 443|3h"},
		{&nodev1.RuntimeClass{ObjectMeta: meta, Handler: "kata"}, "x|kata|3h"},
		{&schedulingv1.PriorityClass{ObjectMeta: meta, Value: 5, PreemptionPolicy: new(corev1.PreemptNever)}, "x|5|false|3h|Never"},
		{&storagemigrationv1.StorageVersionMigration{ObjectMeta: meta, Spec: storagemigrationv1.StorageVersionMigrationSpec{Resource: metav1.GroupResource{Group: "example.com", Resource: "widgets"}}}, "x|widgets.example.com|Unknown"},
		{&storagemigrationv1.StorageVersionMigration{ObjectMeta: meta, Status: storagemigrationv1.StorageVersionMigrationStatus{Conditions: []metav1.Condition{{Type: "Running", Status: "False"}, {Type: "Succeeded", Status: "True"}}}}, "x||Succeeded"},
		{&appsv1.Deployment{ObjectMeta: meta, Spec: appsv1.DeploymentSpec{Replicas: &three, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}}, Status: appsv1.DeploymentStatus{ReadyReplicas: 2, UpdatedReplicas: 3, AvailableReplicas: 1}}, "x|2/3|3|1|3h|||app=web"},
		{&corev1.Event{ObjectMeta: meta, Type: "Normal", Reason: "Pulled", Message: "Pulled it\n", Count: 4, InvolvedObject: corev1.ObjectReference{Kind: "Pod", Name: "p", FieldPath: "spec.containers{c}"}, Source: corev1.EventSource{Component: "kubelet", Host: "n1"}, FirstTimestamp: meta.CreationTimestamp, LastTimestamp: meta.CreationTimestamp}, "3h|Normal|Pulled|pod/p|spec.containers{c}|kubelet, n1|Pulled it|3h|4|x"},
		{&certificatesv1.CertificateSigningRequest{ObjectMeta: meta, Spec: certificatesv1.CertificateSigningRequestSpec{SignerName: "example.com/house", Username: "ada", ExpirationSeconds: new(int32(86400))}}, "x|3h|example.com/house|ada|24h|Pending"},
		{&certificatesv1.CertificateSigningRequest{ObjectMeta: meta, Status: certificatesv1.CertificateSigningRequestStatus{
			Certificate: []byte("x"), Conditions: []certificatesv1.CertificateSigningRequestCondition{{Type: "Approved"}, {Type: "Failed"}},
		}}, "x|3h|<none>||<none>|Approved,Failed,Issued"},
		{&certificatesv1.CertificateSigningRequest{ObjectMeta: meta, Status: certificatesv1.CertificateSigningRequestStatus{
			Conditions: []certificatesv1.CertificateSigningRequestCondition{{Type: "Denied"}},
		}}, "x|3h|<none>||<none>|Denied"},
		{&sourcev1.GitRepository{ObjectMeta: meta, Spec: sourcev1.GitRepositorySpec{URL: "https://example.com/r"}, Status: sourcev1.GitRepositoryStatus{Conditions: []metav1.Condition{{Type: "Ready", Status: "True", Message: "stored artifact"}}}}, "x|https://example.com/r|3h|True|stored artifact"},
	} {
		if diff := cmp.Diff(c.want, row(t, c.obj)); diff != "" {
			t.Errorf("%T (-want +got):\n%s", c.obj, diff)
		}
	}
}
