// Package fields says which fields of each kind a field selector can name, and
// reads them. Every kind has metadata.name and, if namespaced,
// metadata.namespace; the table adds those that the Kubernetes API has for some
// kinds. Its functions are pure.
package fields

import (
	"fmt"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	appsv1 "k8s.io/api/apps/v1"

	"headway.dev/manifests/model/object"
)

// selectable lists, for each kind, the fields beyond the metadata. Order does
// not matter.
var selectable = map[schema.GroupKind]struct {
	labels []string
	set    func(obj runtime.Object, into fields.Set)
}{
	{Kind: "Pod"}: {
		[]string{"spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName", "spec.hostNetwork", "status.phase", "status.podIP", "status.podIPs", "status.nominatedNodeName"},
		func(obj runtime.Object, into fields.Set) {
			pod := obj.(*corev1.Pod)
			into["spec.nodeName"] = pod.Spec.NodeName
			into["spec.restartPolicy"] = string(pod.Spec.RestartPolicy)
			into["spec.schedulerName"] = pod.Spec.SchedulerName
			into["spec.serviceAccountName"] = pod.Spec.ServiceAccountName
			into["spec.hostNetwork"] = strconv.FormatBool(pod.Spec.HostNetwork)
			into["status.phase"] = string(pod.Status.Phase)
			into["status.podIP"] = pod.Status.PodIP
			into["status.nominatedNodeName"] = pod.Status.NominatedNodeName
		},
	},
	{Kind: "Node"}: {
		[]string{"spec.unschedulable"},
		func(obj runtime.Object, into fields.Set) {
			into["spec.unschedulable"] = strconv.FormatBool(obj.(*corev1.Node).Spec.Unschedulable)
		},
	},
	{Kind: "Namespace"}: {
		[]string{"status.phase"},
		func(obj runtime.Object, into fields.Set) {
			into["status.phase"] = string(obj.(*corev1.Namespace).Status.Phase)
		},
	},
	{Kind: "Secret"}: {
		[]string{"type"},
		func(obj runtime.Object, into fields.Set) { into["type"] = string(obj.(*corev1.Secret).Type) },
	},
	{Kind: "Service"}: {
		[]string{"spec.clusterIP", "spec.type"},
		func(obj runtime.Object, into fields.Set) {
			service := obj.(*corev1.Service)
			into["spec.clusterIP"] = service.Spec.ClusterIP
			into["spec.type"] = string(service.Spec.Type)
		},
	},
	{Group: "apps", Kind: "ReplicaSet"}: {
		[]string{"status.replicas"},
		func(obj runtime.Object, into fields.Set) {
			into["status.replicas"] = strconv.Itoa(int(obj.(*appsv1.ReplicaSet).Status.Replicas))
		},
	},
	{Kind: "Event"}: {
		[]string{
			"involvedObject.kind", "involvedObject.namespace", "involvedObject.name", "involvedObject.uid", "involvedObject.apiVersion",
			"involvedObject.resourceVersion", "involvedObject.fieldPath", "reason", "reportingComponent", "source", "type",
		},
		func(obj runtime.Object, into fields.Set) {
			event := obj.(*corev1.Event)
			into["involvedObject.kind"] = event.InvolvedObject.Kind
			into["involvedObject.namespace"] = event.InvolvedObject.Namespace
			into["involvedObject.name"] = event.InvolvedObject.Name
			into["involvedObject.uid"] = string(event.InvolvedObject.UID)
			into["involvedObject.apiVersion"] = event.InvolvedObject.APIVersion
			into["involvedObject.resourceVersion"] = event.InvolvedObject.ResourceVersion
			into["involvedObject.fieldPath"] = event.InvolvedObject.FieldPath
			into["reason"] = event.Reason
			into["reportingComponent"] = event.ReportingController
			into["source"] = event.Source.Component
			if into["source"] == "" {
				into["source"] = event.ReportingController
			}
			into["type"] = event.Type
		},
	},
}

// Convert checks that a field selector may name label for the kind, and
// returns the name and value to compare: old spellings become new ones. The
// error is the one that Kubernetes answers.
func Convert(kind schema.GroupKind, label, value string) (string, string, error) {
	switch label {
	case "metadata.name", "metadata.namespace":
		return label, value, nil
	}
	if kind == (schema.GroupKind{Kind: "Pod"}) {
		switch label {
		case "spec.host":
			return "spec.nodeName", value, nil
		case "status.podIPs":
			return "status.podIP", value, nil
		}
	}
	if slices.Contains(selectable[kind].labels, label) {
		return label, value, nil
	}
	return "", "", fmt.Errorf("field label not supported: %s", label)
}

// Attrs reads the labels and the selectable fields of an object; it is a
// storage.AttrFunc.
func Attrs(kind schema.GroupKind, namespaced bool) func(runtime.Object) (labels.Set, fields.Set, error) {
	extra := selectable[kind]
	return func(obj runtime.Object) (labels.Set, fields.Set, error) {
		o, ok := obj.(object.Object)
		if !ok {
			return nil, nil, fmt.Errorf("read the fields of a %T: not an API object", obj)
		}
		set := make(fields.Set, 2+len(extra.labels))
		set["metadata.name"] = o.GetName()
		if namespaced {
			set["metadata.namespace"] = o.GetNamespace()
		}
		if extra.set != nil {
			extra.set(obj, set)
		}
		return o.GetLabels(), set, nil
	}
}
