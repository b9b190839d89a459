package lifecycle_test

import (
	"strings"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/google/go-cmp/cmp"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	storagev1 "k8s.io/api/storage/v1"
	storagemigrationv1 "k8s.io/api/storagemigration/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"headway.dev/manifests/model/lifecycle"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 600, time.UTC)

func TestPrepareCreate(t *testing.T) {
	generation := map[string]int64{
		"Pod":                              1,
		"PodTemplate":                      1,
		"Deployment":                       1,
		"ReplicaSet":                       1,
		"DaemonSet":                        1,
		"StatefulSet":                      1,
		"Job":                              1,
		"CronJob":                          1,
		"NetworkPolicy":                    1,
		"EndpointSlice":                    1,
		"GitRepository":                    1,
		"Kustomization":                    1,
		"CustomResourceDefinition":         1,
		"PriorityClass":                    1,
		"PodDisruptionBudget":              1,
		"HorizontalPodAutoscaler":          1,
		"ReplicationController":            1,
		"MutatingAdmissionPolicy":          1,
		"MutatingAdmissionPolicyBinding":   1,
		"MutatingWebhookConfiguration":     1,
		"ValidatingAdmissionPolicy":        1,
		"ValidatingAdmissionPolicyBinding": 1,
		"ValidatingWebhookConfiguration":   1,
		"FlowSchema":                       1,
		"PriorityLevelConfiguration":       1,
		"Ingress":                          1,
		"IngressClass":                     1,
	}
	for _, k := range scheme.Kinds() {
		obj := k.New()
		obj.SetGenerateName("web-")
		obj.SetGeneration(7)
		obj.SetDeletionTimestamp(&metav1.Time{Time: now})
		obj.SetDeletionGracePeriodSeconds(new(int64(3)))
		lifecycle.PrepareCreate(obj, now)
		if got, want := obj.GetGeneration(), generation[k.Kind]; got != want {
			t.Errorf("%s: generation = %d, want %d", k.Kind, got, want)
		}
		if obj.GetUID() == "" || obj.GetDeletionTimestamp() != nil || obj.GetDeletionGracePeriodSeconds() != nil {
			t.Errorf("%s: UID %q, deletionTimestamp %v, want one and none", k.Kind, obj.GetUID(), obj.GetDeletionTimestamp())
		}
		if got, want := obj.GetCreationTimestamp().Time, now.Truncate(time.Second); !got.Equal(want) {
			t.Errorf("%s: creationTimestamp = %v, want %v", k.Kind, got, want)
		}
		if name := obj.GetName(); !strings.HasPrefix(name, "web-") || len(name) != len("web-")+5 {
			t.Errorf("%s: generated name = %q, want web- and five characters", k.Kind, name)
		}
	}
}

func TestPrepareCreateKeepsIdentity(t *testing.T) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "a", GenerateName: "b-", UID: "u", CreationTimestamp: metav1.Unix(1, 0)}}
	lifecycle.PrepareCreate(pod, now)
	if pod.Name != "a" || pod.UID != "u" || pod.CreationTimestamp.Unix() != 1 {
		t.Errorf("name, UID, created = %s, %s, %v, want what was set", pod.Name, pod.UID, pod.CreationTimestamp)
	}
}

func TestGenerateName(t *testing.T) {
	if got := lifecycle.GenerateName(strings.Repeat("a", 100)); len(got) != 63 {
		t.Errorf("generated name has %d characters, want 63", len(got))
	}
}

