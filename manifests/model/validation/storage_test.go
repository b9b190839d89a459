package validation_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const subdomain = `a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')`

func claimCases(t *testing.T) {
	t.Helper()
	type claim = *corev1.PersistentVolumeClaim
	size := func(s string) func(claim) {
		return func(c claim) { c.Spec.Resources.Requests = corev1.ResourceList{"storage": resource.MustParse(s)} }
	}
	modes := func(modes ...corev1.PersistentVolumeAccessMode) func(claim) {
		return func(c claim) { c.Spec.AccessModes = modes }
	}
	base := `{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: data, namespace: shop}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 2Gi}}}}`
	create(t, base, cases[claim]{
		"no class":      {func(c claim) { c.Spec.StorageClassName = new("") }, nil},
		"no modes":      {modes(), []string{"spec.accessModes: Required value: at least 1 access mode is required"}},
		"mode":          {modes("Write"), []string{`spec.accessModes: Unsupported value: "Write": supported values: "ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"`}},
		"one pod, any":  {modes(corev1.ReadWriteOncePod, "Any"), []string{`spec.accessModes: Unsupported value: "Any": supported values: "ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"`}},
		"one pod, more": {modes(corev1.ReadWriteOncePod, corev1.ReadWriteOnce), []string{"spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes"}},
		"no size":       {func(c claim) { c.Spec.Resources.Requests = nil }, []string{"spec.resources[storage]: Required value"}},
		"size 0":        {size("0"), []string{`spec.resources[storage]: Invalid value: "0": must be greater than zero`}},
		"class":         {func(c claim) { c.Spec.StorageClassName = new("Fast") }, []string{`spec.storageClassName: Invalid value: "Fast": ` + subdomain}},
		"volume mode": {func(c claim) { c.Spec.VolumeMode = new(corev1.PersistentVolumeMode("Tape")) }, []string{
			`spec.volumeMode: Unsupported value: "Tape": supported values: "Block", "Filesystem"`,
		}},
		"selector": {func(c claim) {
			c.Spec.Selector = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Like"}}}
		}, []string{`spec.selector.matchExpressions[0].operator: Invalid value: "Like": not a valid selector operator`}},
	})
	const immutable = "spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
	update(t, base, cases[claim]{
		"volume":        {func(c claim) { c.Spec.VolumeName = "v" }, nil},
		"default class": {func(c claim) { c.Spec.StorageClassName = new("slow") }, nil},
		"old class":     {func(c claim) { c.Annotations = map[string]string{corev1.BetaStorageClassAnnotation: "slow"} }, []string{`metadata.annotations.volume.beta.kubernetes.io/storage-class: Invalid value: "slow": field is immutable`}},
		"labels":        {func(c claim) { c.Labels = map[string]string{"a": "b"} }, nil},
		"modes":         {modes(corev1.ReadWriteMany), []string{immutable}},
		"more, pending": {size("3Gi"), []string{immutable}},
	})
	annotated := strings.Replace(base, "name: data,", "name: data, annotations: {volume.beta.kubernetes.io/storage-class: slow},", 1)
	update(t, annotated, cases[claim]{
		"field in its place": {func(c claim) { c.Spec.StorageClassName, c.Annotations = new("slow"), nil }, nil},
		"field beside it":    {func(c claim) { c.Spec.StorageClassName = new("slow") }, nil},
		"another field":      {func(c claim) { c.Spec.StorageClassName = new("fast") }, []string{immutable}},
		"nothing":            {func(c claim) { c.Annotations = nil }, []string{`metadata.annotations.volume.beta.kubernetes.io/storage-class: Invalid value: "": field is immutable`}},
	})
	bound := `{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: data, namespace: shop}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 2Gi}}, storageClassName: a, volumeName: v}, status: {phase: Bound, capacity: {storage: 2Gi}}}`
	update(t, bound, cases[claim]{
		"more":  {size("3Gi"), nil},
		"less":  {size("1Gi"), []string{"spec.resources.requests.storage: Forbidden: field can not be less than status.capacity"}},
		"class": {func(c claim) { c.Spec.StorageClassName = new("b") }, []string{immutable}},
		"other": {func(c claim) { c.Spec.VolumeName = "w" }, []string{immutable}},
	})
	updateStatus(t, bound, cases[claim]{
		"fine": {func(c claim) { c.Status.Phase = corev1.ClaimLost }, nil},
		"capacity": {func(c claim) { c.Status.Capacity = corev1.ResourceList{"storage": resource.MustParse("-1")} }, []string{
			`status.capacity[storage]: Invalid value: -1: must be a valid resource quantity`,
		}},
	})
}

