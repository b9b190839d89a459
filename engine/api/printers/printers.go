// Package printers makes the tables that kubectl get shows, with the columns
// and words of the Kubernetes API server and, for Flux' kinds, of their custom
// resource definitions.
//
// [For] gives the table convertor of a kind. To give a kind columns, write its
// columns and a row function, and add them to the table in this file; a kind
// without an entry shows its name and age. All functions are pure but for the
// clock that ages are relative to.
package printers

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/apiserver/pkg/registry/rest"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"

	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/object"
)

// table is how one kind is shown.
type table struct {
	columns []metav1.TableColumnDefinition
	// row returns the cells of one object in the order of columns, and what
	// clients may want to know of the row as a whole.
	row func(obj runtime.Object, now time.Time) ([]any, []metav1.TableRowCondition)
}

var tables = map[schema.GroupKind]table{
	{Kind: "Namespace"}:      {columns("Name", "Status", "Age"), rowOf(namespaceRow)},
	{Kind: "Node"}:           {columns("Name", "Status", "Roles", "Age", "Version", "+Internal-IP", "+External-IP", "+OS-Image", "+Kernel-Version", "+Container-Runtime"), rowOf(nodeRow)},
	{Kind: "Pod"}:            {columns("Name", "Ready", "Status", "Restarts", "Age", "+IP", "+Node", "+Nominated Node", "+Readiness Gates"), podRow},
	{Kind: "ConfigMap"}:      {columns("Name", "#Data", "Age"), rowOf(configMapRow)},
	{Kind: "Secret"}:         {columns("Name", "Type", "#Data", "Age"), rowOf(secretRow)},
	{Kind: "Service"}:        {columns("Name", "Type", "Cluster-IP", "External-IP", "Port(s)", "Age", "+Selector"), rowOf(serviceRow)},
	{Kind: "Endpoints"}:      {columns("Name", "Endpoints", "Age"), rowOf(endpointsRow)},
	{Kind: "Event"}:          {columns("Last Seen", "Type", "Reason", "Object", "+Subobject", "+Source", "Message", "+First Seen", "+#Count", "+Name"), rowOf(eventRow)},
	{Kind: "ServiceAccount"}: {columns("Name", "#Secrets", "Age"), rowOf(serviceAccountRow)},

	{Group: appsv1.GroupName, Kind: "Deployment"}: {columns("Name", "Ready", "#Up-to-date", "#Available", "Age", "+Containers", "+Images", "+Selector"), rowOf(deploymentRow)},
	{Group: appsv1.GroupName, Kind: "ReplicaSet"}: {columns("Name", "#Desired", "#Current", "#Ready", "Age", "+Containers", "+Images", "+Selector"), rowOf(replicaSetRow)},

	{Group: coordinationv1.GroupName, Kind: "Lease"}:      {columns("Name", "Holder", "Age"), rowOf(leaseRow)},
	{Group: discoveryv1.GroupName, Kind: "EndpointSlice"}: {columns("Name", "AddressType", "Ports", "Endpoints", "Age"), rowOf(endpointSliceRow)},

	{Group: rbacv1.GroupName, Kind: "Role"}:               {columns("Name", "Created At"), rowOf(roleRow)},
	{Group: rbacv1.GroupName, Kind: "ClusterRole"}:        {columns("Name", "Created At"), rowOf(clusterRoleRow)},
	{Group: rbacv1.GroupName, Kind: "RoleBinding"}:        {columns("Name", "Role", "Age", "+Users", "+Groups", "+ServiceAccounts"), rowOf(roleBindingRow)},
	{Group: rbacv1.GroupName, Kind: "ClusterRoleBinding"}: {columns("Name", "Role", "Age", "+Users", "+Groups", "+ServiceAccounts"), rowOf(clusterRoleBindingRow)},

	{Group: sourcev1.GroupVersion.Group, Kind: "GitRepository"}:    {columns("Name", "URL", "Age", "Ready", "Status"), rowOf(gitRepositoryRow)},
	{Group: kustomizev1.GroupVersion.Group, Kind: "Kustomization"}: {columns("Name", "Age", "Ready", "Status"), rowOf(kustomizationRow)},
}

// For returns the table convertor of a kind.
func For(kind *kind.Kind) rest.TableConvertor {
	t, ok := tables[kind.GroupKind()]
	if !ok {
		t = table{columns("Name", "Age"), rowOf(func(o object.Object, now time.Time) []any { return []any{o.GetName(), age(o, now)} })}
	}
	return t
}

// ConvertToTable implements rest.TableConvertor.
func (t table) ConvertToTable(_ context.Context, obj, tableOptions runtime.Object) (*metav1.Table, error) {
	out := &metav1.Table{}
	now := time.Now()
	add := func(obj runtime.Object) error {
		cells, conditions := t.row(obj, now)
		out.Rows = append(out.Rows, metav1.TableRow{Cells: cells, Conditions: conditions, Object: runtime.RawExtension{Object: obj}})
		return nil
	}
	if meta.IsListType(obj) {
		out.Rows = make([]metav1.TableRow, 0, meta.LenList(obj))
		if err := meta.EachListItem(obj, add); err != nil {
			return nil, fmt.Errorf("print list: %w", err)
		}
	} else if err := add(obj); err != nil {
		return nil, err
	}
	if m, err := meta.ListAccessor(obj); err == nil {
		out.ResourceVersion, out.Continue, out.RemainingItemCount = m.GetResourceVersion(), m.GetContinue(), m.GetRemainingItemCount()
	} else if m, err := meta.CommonAccessor(obj); err == nil {
		out.ResourceVersion = m.GetResourceVersion()
	}
	if opt, ok := tableOptions.(*metav1.TableOptions); !ok || !opt.NoHeaders {
		out.ColumnDefinitions = t.columns
	}
	return out, nil
}

// columns defines columns by their names: a leading + is one of the wide
// output, a leading # a number, and Name is the object's name.
func columns(names ...string) []metav1.TableColumnDefinition {
	defs := make([]metav1.TableColumnDefinition, len(names))
	for i, name := range names {
		d := metav1.TableColumnDefinition{Type: "string"}
		if name[0] == '+' {
			d.Priority, name = 1, name[1:]
		}
		if name[0] == '#' {
			d.Type, name = "integer", name[1:]
		}
		d.Name = name
		switch name {
		case "Name":
			d.Format = "name"
			d.Description = objectMetaDoc["name"]
		case "Age":
			d.Description = objectMetaDoc["creationTimestamp"]
		}
		defs[i] = d
	}
	return defs
}

var objectMetaDoc = metav1.ObjectMeta{}.SwaggerDoc()

func rowOf[T runtime.Object](row func(obj T, now time.Time) []any) func(runtime.Object, time.Time) ([]any, []metav1.TableRowCondition) {
	return func(obj runtime.Object, now time.Time) ([]any, []metav1.TableRowCondition) {
		return row(obj.(T), now), nil
	}
}

// age is how long an object has existed, in kubectl's short form.
func age(obj object.Object, now time.Time) string { return since(obj.GetCreationTimestamp(), now) }

func since(t metav1.Time, now time.Time) string {
	if t.IsZero() {
		return "<unknown>"
	}
	return duration.HumanDuration(now.Sub(t.Time))
}

func sinceMicro(t metav1.MicroTime, now time.Time) string {
	return since(metav1.Time(t), now)
}

// or stands in for an empty cell.
func or(s, empty string) string {
	if s == "" {
		return empty
	}
	return s
}

const none = "<none>"