func TestCreateStatus(t *testing.T) {
	limited := corev1.PodSpec{Containers: []corev1.Container{{Resources: corev1.ResourceRequirements{
		Requests: corev1.ResourceList{}, Limits: corev1.ResourceList{},
	}}}}
	pod := &corev1.Pod{Spec: limited, Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "10.0.0.1"}}
	lifecycle.PrepareCreate(pod, now)
	if diff := cmp.Diff(corev1.PodStatus{Phase: corev1.PodPending, QOSClass: corev1.PodQOSBestEffort}, pod.Status); diff != "" {
		t.Errorf("pod status (-want +got):\n%s", diff)
	}

	gated := &corev1.Pod{Spec: corev1.PodSpec{SchedulingGates: []corev1.PodSchedulingGate{{Name: "g"}}}}
	lifecycle.PrepareCreate(gated, now)
	if len(gated.Status.Conditions) != 1 || gated.Status.Conditions[0].Reason != "SchedulingGated" {
		t.Errorf("conditions of a gated pod = %v, want SchedulingGated", gated.Status.Conditions)
	}

	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "n"}}
	lifecycle.PrepareCreate(ns, now)
	if ns.Status.Phase != corev1.NamespaceActive || ns.Labels["kubernetes.io/metadata.name"] != "n" ||
		!cmp.Equal(ns.Spec.Finalizers, []corev1.FinalizerName{"kubernetes"}) {
		t.Errorf("namespace = %+v, want Active, the name label and the finalizer", ns)
	}

	volume := &corev1.PersistentVolume{Status: corev1.PersistentVolumeStatus{Phase: corev1.VolumeBound}}
	lifecycle.PrepareCreate(volume, now)
	if got := volume.Status; got.Phase != corev1.VolumePending || got.LastPhaseTransitionTime == nil || !got.LastPhaseTransitionTime.Time.Equal(now.Truncate(time.Second)) {
		t.Errorf("status of a volume = %+v, want Pending, since now", got)
	}

	node := &corev1.Node{Status: corev1.NodeStatus{Phase: corev1.NodeRunning}}
	lifecycle.PrepareCreate(node, now)
	if node.Status.Phase != corev1.NodeRunning {
		t.Error("a node must keep the status that it registers with")
	}

	for _, obj := range []object.Object{
		&appsv1.Deployment{Status: appsv1.DeploymentStatus{Replicas: 1}},
		&appsv1.ReplicaSet{Status: appsv1.ReplicaSetStatus{Replicas: 1}},
		&kustomizev1.Kustomization{Status: kustomizev1.KustomizationStatus{ObservedGeneration: 1}},
	} {
		lifecycle.PrepareCreate(obj, now)
		switch obj := obj.(type) {
		case *appsv1.Deployment:
			if obj.Status.Replicas != 0 {
				t.Error("deployment keeps its status on create")
			}
		case *appsv1.ReplicaSet:
			if obj.Status.Replicas != 0 {
				t.Error("replica set keeps its status on create")
			}
		case *kustomizev1.Kustomization:
			if obj.Status.ObservedGeneration != 0 {
				t.Error("kustomization keeps its status on create")
			}
		}
	}
}

// TestTemplateGeneration: the annotation counts the templates, whatever is written to it.
func TestTemplateGeneration(t *testing.T) {
	ds := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Name: "x", Namespace: "n"}}
	lifecycle.PrepareCreate(ds, now)
	want := func(ds *appsv1.DaemonSet, n string) {
		t.Helper()
		if got := ds.Annotations[appsv1.DeprecatedTemplateGeneration]; got != n {
			t.Errorf("generation of the template = %q, want %s", got, n)
		}
	}
	want(ds, "1")
	next := ds.DeepCopy()
	next.Annotations, next.Spec.MinReadySeconds = nil, 1
	lifecycle.PrepareUpdate(next, ds)
	want(next, "1")
	last := next.DeepCopy()
	last.Annotations[appsv1.DeprecatedTemplateGeneration], last.Spec.Template.Spec.NodeName = "9", "a"
	lifecycle.PrepareUpdate(last, next)
	want(last, "2")
}