func persistentVolumeCases(t *testing.T) {
	t.Helper()
	type pv = *corev1.PersistentVolume
	local := func(v pv) {
		v.Spec.PersistentVolumeSource = corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: "/mnt"}}
	}
	base := `{apiVersion: v1, kind: PersistentVolume, metadata: {name: v}, spec: {accessModes: [ReadWriteOnce], capacity: {storage: 2Gi}, hostPath: {path: /srv}}}`
	create(t, base, cases[pv]{
		"no modes":    {func(v pv) { v.Spec.AccessModes = nil }, []string{"spec.accessModes: Required value"}},
		"no capacity": {func(v pv) { v.Spec.Capacity = nil }, []string{"spec.capacity: Required value", `spec.capacity: Unsupported value: null: supported values: "storage"`}},
		"capacity 0":  {func(v pv) { v.Spec.Capacity["storage"] = resource.MustParse("0") }, []string{`spec.capacity[storage]: Invalid value: "0": must be greater than zero`}},
		"policy": {func(v pv) { v.Spec.PersistentVolumeReclaimPolicy = "Burn" }, []string{
			`spec.persistentVolumeReclaimPolicy: Unsupported value: "Burn": supported values: "Delete", "Recycle", "Retain"`,
		}},
		"no source":       {func(v pv) { v.Spec.HostPath = nil }, []string{"spec: Required value: must specify a volume type"}},
		"no path":         {func(v pv) { v.Spec.HostPath.Path = "" }, []string{"spec.hostPath.path: Required value"}},
		"backsteps":       {func(v pv) { v.Spec.HostPath.Path = "/a/../b" }, []string{`spec.hostPath.path: Invalid value: "/a/../b": must not contain '..'`}},
		"two":             {func(v pv) { v.Spec.NFS = &corev1.NFSVolumeSource{Server: "s", Path: "/"} }, []string{"spec.nfs: Forbidden: may not specify more than 1 volume type"}},
		"local, anywhere": {local, []string{"spec.nodeAffinity: Required value: Local volume requires node affinity"}},
		"affinity": {func(v pv) { v.Spec.NodeAffinity = &corev1.VolumeNodeAffinity{} }, []string{
			"spec.nodeAffinity.required: Required value: must specify required node constraints",
		}},
		"class": {func(v pv) { v.Spec.StorageClassName = "Fast" }, []string{`spec.storageClassName: Invalid value: "Fast": ` + subdomain}},
	})
	update(t, base, cases[pv]{
		"claim":  {func(v pv) { v.Spec.ClaimRef = &corev1.ObjectReference{Namespace: "shop", Name: "data"} }, nil},
		"policy": {func(v pv) { v.Spec.PersistentVolumeReclaimPolicy = corev1.PersistentVolumeReclaimDelete }, nil},
		"source": {func(v pv) { v.Spec.HostPath.Path = "/other" }, []string{"spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation"}},
	})
}

func storageClassCases(t *testing.T) {
	t.Helper()
	type class = *storagev1.StorageClass
	base := `{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: fast}, provisioner: example.com/disks, parameters: {kind: ssd}}`
	create(t, base, cases[class]{
		"no provisioner": {func(c class) { c.Provisioner = "" }, []string{"provisioner: Required value"}},
		"policy":         {func(c class) { c.ReclaimPolicy = new(corev1.PersistentVolumeReclaimRecycle) }, []string{`reclaimPolicy: Unsupported value: "Recycle": supported values: "Delete", "Retain"`}},
		"mode":           {func(c class) { c.VolumeBindingMode = new(storagev1.VolumeBindingMode("Later")) }, []string{`volumeBindingMode: Unsupported value: "Later": supported values: "Immediate", "WaitForFirstConsumer"`}},
		"parameter":      {func(c class) { c.Parameters[""] = "x" }, []string{`parameters: Invalid value: "": field can not be empty.`}},
		"topology": {func(c class) {
			c.AllowedTopologies = []corev1.TopologySelectorTerm{{MatchLabelExpressions: []corev1.TopologySelectorLabelRequirement{{Key: "zone"}}}}
		}, []string{"allowedTopologies[0].matchLabelExpressions[0].values: Required value"}},
		"topologies": {func(c class) {
			in := func(values ...string) corev1.TopologySelectorTerm {
				return corev1.TopologySelectorTerm{MatchLabelExpressions: []corev1.TopologySelectorLabelRequirement{{Key: "zone", Values: values}}}
			}
			c.AllowedTopologies = []corev1.TopologySelectorTerm{in("a", "b"), in("a"), in("b", "a"), {}}
		}, []string{`allowedTopologies[2].matchLabelExpressions: Duplicate value: ""`, `allowedTopologies[3].matchLabelExpressions: Duplicate value: ""`}},
	})
	update(t, base, cases[class]{
		"expansion":   {func(c class) { c.AllowVolumeExpansion = new(true) }, nil},
		"parameters":  {func(c class) { c.Parameters["kind"] = "tape" }, []string{`parameters: Invalid value: {"kind":"tape"}: field is immutable`}},
		"provisioner": {func(c class) { c.Provisioner = "example.com/tapes" }, []string{`provisioner: Invalid value: "example.com/tapes": field is immutable`}},
		"policy":      {func(c class) { c.ReclaimPolicy = new(corev1.PersistentVolumeReclaimRetain) }, []string{`reclaimPolicy: Invalid value: "Retain": field is immutable`}},
		"mode":        {func(c class) { c.VolumeBindingMode = new(storagev1.VolumeBindingWaitForFirstConsumer) }, []string{`volumeBindingMode: Invalid value: "WaitForFirstConsumer": field is immutable`}},
	})
}

