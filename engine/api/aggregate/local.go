package aggregate

import (
	"context"
	"fmt"
	"reflect"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/kube-aggregator/pkg/apis/apiregistration/v1/helper"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

// managed is the label of the APIServices that are kept here. Its values are those
// of Kubernetes: what the server serves as long as it runs, and custom resources.
const (
	managed     = "kube-aggregator.kubernetes.io/automanaged"
	onStart     = "onstart"
	continually = "true"
)

// priorities are Kubernetes' own, of groups and of their versions.
var priorities = map[schema.GroupVersion][2]int32{
	{Version: "v1"}:                                        {18000, 1},
	{Group: "apps", Version: "v1"}:                         {17800, 15},
	{Group: "events.k8s.io", Version: "v1"}:                {17750, 15},
	{Group: "authentication.k8s.io", Version: "v1"}:        {17700, 15},
	{Group: "authorization.k8s.io", Version: "v1"}:         {17600, 15},
	{Group: "autoscaling", Version: "v1"}:                  {17500, 15},
	{Group: "autoscaling", Version: "v2"}:                  {17500, 30},
	{Group: "batch", Version: "v1"}:                        {17400, 15},
	{Group: "certificates.k8s.io", Version: "v1"}:          {17300, 15},
	{Group: "networking.k8s.io", Version: "v1"}:            {17200, 15},
	{Group: "policy", Version: "v1"}:                       {17100, 15},
	{Group: "rbac.authorization.k8s.io", Version: "v1"}:    {17000, 15},
	{Group: "storage.k8s.io", Version: "v1"}:               {16800, 15},
	{Group: "apiextensions.k8s.io", Version: "v1"}:         {16700, 15},
	{Group: "admissionregistration.k8s.io", Version: "v1"}: {16700, 15},
	{Group: "scheduling.k8s.io", Version: "v1"}:            {16600, 15},
	{Group: "coordination.k8s.io", Version: "v1"}:          {16500, 15},
	{Group: "node.k8s.io", Version: "v1"}:                  {16300, 15},
	{Group: "discovery.k8s.io", Version: "v1"}:             {16200, 15},
	{Group: "flowcontrol.apiserver.k8s.io", Version: "v1"}: {16100, 21},
	{Group: "storagemigration.k8s.io", Version: "v1"}:      {15800, 9},
	{Group: "metrics.k8s.io", Version: "v1beta1"}:          {100, 100}, // as metrics-server has it
	// The group of APIServices is the first of all, and has none itself.
	apiregistrationv1.SchemeGroupVersion: {20000, 1},
}

// priority of a group version, which is that of custom resources for what
// Kubernetes does not serve.
func priority(gv schema.GroupVersion) (group, version int32) {
	if p, ok := priorities[gv]; ok {
		return p[0], p[1]
	}
	return 1000, 100
}

// wanted are the APIServices of what the server serves itself, by name, with the
// value of their label.
func (a *Aggregator) wanted() map[string]*apiregistrationv1.APIService {
	want := map[string]*apiregistrationv1.APIService{}
	add := func(gv schema.GroupVersion, label string) {
		name := gv.Version + "." + gv.Group
		if want[name] != nil || gv == apiregistrationv1.SchemeGroupVersion {
			return
		}
		s := &apiregistrationv1.APIService{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{managed: label}}}
		s.Spec.Group, s.Spec.Version = gv.Group, gv.Version
		s.Spec.GroupPriorityMinimum, s.Spec.VersionPriority = priority(gv)
		want[name] = s
	}
	for _, gv := range a.local {
		add(gv, onStart)
	}
	definitions, _ := object.Heads(a.Store, definition)
	for _, obj := range definitions {
		crd, ok := obj.(*apiextensionsv1.CustomResourceDefinition)
		if !ok {
			continue
		}
		for _, v := range crd.Spec.Versions {
			if v.Served {
				add(schema.GroupVersion{Group: crd.Spec.Group, Version: v.Name}, continually)
			}
		}
	}
	return want
}

// Reconcile makes the APIServices of what the server serves itself those that they
// should be. It leaves those alone that are not labelled as kept: an APIService that
// hands on a group version for which there is a definition, too, stays.
func (a *Aggregator) Reconcile(ctx context.Context) error {
	now := time.Now()
	want := a.wanted()
	stored, _ := a.Store.List(kind, "")
	var changes []change.Change
	for _, obj := range stored {
		s, ok := obj.(*apiregistrationv1.APIService)
		if !ok {
			continue
		}
		next := want[s.Name]
		delete(want, s.Name)
		label := s.Labels[managed]
		key := object.Key{GroupKind: kind, Name: s.Name}
		switch {
		case s.DeletionTimestamp != nil:
		case label != onStart && label != continually:
		case a.remote(versionOf(s)) != nil: // it is handed on in place of what yields
		case next == nil:
			changes = append(changes, present(change.Delete(key, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(s.UID))}, now)))
			continue
		case !reflect.DeepEqual(s.Spec, next.Spec):
			changes = append(changes, present(change.Patch(key, func(obj object.Object) bool {
				obj.(*apiregistrationv1.APIService).Spec = next.Spec
				return true
			})))
			continue // its status is seen to when that is stored
		}
		if s.Spec.Service == nil && !isLocal(s) {
			changes = append(changes, present(change.PatchStatus(key, func(obj object.Object) bool {
				s := obj.(*apiregistrationv1.APIService)
				if s.Spec.Service != nil {
					return false
				}
				helper.SetAPIServiceCondition(s, helper.NewLocalAvailableAPIServiceCondition())
				return true
			})))
		}
	}
	for _, s := range want {
		changes = append(changes, change.Absent(change.Create(s, now)))
	}
	if len(changes) == 0 {
		return nil
	}
	if _, err := a.Store.Commit(ctx, change.Tx{Changes: changes}); err != nil {
		return fmt.Errorf("keep the APIServices of what the server serves itself: %w", err)
	}
	return nil
}

func isLocal(s *apiregistrationv1.APIService) bool {
	c := helper.GetAPIServiceConditionByType(s, apiregistrationv1.Available)
	return c != nil && c.Status == apiregistrationv1.ConditionTrue && c.Reason == helper.NewLocalAvailableAPIServiceCondition().Reason
}

// present returns a change that does nothing to an object that is gone.
func present(c change.Change) change.Change {
	mutate := c.Mutate
	c.Mutate = func(current object.Object) (object.Object, error) {
		if current == nil {
			return nil, nil
		}
		return mutate(current)
	}
	return c
}