// What the containers of a pod share stays if a client leaves it out that does not know it.
func TestAmountsOfPodsStay(t *testing.T) {
	old := &corev1.Pod{ObjectMeta: meta(), Spec: corev1.PodSpec{Resources: &corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": resource.MustParse("1")}}}}
	without, other := &corev1.Pod{ObjectMeta: meta()}, old.DeepCopy()
	other.Spec.Resources.Requests["cpu"] = resource.MustParse("2")
	lifecycle.PrepareUpdate(without, old)
	lifecycle.PrepareUpdate(other, old)
	if r := without.Spec.Resources; r == nil || !r.Requests.Cpu().Equal(*old.Spec.Resources.Requests.Cpu()) || without.Generation != old.Generation {
		t.Errorf("without: %v in generation %d", r, without.Generation)
	}
	if r := other.Spec.Resources; r.Requests.Cpu().String() != "2" {
		t.Errorf("another amount: %v", r)
	}
}

// The topology of endpoints is that of an older version: nothing of it is stored, and what
// is stored of it stays until the endpoints change.
func TestTopologyOfEndpoints(t *testing.T) {
	topology := map[string]string{"kubernetes.io/hostname": "n1"}
	slice := func(addresses ...string) *discoveryv1.EndpointSlice {
		return &discoveryv1.EndpointSlice{ObjectMeta: meta(), Endpoints: []discoveryv1.Endpoint{{Addresses: addresses, DeprecatedTopology: topology}}}
	}
	created, old := slice("10.0.0.1"), slice("10.0.0.1")
	same, changed := old.DeepCopy(), slice("10.0.0.2")
	same.Labels = map[string]string{"a": "b"}
	lifecycle.PrepareCreate(created, now)
	lifecycle.PrepareUpdate(same, old)
	lifecycle.PrepareUpdate(changed, old)
	for name, got := range map[string]int{
		"created": len(created.Endpoints[0].DeprecatedTopology), "changed": len(changed.Endpoints[0].DeprecatedTopology), "old": len(old.Endpoints[0].DeprecatedTopology) - 1,
		"the same": len(same.Endpoints[0].DeprecatedTopology) - 1,
	} {
		if got != 0 {
			t.Errorf("%s: %d labels more than there should be", name, got)
		}
	}
}

func meta() metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: "x", Namespace: "n", UID: "u", Generation: 3, CreationTimestamp: metav1.Unix(1, 0)}
}

func TestGeneration(t *testing.T) {
	pod := &corev1.Pod{ObjectMeta: meta()}
	bound := pod.DeepCopy()
	bound.Spec.NodeName = "node"
	deployment := &appsv1.Deployment{ObjectMeta: meta()}
	slice := &discoveryv1.EndpointSlice{ObjectMeta: meta()}
	for name, tc := range map[string]struct {
		old  object.Object
		edit func(obj object.Object)
		want int64
	}{
		"nothing":            {deployment, func(object.Object) {}, 3},
		"labels":             {deployment, func(o object.Object) { o.SetLabels(map[string]string{"a": "b"}) }, 3},
		"annotations":        {deployment, func(o object.Object) { o.SetAnnotations(map[string]string{"a": "b"}) }, 4},
		"spec":               {deployment, func(o object.Object) { o.(*appsv1.Deployment).Spec.Paused = true }, 4},
		"status":             {deployment, func(o object.Object) { o.(*appsv1.Deployment).Status.Replicas = 1 }, 3},
		"the client's":       {deployment, func(o object.Object) { o.SetGeneration(99) }, 3},
		"pod: bound":         {pod, func(o object.Object) { o.(*corev1.Pod).Spec.NodeName = "node" }, 3},
		"pod: image":         {bound, func(o object.Object) { o.(*corev1.Pod).Spec.Containers = []corev1.Container{{Image: "i"}} }, 4},
		"slice: labels":      {slice, func(o object.Object) { o.SetLabels(map[string]string{"a": "b"}) }, 4},
		"slice: annotations": {slice, func(o object.Object) { o.SetAnnotations(map[string]string{"a": "b"}) }, 3},
		"service: has none":  {&corev1.Service{}, func(o object.Object) { o.(*corev1.Service).Spec.ExternalName = "x" }, 0},
		"autoscaler: spec": {&autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: meta()}, func(o object.Object) {
			o.(*autoscalingv2.HorizontalPodAutoscaler).Spec.MaxReplicas = 7
		}, 4},
		"budget: spec": {&policyv1.PodDisruptionBudget{ObjectMeta: meta()}, func(o object.Object) {
			o.(*policyv1.PodDisruptionBudget).Spec.MinAvailable = new(intstr.FromInt32(1))
		}, 4},
		"ingress: class": {&networkingv1.Ingress{ObjectMeta: meta()}, func(o object.Object) {
			o.(*networkingv1.Ingress).Spec.IngressClassName = new("other")
		}, 4},
		"ingress class: parameters": {&networkingv1.IngressClass{ObjectMeta: meta()}, func(o object.Object) {
			o.(*networkingv1.IngressClass).Spec.Parameters = &networkingv1.IngressClassParametersReference{}
		}, 4},
		"controller: replicas": {&corev1.ReplicationController{ObjectMeta: meta()}, func(o object.Object) {
			o.(*corev1.ReplicationController).Spec.Replicas = new(int32(3))
		}, 4},
		"config map: has none": {&corev1.ConfigMap{}, func(o object.Object) { o.(*corev1.ConfigMap).Data = map[string]string{"a": "b"} }, 0},
	} {
		obj := tc.old.DeepCopyObject().(object.Object)
		tc.edit(obj)
		lifecycle.PrepareUpdate(obj, tc.old)
		if got := obj.GetGeneration(); got != tc.want {
			t.Errorf("%s: generation = %d, want %d", name, got, tc.want)
		}
	}
}

