package core

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"headway.dev/manifests/model/column"
	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/rule"
)

// Event is also served in events.k8s.io (manifests/model/kinds/events).
var Event = kind.Define[corev1.Event, corev1.EventList](kind.Definition[*corev1.Event]{
	Names: kind.Names{
		GroupVersionKind: corev1.SchemeGroupVersion.WithKind("Event"),
		Plural:           "events", Singular: "event",
		ShortNames: []string{"ev"}, Namespaced: true,
	},
	Order:    kind.Anywhere,
	Volatile: true,
	// Nothing depends on an event. It is kept as kube-apiserver's --event-ttl has
	// it.
	REST:      kind.REST{CreateOnUpdate: true, NoDependents: true, TTL: time.Hour},
	Lifecycle: kind.Lifecycle[*corev1.Event]{IgnoresPropagation: true},
	Rules: kind.Rules[*corev1.Event]{
		Object: validateEvent,
	},
	Table: kind.Table[*corev1.Event]{
		Columns: column.Define("Last Seen", "Type", "Reason", "Object", "+Subobject", "+Source", "Message", "+First Seen", "+#Count", "+Name"),
		Row:     eventRow,
	},
	Fields: kind.Fields[*corev1.Event]{
		Names: []string{
			"involvedObject.kind", "involvedObject.namespace", "involvedObject.name", "involvedObject.uid", "involvedObject.apiVersion",
			"involvedObject.resourceVersion", "involvedObject.fieldPath", "reason", "reportingComponent", "source", "type",
		},
		Read: func(event *corev1.Event, into fields.Set) {
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
})

func eventRow(e *corev1.Event, now time.Time) []any {
	first := column.Since(e.FirstTimestamp, now)
	if e.FirstTimestamp.IsZero() {
		first = column.SinceMicro(e.EventTime, now)
	}
	last := column.Since(e.LastTimestamp, now)
	if e.LastTimestamp.IsZero() {
		last = first
	}
	count := e.Count
	if e.Series != nil {
		last = column.SinceMicro(e.Series.LastObservedTime, now)
		count = e.Series.Count
	} else if count == 0 {
		// An event of the new API that has not repeated has no count.
		count = 1
	}
	target := strings.ToLower(e.InvolvedObject.Kind)
	if e.InvolvedObject.Name != "" {
		target += "/" + e.InvolvedObject.Name
	}
	return []any{
		last, e.Type, e.Reason, target, e.InvolvedObject.FieldPath, eventSource(e), strings.TrimSpace(e.Message),
		first, int64(count), e.Name,
	}
}

func eventSource(e *corev1.Event) string {
	component := column.Or(e.Source.Component, e.ReportingController)
	host := column.Or(e.Source.Host, e.ReportingInstance)
	if host == "" {
		return component
	}
	return component + ", " + host
}

const (
	maxEventName    = 128
	maxEventMessage = 1024
)

// validateEvent holds for events of core/v1, which are checked less than those of
// events.k8s.io/v1: not even their metadata is.
func validateEvent(e *corev1.Event) field.ErrorList {
	errs := eventNamespace(e)
	if !e.EventTime.IsZero() {
		controller := field.NewPath("reportingController")
		if e.ReportingController == "" {
			errs = append(errs, field.Required(controller, ""))
		}
		errs = append(errs, rule.Invalid(controller, e.ReportingController, validation.IsQualifiedName(e.ReportingController))...)
		for _, f := range []struct {
			name, value string
		}{{"reportingInstance", e.ReportingInstance}, {"action", e.Action}, {"reason", e.Reason}} {
			if f.value == "" {
				errs = append(errs, field.Required(field.NewPath(f.name), ""))
			}
			errs = append(errs, atMost(f.value, maxEventName, f.name)...)
		}
		errs = append(errs, atMost(e.Message, maxEventMessage, "message")...)
	}
	return append(errs, rule.DNSSubdomain(e.Namespace, field.NewPath("namespace"))...)
}

// eventNamespace demands that an event lies with its object; those about
// objects without a namespace lie in default.
func eventNamespace(e *corev1.Event) field.ErrorList {
	about, ok := e.InvolvedObject.Namespace, false
	switch {
	case about != "":
		ok = about == e.Namespace || !e.EventTime.IsZero()
	case e.EventTime.IsZero():
		ok = e.Namespace == "" || e.Namespace == corev1.NamespaceDefault
	default:
		ok = e.Namespace == corev1.NamespaceDefault || e.Namespace == "kube-system"
	}
	if ok {
		return nil
	}
	return field.ErrorList{field.Invalid(field.NewPath("involvedObject", "namespace"), about, "does not match event.namespace")}
}

func atMost(value string, limit int, name string) field.ErrorList {
	if len(value) <= limit {
		return nil
	}
	return field.ErrorList{field.Invalid(field.NewPath(name), "", fmt.Sprintf("can have at most %v characters", limit))}
}