func attachmentCases(t *testing.T) {
	t.Helper()
	type attachment = *storagev1.VolumeAttachment
	const one = "must specify exactly one of inlineVolumeSpec and persistentVolumeName"
	base := `{apiVersion: storage.k8s.io/v1, kind: VolumeAttachment, metadata: {name: a}, spec: {attacher: csi.example.com, nodeName: n1, source: {persistentVolumeName: disk}}}`
	create(t, base, cases[attachment]{
		"no attacher":   {func(a attachment) { a.Spec.Attacher = "" }, []string{"spec.attacher: Required value"}},
		"attacher":      {func(a attachment) { a.Spec.Attacher = "a_b" }, []string{`spec.attacher: Invalid value: "a_b": ` + subdomain}},
		"upper case":    {func(a attachment) { a.Spec.Attacher = "CSI.example.com" }, nil},
		"long attacher": {func(a attachment) { a.Spec.Attacher = strings.Repeat("a", 64) }, []string{"spec.attacher: Too long: may not be more than 63 bytes"}},
		"no source":     {func(a attachment) { a.Spec.Source.PersistentVolumeName = nil }, []string{"spec.source: Required value: " + one}},
		"two sources": {func(a attachment) { a.Spec.Source.InlineVolumeSpec = &corev1.PersistentVolumeSpec{} }, []string{
			"spec.source.inlineVolumeSpec: Forbidden: not supported yet: volumes of pods are not moved to CSI drivers; name a PersistentVolume",
			"spec.source: Forbidden: " + one,
		}},
		"empty volume": {func(a attachment) { a.Spec.Source.PersistentVolumeName = new("") }, []string{
			"spec.source.persistentVolumeName: Required value: must specify non empty persistentVolumeName",
		}},
		"volume": {func(a attachment) { a.Spec.Source.PersistentVolumeName = new("Disk") }, []string{`spec.source.persistentVolumeName: Invalid value: "Disk": ` + subdomain}},
		"node":   {func(a attachment) { a.Spec.NodeName = "N1" }, []string{`spec.nodeName: Invalid value: "N1": ` + subdomain}},
	})
	update(t, base, cases[attachment]{
		"labels": {func(a attachment) { a.Labels = map[string]string{"a": "b"} }, nil},
		"spec":   {func(a attachment) { a.Spec.NodeName = "n2" }, []string{`spec: Invalid value: {"attacher":"csi.example.com","source":{"persistentVolumeName":"disk"},"nodeName":"n2"}: field is immutable`}},
	})
	updateStatus(t, base, cases[attachment]{
		"attached": {func(a attachment) {
			a.Status.Attached = true
			a.Status.AttachmentMetadata = map[string]string{"device": "sdb"}
		}, nil},
		"metadata": {func(a attachment) {
			a.Status.AttachmentMetadata = map[string]string{"a": strings.Repeat("b", 256*1024)}
		}, []string{"status.attachmentMetadata: Too long: may not be more than 262144 bytes"}},
		"message": {func(a attachment) { a.Status.AttachError = &storagev1.VolumeError{Message: strings.Repeat("b", 1025)} }, []string{"status.attachError.message: Too long: may not be more than 262144 bytes"}},
		"code":    {func(a attachment) { a.Status.DetachError = &storagev1.VolumeError{ErrorCode: new(int32(-1))} }, []string{"status.detachError.errorCode: Invalid value: -1: must be between 0 and 2147483647, inclusive"}},
	})
}