func TestUpdateKeepsStatus(t *testing.T) {
	for _, k := range scheme.Kinds() {
		if !k.Status {
			continue
		}
		old := k.New()
		setCondition(old, "Old")
		obj := k.New()
		setCondition(obj, "New")
		obj.SetUID("other")
		lifecycle.PrepareUpdate(obj, old)
		if got := condition(obj); got != "Old" {
			t.Errorf("%s: an update of the main resource left the condition %q, want Old", k.Kind, got)
		}
		if obj.GetUID() != old.GetUID() {
			t.Errorf("%s: an update changed the UID", k.Kind)
		}
	}
}

func TestUpdateStatusKeepsSpec(t *testing.T) {
	old := &corev1.Pod{ObjectMeta: meta(), Spec: corev1.PodSpec{NodeName: "a"}, Status: corev1.PodStatus{QOSClass: "Burstable"}}
	old.DeletionTimestamp = &metav1.Time{Time: now}
	pod := &corev1.Pod{Spec: corev1.PodSpec{NodeName: "b"}, Status: corev1.PodStatus{Phase: "Running"}}
	pod.OwnerReferences = []metav1.OwnerReference{{Name: "x"}}
	lifecycle.PrepareUpdateStatus(pod, old)
	if pod.Spec.NodeName != "a" || pod.Status.Phase != "Running" || pod.Status.QOSClass != "Burstable" ||
		pod.OwnerReferences != nil || pod.Generation != 3 || pod.DeletionTimestamp == nil {
		t.Errorf("pod after a status update = %+v", pod)
	}

	attachment := &storagev1.VolumeAttachment{ObjectMeta: meta()}
	attached := attachment.DeepCopy()
	attached.Finalizers, attached.Annotations, attached.Status.Attached = []string{"a/b"}, map[string]string{"a": "b"}, true
	lifecycle.PrepareUpdateStatus(attached, attachment)
	if attached.Finalizers != nil || attached.Annotations != nil || !attached.Status.Attached {
		t.Errorf("volume attachment after a status update = %+v, want the status to change only", attached)
	}

	was := &kustomizev1.Kustomization{ObjectMeta: meta()}
	k := was.DeepCopy()
	k.Labels = map[string]string{"a": "b"}
	k.ResourceVersion = "5"
	k.Spec.Prune = true
	k.Status.LastAppliedRevision = "r"
	lifecycle.PrepareUpdateStatus(k, was)
	if k.Labels != nil || k.Spec.Prune || k.Status.LastAppliedRevision != "r" || k.ResourceVersion != "5" {
		t.Errorf("kustomization after a status update = %+v, want the status to change only", k)
	}
}

