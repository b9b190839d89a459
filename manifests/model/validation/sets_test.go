package validation_test

import (
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func revisionCases(t *testing.T) {
	t.Helper()
	type revision = *appsv1.ControllerRevision
	const base = `{apiVersion: apps/v1, kind: ControllerRevision, metadata: {name: web-1, namespace: shop}, data: {a: 1}, revision: 1}`
	create(t, base, cases[revision]{
		"no data":  {func(r revision) { r.Data = runtime.RawExtension{} }, []string{"data: Required value: data is mandatory"}},
		"revision": {func(r revision) { r.Revision = -1 }, []string{"revision: Invalid value: -1: must be greater than or equal to 0"}},
	})
	update(t, base, cases[revision]{
		"revision": {func(r revision) { r.Revision = 9 }, nil},
		"labels":   {func(r revision) { r.Labels = map[string]string{"a": "b"} }, nil},
		"data":     {func(r revision) { r.Data.Raw = []byte(`{"a":2}`) }, []string{`data: Invalid value: {"a":2}: field is immutable`}},
	})
}

func daemonSetCases(t *testing.T) {
	t.Helper()
	type set = *appsv1.DaemonSet
	base := strings.Replace(baseDeployment, "Deployment", "DaemonSet", 1)
	rolling := func(unavailable, surge intstr.IntOrString) func(set) {
		return func(ds set) {
			ds.Spec.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateDaemonSet{MaxUnavailable: &unavailable, MaxSurge: &surge}
		}
	}
	zero, one, share := intstr.FromInt32(0), intstr.FromInt32(1), intstr.FromString
	const path = "spec.updateStrategy.rollingUpdate"
	create(t, base, cases[set]{
		"no selector": {func(ds set) { ds.Spec.Selector = nil }, []string{
			"spec.selector: Required value", "spec.template.metadata.labels: Invalid value: {\"app\":\"web\"}: `selector` does not match template `labels`",
		}},
		"empty selector":  {func(ds set) { ds.Spec.Selector = &metav1.LabelSelector{} }, []string{"spec.selector: Invalid value: {}: empty selector is invalid for daemonset"}},
		"other labels":    {func(ds set) { ds.Spec.Template.Labels["app"] = "x" }, []string{"spec.template.metadata.labels: Invalid value: {\"app\":\"x\"}: `selector` does not match template `labels`"}},
		"restart policy":  {func(ds set) { ds.Spec.Template.Spec.RestartPolicy = "Never" }, []string{`spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"`}},
		"active deadline": {func(ds set) { ds.Spec.Template.Spec.ActiveDeadlineSeconds = new(int64(1)) }, []string{"spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in DaemonSet is not Supported"}},
		"min ready":       {func(ds set) { ds.Spec.MinReadySeconds = -1 }, []string{"spec.minReadySeconds: Invalid value: -1: must be greater than or equal to 0"}},
		"history":         {func(ds set) { ds.Spec.RevisionHistoryLimit = new(int32(-1)) }, []string{"spec.revisionHistoryLimit: Invalid value: -1: must be greater than or equal to 0"}},
		"no history":      {func(ds set) { ds.Spec.RevisionHistoryLimit = new(int32(0)) }, nil},
		"on delete": {func(ds set) {
			ds.Spec.UpdateStrategy = appsv1.DaemonSetUpdateStrategy{Type: appsv1.OnDeleteDaemonSetStrategyType}
		}, nil},
		"strategy": {func(ds set) { ds.Spec.UpdateStrategy.Type = "Fast" }, []string{
			`spec.updateStrategy: Unsupported value: {"Type":"Fast","RollingUpdate":{"MaxUnavailable":1,"MaxSurge":0}}: supported values: "RollingUpdate", "OnDelete"`,
		}},
		"no bounds":        {func(ds set) { ds.Spec.UpdateStrategy.RollingUpdate = nil }, []string{path + ": Required value"}},
		"a share":          {rolling(share("10%"), zero), nil},
		"surge":            {rolling(zero, share("100%")), nil},
		"both":             {rolling(one, one), []string{path + ".maxSurge: Invalid value: 1: may not be set when maxUnavailable is non-zero"}},
		"neither":          {rolling(zero, share("0%")), []string{path + ".maxUnavailable: Required value: cannot be 0 when maxSurge is 0"}},
		"over 100%":        {rolling(share("101%"), zero), []string{path + `.maxUnavailable: Invalid value: "101%": must not be greater than 100%`}},
		"surge over 100%":  {rolling(zero, share("200%")), []string{path + `.maxSurge: Invalid value: "200%": must not be greater than 100%`}},
		"not a percentage": {rolling(share("x"), one), []string{path + `.maxUnavailable: Invalid value: "x": a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')`}},
		"negative":         {rolling(intstr.FromInt32(-1), zero), []string{path + ".maxUnavailable: Invalid value: -1: must be greater than or equal to 0"}},
	})
	update(t, base, cases[set]{
		"image": {func(ds set) { ds.Spec.Template.Spec.Containers[0].Image = "web:2" }, nil},
		"selector": {func(ds set) {
			ds.Spec.Selector.MatchLabels = map[string]string{"app": "x"}
			ds.Spec.Template.Labels["app"] = "x"
		}, []string{`spec.selector: Invalid value: {"matchLabels":{"app":"x"}}: field is immutable`}},
	})
	updateStatus(t, base, cases[set]{
		"fine": {func(ds set) { ds.Status.DesiredNumberScheduled, ds.Status.CollisionCount = 2, new(int32(1)) }, nil},
		"counts": {func(ds set) {
			ds.Status = appsv1.DaemonSetStatus{
				CurrentNumberScheduled: -1, NumberMisscheduled: -2, DesiredNumberScheduled: -3, NumberReady: -4,
				ObservedGeneration: -5, UpdatedNumberScheduled: -6, NumberAvailable: -7, NumberUnavailable: -8, CollisionCount: new(int32(-9)),
			}
		}, []string{
			"status.currentNumberScheduled: Invalid value: -1: must be greater than or equal to 0",
			"status.numberMisscheduled: Invalid value: -2: must be greater than or equal to 0",
			"status.desiredNumberScheduled: Invalid value: -3: must be greater than or equal to 0",
			"status.numberReady: Invalid value: -4: must be greater than or equal to 0",
			"status.observedGeneration: Invalid value: -5: must be greater than or equal to 0",
			"status.updatedNumberScheduled: Invalid value: -6: must be greater than or equal to 0",
			"status.numberAvailable: Invalid value: -7: must be greater than or equal to 0",
			"status.numberUnavailable: Invalid value: -8: must be greater than or equal to 0",
			"status.collisionCount: Invalid value: -9: must be greater than or equal to 0",
		}},
	})
	updateStatus(t, base+"status: {collisionCount: 2}\n", cases[set]{
		"fewer": {func(ds set) { ds.Status.CollisionCount = new(int32(1)) }, []string{"status.collisionCount: Invalid value: 1: cannot be decremented"}},
		"none":  {func(ds set) { ds.Status.CollisionCount = nil }, []string{"status.collisionCount: Invalid value: 0: cannot be decremented"}},
	})
}

func statefulSetCases(t *testing.T) {
	t.Helper()
	type set = *appsv1.StatefulSet
	base := strings.Replace(baseDeployment, "Deployment", "StatefulSet", 1)
	most := func(v intstr.IntOrString) func(set) {
		return func(s set) { s.Spec.UpdateStrategy.RollingUpdate.MaxUnavailable = &v }
	}
	const rolling, negative = "spec.updateStrategy.rollingUpdate", "must be greater than or equal to 0"
	create(t, base, cases[set]{
		"policy": {func(s set) { s.Spec.PodManagementPolicy = "Any" }, []string{`spec.podManagementPolicy: Invalid value: "Any": must be 'OrderedReady' or 'Parallel'`}},
		"strategy": {func(s set) { s.Spec.UpdateStrategy = appsv1.StatefulSetUpdateStrategy{Type: "Fast"} }, []string{
			`spec.updateStrategy: Invalid value: {"Type":"Fast","RollingUpdate":null}: must be 'RollingUpdate' or 'OnDelete'`,
		}},
		"on delete": {func(s set) {
			s.Spec.UpdateStrategy = appsv1.StatefulSetUpdateStrategy{Type: appsv1.OnDeleteStatefulSetStrategyType}
		}, nil},
		"on delete, rolling": {func(s set) { s.Spec.UpdateStrategy.Type = appsv1.OnDeleteStatefulSetStrategyType }, []string{
			rolling + `: Invalid value: {"Partition":0,"MaxUnavailable":1}: only allowed for updateStrategy 'RollingUpdate'`,
		}},
		"partition": {func(s set) { s.Spec.UpdateStrategy.RollingUpdate.Partition = new(int32(-1)) }, []string{rolling + ".partition: Invalid value: -1: " + negative}},
		"none":      {most(intstr.FromInt32(0)), []string{rolling + ".maxUnavailable: Invalid value: 0: cannot be 0"}},
		"a share":   {most(intstr.FromString("50%")), nil},
		"over 100%": {most(intstr.FromString("101%")), []string{rolling + `.maxUnavailable: Invalid value: "101%": must not be greater than 100%`}},
		"retention": {func(s set) { s.Spec.PersistentVolumeClaimRetentionPolicy.WhenScaled = "Keep" }, []string{`spec.persistentVolumeClaimRetentionPolicy.whenScaled: Unsupported value: "Keep": supported values: "Retain", "Delete"`}},
		"claims": {func(s set) {
			s.Spec.VolumeClaimTemplates = []corev1.PersistentVolumeClaim{{ObjectMeta: metav1.ObjectMeta{Name: "data"}, Spec: corev1.PersistentVolumeClaimSpec{
				AccessModes: []corev1.PersistentVolumeAccessMode{"ReadWriteOnce"}, Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{"storage": resource.MustParse("1Gi")}},
			}}}
			s.Spec.Template.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}
		}, nil},
		"claims that ask for nothing": {func(s set) {
			s.Spec.VolumeClaimTemplates = []corev1.PersistentVolumeClaim{{ObjectMeta: metav1.ObjectMeta{Name: "data"}}, {ObjectMeta: metav1.ObjectMeta{Name: "log"}}}
			s.Spec.VolumeClaimTemplates[1].Spec.AccessModes = []corev1.PersistentVolumeAccessMode{"Any"}
			s.Spec.VolumeClaimTemplates[1].Spec.Resources.Requests = corev1.ResourceList{"storage": resource.MustParse("0")}
			s.Spec.Template.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "none", MountPath: "/data"}}
		}, []string{
			"spec.volumeClaimTemplates[0].spec.accessModes: Required value: at least 1 access mode is required",
			"spec.volumeClaimTemplates[0].spec.resources[storage]: Required value",
			`spec.volumeClaimTemplates[1].spec.accessModes: Unsupported value: "Any": supported values: "ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"`,
			`spec.volumeClaimTemplates[1].spec.resources[storage]: Invalid value: "0": must be greater than zero`,
			`spec.template.spec.containers[0].volumeMounts[0].name: Not found: "none"`,
		}},
		"replicas":        {func(s set) { s.Spec.Replicas = new(int32(-1)) }, []string{"spec.replicas: Invalid value: -1: " + negative}},
		"min ready":       {func(s set) { s.Spec.MinReadySeconds = -1 }, []string{"spec.minReadySeconds: Invalid value: -1: " + negative}},
		"start":           {func(s set) { s.Spec.Ordinals = &appsv1.StatefulSetOrdinals{Start: -1} }, []string{"spec.ordinals.start: Invalid value: -1: " + negative}},
		"all history":     {func(s set) { s.Spec.RevisionHistoryLimit = new(int32(-1)) }, nil},
		"names of pods":   {func(s set) { s.Spec.Template.Spec.Hostname, s.Spec.Template.Spec.Subdomain = "Any_", "a.b" }, nil},
		"a name of parts": {func(s set) { s.Name = "web.shop" }, []string{`metadata.name: Invalid value: "web.shop": must not contain dots`}},
		"no selector":     {func(s set) { s.Spec.Selector = nil }, []string{"spec.selector: Required value", "spec.template.metadata.labels: Invalid value: {\"app\":\"web\"}: `selector` does not match template `labels`"}},
		"empty selector":  {func(s set) { s.Spec.Selector = &metav1.LabelSelector{} }, []string{"spec.selector: Invalid value: {}: empty selector is invalid for statefulset"}},
		"other labels":    {func(s set) { s.Spec.Template.Labels["app"] = "x" }, []string{"spec.template.metadata.labels: Invalid value: {\"app\":\"x\"}: `selector` does not match template `labels`"}},
		"active deadline": {func(s set) { s.Spec.Template.Spec.ActiveDeadlineSeconds = new(int64(1)) }, []string{"spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in StatefulSet is not Supported"}},
		"restart policy":  {func(s set) { s.Spec.Template.Spec.RestartPolicy = "Never" }, []string{`spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"`}},
	})
	update(t, base, cases[set]{
		"what may change": {func(s set) {
			s.Spec.Replicas, s.Spec.MinReadySeconds, s.Spec.RevisionHistoryLimit = new(int32(9)), 3, new(int32(1))
			s.Spec.Template.Spec.Containers[0].Image, s.Spec.Ordinals = "web:2", &appsv1.StatefulSetOrdinals{Start: 1}
			s.Spec.UpdateStrategy.RollingUpdate.Partition, s.Spec.PersistentVolumeClaimRetentionPolicy.WhenDeleted = new(int32(1)), appsv1.DeletePersistentVolumeClaimRetentionPolicyType
		}, nil},
		"what may not": {func(s set) {
			s.Spec.ServiceName, s.Spec.PodManagementPolicy = "x", "Parallel"
			s.Spec.Selector.MatchLabels = map[string]string{"app": "x"}
			s.Spec.Template.Labels["app"] = "x"
		}, []string{
			`spec.selector: Invalid value: {"matchLabels":{"app":"x"}}: field is immutable`,
			`spec.serviceName: Invalid value: "x": field is immutable`,
			`spec.podManagementPolicy: Invalid value: "Parallel": field is immutable`,
		}},
	})
	update(t, base+"  volumeClaimTemplates: [{metadata: {name: data}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}]\n", cases[set]{
		"the same claims": {func(s set) { s.Spec.Replicas = new(int32(9)) }, nil},
		"larger claims": {func(s set) {
			s.Spec.VolumeClaimTemplates[0].Spec.Resources.Requests = corev1.ResourceList{"storage": resource.MustParse("2Gi")}
		}, []string{
			`spec.volumeClaimTemplates: Invalid value: [{"kind":"PersistentVolumeClaim","apiVersion":"v1","metadata":{"name":"data"},"spec":{"accessModes":["ReadWriteOnce"],"resources":{"requests":{"storage":"2Gi"}},"volumeMode":"Filesystem"},"status":{"phase":"Pending"}}]: field is immutable`,
		}},
	})
	updateStatus(t, base+"status: {collisionCount: 2, replicas: 0}\n", cases[set]{
		"fine":             {func(s set) { s.Status.Replicas, s.Status.ReadyReplicas = 2, 2 }, nil},
		"ready":            {func(s set) { s.Status.ReadyReplicas = 1 }, []string{"status.readyReplicas: Invalid value: 1: cannot be greater than status.replicas"}},
		"available":        {func(s set) { s.Status.Replicas, s.Status.AvailableReplicas = 1, 1 }, []string{"status.availableReplicas: Invalid value: 1: cannot be greater than status.readyReplicas"}},
		"fewer collisions": {func(s set) { s.Status.CollisionCount = new(int32(1)) }, []string{"status.collisionCount: Invalid value: 1: cannot be decremented"}},
	})
}
