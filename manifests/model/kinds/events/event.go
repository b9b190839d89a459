package events

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/kinds/core"
	"headway.dev/manifests/model/rule"
)

var event = kind.DefineView(core.Event, func(list *eventsv1.EventList, items []eventsv1.Event) { list.Items = items },
	kind.ViewDefinition[*eventsv1.Event, *corev1.Event]{
		Names: kind.Names{
			GroupVersionKind: eventsv1.SchemeGroupVersion.WithKind("Event"),
			Plural:           "events", Singular: "event",
			ShortNames: []string{"ev"}, Namespaced: true,
		},
		From: fromStored,
		To:   toStored,
		Fields: map[string]string{
			"reason": "reason", "type": "type", "reportingController": "reportingComponent",
			"regarding.kind": "involvedObject.kind", "regarding.namespace": "involvedObject.namespace",
			"regarding.name": "involvedObject.name", "regarding.uid": "involvedObject.uid",
			"regarding.apiVersion": "involvedObject.apiVersion", "regarding.resourceVersion": "involvedObject.resourceVersion",
			"regarding.fieldPath": "involvedObject.fieldPath",
		},
		Create: validateCreate,
		Update: validateUpdate,
	})

func fromStored(e *corev1.Event) *eventsv1.Event {
	v := &eventsv1.Event{
		ObjectMeta: e.ObjectMeta, EventTime: e.EventTime,
		ReportingController: e.ReportingController, ReportingInstance: e.ReportingInstance,
		Action: e.Action, Reason: e.Reason, Regarding: e.InvolvedObject, Related: e.Related, Note: e.Message, Type: e.Type,
		DeprecatedSource: e.Source, DeprecatedFirstTimestamp: e.FirstTimestamp, DeprecatedLastTimestamp: e.LastTimestamp,
		DeprecatedCount: e.Count,
	}
	if s := e.Series; s != nil {
		v.Series = &eventsv1.EventSeries{Count: s.Count, LastObservedTime: s.LastObservedTime}
	}
	return v
}

func toStored(v *eventsv1.Event) *corev1.Event {
	e := &corev1.Event{
		ObjectMeta: v.ObjectMeta, EventTime: v.EventTime,
		ReportingController: v.ReportingController, ReportingInstance: v.ReportingInstance,
		Action: v.Action, Reason: v.Reason, InvolvedObject: v.Regarding, Related: v.Related, Message: v.Note, Type: v.Type,
		Source: v.DeprecatedSource, FirstTimestamp: v.DeprecatedFirstTimestamp, LastTimestamp: v.DeprecatedLastTimestamp,
		Count: v.DeprecatedCount,
	}
	if s := v.Series; s != nil {
		e.Series = &corev1.EventSeries{Count: s.Count, LastObservedTime: s.LastObservedTime}
	}
	return e
}

// validateCreate is the strict validation of new events of this group. As in
// Kubernetes, errors name the fields of the stored form.
func validateCreate(e *corev1.Event) field.ErrorList {
	errs := apivalidation.ValidateObjectMetaAccessor(e, true, apivalidation.NameIsDNSSubdomain, rule.Metadata)
	errs = append(errs, validateSeries(e)...)
	if e.EventTime.IsZero() {
		errs = append(errs, field.Required(field.NewPath("eventTime"), ""))
	}
	if e.Type != corev1.EventTypeNormal && e.Type != corev1.EventTypeWarning {
		errs = append(errs, field.Invalid(field.NewPath("type"), "", fmt.Sprintf("has invalid value: %v", e.Type)))
	}
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"firstTimestamp", !e.FirstTimestamp.IsZero()},
		{"lastTimestamp", !e.LastTimestamp.IsZero()},
		{"count", e.Count != 0},
		{"source", e.Source != corev1.EventSource{}},
	} {
		if f.set {
			errs = append(errs, field.Invalid(field.NewPath(f.name), "", "needs to be unset"))
		}
	}
	return errs
}

// validateUpdate: only the series, and the metadata, of an event change.
func validateUpdate(e, old *corev1.Event) field.ErrorList {
	errs := apivalidation.ValidateObjectMetaAccessorUpdate(e, old, rule.Metadata)
	if kind.Differ(e.Series, old.Series) {
		errs = append(errs, validateSeries(e)...)
	}
	for _, f := range []struct {
		name     string
		now, was any
	}{
		{"involvedObject", e.InvolvedObject, old.InvolvedObject},
		{"reason", e.Reason, old.Reason},
		{"message", e.Message, old.Message},
		{"source", e.Source, old.Source},
		{"firstTimestamp", e.FirstTimestamp, old.FirstTimestamp},
		{"lastTimestamp", e.LastTimestamp, old.LastTimestamp},
		{"count", e.Count, old.Count},
		{"type", e.Type, old.Type},
		{"eventTime", e.EventTime, old.EventTime},
		{"action", e.Action, old.Action},
		{"related", e.Related, old.Related},
		{"reportingController", e.ReportingController, old.ReportingController},
		{"reportingInstance", e.ReportingInstance, old.ReportingInstance},
	} {
		errs = append(errs, apivalidation.ValidateImmutableField(f.now, f.was, field.NewPath(f.name))...)
	}
	return errs
}

func validateSeries(e *corev1.Event) field.ErrorList {
	if e.Series == nil {
		return nil
	}
	var errs field.ErrorList
	if e.Series.Count < 2 {
		errs = append(errs, field.Invalid(field.NewPath("series.count"), "", "should be at least 2"))
	}
	if e.Series.LastObservedTime.IsZero() {
		errs = append(errs, field.Required(field.NewPath("series.lastObservedTime"), ""))
	}
	return errs
}