func setCondition(obj object.Object, typ string) {
	switch obj := obj.(type) {
	case *corev1.Namespace:
		obj.Status.Conditions = []corev1.NamespaceCondition{{Type: corev1.NamespaceConditionType(typ)}}
	case *corev1.Node:
		obj.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeConditionType(typ)}}
	case *corev1.Pod:
		obj.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodConditionType(typ)}}
	case *corev1.ReplicationController:
		obj.Status.Conditions = []corev1.ReplicationControllerCondition{{Type: corev1.ReplicationControllerConditionType(typ)}}
	case *autoscalingv2.HorizontalPodAutoscaler:
		obj.Status.Conditions = []autoscalingv2.HorizontalPodAutoscalerCondition{{Type: autoscalingv2.HorizontalPodAutoscalerConditionType(typ)}}
	case *policyv1.PodDisruptionBudget:
		obj.Status.Conditions = []metav1.Condition{{Type: typ}}
	case *networkingv1.Ingress: // which has none
		obj.Status.LoadBalancer.Ingress = []networkingv1.IngressLoadBalancerIngress{{Hostname: typ}}
	case *corev1.PersistentVolume: // which has none
		obj.Status.Reason = typ
	case *storagev1.VolumeAttachment: // which has none
		obj.Status.AttachmentMetadata = map[string]string{"condition": typ}
	case *corev1.PersistentVolumeClaim:
		obj.Status.Conditions = []corev1.PersistentVolumeClaimCondition{{Type: corev1.PersistentVolumeClaimConditionType(typ)}}
	case *corev1.ResourceQuota: // which has none
		obj.Status.Used = corev1.ResourceList{corev1.ResourceName(typ): {}}
	case *corev1.Service:
		obj.Status.Conditions = []metav1.Condition{{Type: typ}}
	case *admissionregistrationv1.ValidatingAdmissionPolicy:
		obj.Status.Conditions = []metav1.Condition{{Type: typ}}
	case *appsv1.Deployment:
		obj.Status.Conditions = []appsv1.DeploymentCondition{{Type: appsv1.DeploymentConditionType(typ)}}
	case *apiextensionsv1.CustomResourceDefinition:
		obj.Status.Conditions = []apiextensionsv1.CustomResourceDefinitionCondition{{Type: apiextensionsv1.CustomResourceDefinitionConditionType(typ)}}
	case *apiregistrationv1.APIService:
		obj.Status.Conditions = []apiregistrationv1.APIServiceCondition{{Type: apiregistrationv1.APIServiceConditionType(typ)}}
	case *appsv1.DaemonSet:
		obj.Status.Conditions = []appsv1.DaemonSetCondition{{Type: appsv1.DaemonSetConditionType(typ)}}
	case *appsv1.StatefulSet:
		obj.Status.Conditions = []appsv1.StatefulSetCondition{{Type: appsv1.StatefulSetConditionType(typ)}}
	case *appsv1.ReplicaSet:
		obj.Status.Conditions = []appsv1.ReplicaSetCondition{{Type: appsv1.ReplicaSetConditionType(typ)}}
	case *batchv1.CronJob: // which has none
		obj.Status.Active = []corev1.ObjectReference{{Name: typ}}
	case *batchv1.Job:
		obj.Status.Conditions = []batchv1.JobCondition{{Type: batchv1.JobConditionType(typ)}}
	case *certificatesv1.CertificateSigningRequest:
		obj.Status.Conditions = []certificatesv1.CertificateSigningRequestCondition{{Type: certificatesv1.RequestConditionType(typ)}}
	case *flowcontrolv1.FlowSchema:
		obj.Status.Conditions = []flowcontrolv1.FlowSchemaCondition{{Type: flowcontrolv1.FlowSchemaConditionType(typ)}}
	case *flowcontrolv1.PriorityLevelConfiguration:
		obj.Status.Conditions = []flowcontrolv1.PriorityLevelConfigurationCondition{{Type: flowcontrolv1.PriorityLevelConfigurationConditionType(typ)}}
	case *storagemigrationv1.StorageVersionMigration:
		obj.Status.Conditions = []metav1.Condition{{Type: typ}}
	case interface{ SetConditions([]metav1.Condition) }:
		obj.SetConditions([]metav1.Condition{{Type: typ}})
	}
}

func condition(obj object.Object) string {
	switch obj := obj.(type) {
	case *corev1.Namespace:
		return string(obj.Status.Conditions[0].Type)
	case *corev1.Node:
		return string(obj.Status.Conditions[0].Type)
	case *corev1.Pod:
		return string(obj.Status.Conditions[0].Type)
	case *corev1.ReplicationController:
		return string(obj.Status.Conditions[0].Type)
	case *autoscalingv2.HorizontalPodAutoscaler:
		return string(obj.Status.Conditions[0].Type)
	case *policyv1.PodDisruptionBudget:
		return obj.Status.Conditions[0].Type
	case *networkingv1.Ingress:
		return obj.Status.LoadBalancer.Ingress[0].Hostname
	case *corev1.PersistentVolume:
		return obj.Status.Reason
	case *storagev1.VolumeAttachment:
		return obj.Status.AttachmentMetadata["condition"]
	case *corev1.PersistentVolumeClaim:
		return string(obj.Status.Conditions[0].Type)
	case *corev1.ResourceQuota:
		for name := range obj.Status.Used {
			return string(name)
		}
		return ""
	case *corev1.Service:
		return obj.Status.Conditions[0].Type
	case *admissionregistrationv1.ValidatingAdmissionPolicy:
		return obj.Status.Conditions[0].Type
	case *appsv1.Deployment:
		return string(obj.Status.Conditions[0].Type)
	case *apiextensionsv1.CustomResourceDefinition:
		return string(obj.Status.Conditions[0].Type)
	case *apiregistrationv1.APIService:
		return string(obj.Status.Conditions[0].Type)
	case *appsv1.DaemonSet:
		return string(obj.Status.Conditions[0].Type)
	case *appsv1.StatefulSet:
		return string(obj.Status.Conditions[0].Type)
	case *appsv1.ReplicaSet:
		return string(obj.Status.Conditions[0].Type)
	case *batchv1.CronJob:
		return obj.Status.Active[0].Name
	case *batchv1.Job:
		return string(obj.Status.Conditions[0].Type)
	case *certificatesv1.CertificateSigningRequest:
		return string(obj.Status.Conditions[0].Type)
	case *flowcontrolv1.FlowSchema:
		return string(obj.Status.Conditions[0].Type)
	case *flowcontrolv1.PriorityLevelConfiguration:
		return string(obj.Status.Conditions[0].Type)
	case *storagemigrationv1.StorageVersionMigration:
		return obj.Status.Conditions[0].Type
	case interface{ GetConditions() []metav1.Condition }:
		return obj.GetConditions()[0].Type
	}
	return "a kind that the test does not know"
}

// A volume says since when it has its phase, whoever writes its status.
func TestPhaseOfVolumes(t *testing.T) {
	long := metav1.NewTime(now.Add(-time.Hour))
	given := metav1.NewTime(now.Add(time.Hour))
	status := func(phase corev1.PersistentVolumePhase, at *metav1.Time) corev1.PersistentVolumeStatus {
		return corev1.PersistentVolumeStatus{Phase: phase, LastPhaseTransitionTime: at}
	}
	for name, test := range map[string]struct {
		written corev1.PersistentVolumeStatus
		want    *metav1.Time // nil is since this test
	}{
		"the same phase":              {status(corev1.VolumeAvailable, nil), &long},
		"the same, at a time":         {status(corev1.VolumeAvailable, &given), &given},
		"another one":                 {status(corev1.VolumeReleased, nil), nil},
		"another one, the time stays": {status(corev1.VolumeReleased, &long), nil},
		"another one, at a time":      {status(corev1.VolumeReleased, &given), &given},
	} {
		t.Run(name, func(t *testing.T) {
			began := time.Now().Truncate(time.Second)
			old := &corev1.PersistentVolume{Status: status(corev1.VolumeAvailable, &long)}
			v := &corev1.PersistentVolume{Status: test.written}
			lifecycle.PrepareUpdateStatus(v, old)
			switch at := v.Status.LastPhaseTransitionTime; {
			case at == nil, test.want != nil && !at.Equal(test.want), test.want == nil && at.Time.Before(began):
				t.Errorf("%s since %v, want %v", v.Status.Phase, at, test.want)
			}
		})
	}
}
