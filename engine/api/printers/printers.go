// Package printers makes the tables that kubectl get shows, with the columns
// and words of the Kubernetes API server and, for Flux' kinds, of their custom
// resource definitions.
//
// [For] gives the table convertor of a kind, whose columns are in its definition
// in manifests/model/kinds. All functions are pure but for the clock that ages
// are relative to.
package printers

import (
	"context"
	"fmt"
	"slices"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/registry/rest"

	"headway.dev/manifests/model/column"
	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/object"
)

// table is how one kind is shown.
type table kind.Table[object.Object]

// For returns the table convertor of a kind.
func For(k *kind.Kind) rest.TableConvertor { return table(k.Table) }

// Scale shows the scales of all kinds.
var Scale rest.TableConvertor = table{
	Columns: column.Define("Name", "#Desired", "#Available", "Age"),
	Row: func(obj object.Object, now time.Time) []any {
		s, ok := obj.(*autoscalingv1.Scale)
		if !ok {
			return nil
		}
		return []any{s.Name, int64(s.Spec.Replicas), int64(s.Status.Replicas), column.Age(s, now)}
	},
}

// ConvertToTable implements rest.TableConvertor.
func (t table) ConvertToTable(_ context.Context, obj, tableOptions runtime.Object) (*metav1.Table, error) {
	out := &metav1.Table{}
	now := time.Now()
	add := func(obj runtime.Object) error {
		o, ok := obj.(object.Object)
		if !ok {
			return fmt.Errorf("print a %T: not an API object", obj)
		}
		row := metav1.TableRow{Cells: t.Row(o, now), Object: runtime.RawExtension{Object: obj}}
		if t.Conditions != nil {
			row.Conditions = t.Conditions(o)
		}
		out.Rows = append(out.Rows, row)
		return nil
	}
	if meta.IsListType(obj) {
		out.Rows = make([]metav1.TableRow, 0, meta.LenList(obj))
		if err := meta.EachListItem(obj, add); err != nil {
			return nil, fmt.Errorf("print list: %w", err)
		}
		if t.Compare != nil {
			slices.SortStableFunc(out.Rows, func(a, b metav1.TableRow) int {
				return t.Compare(a.Object.Object.(object.Object), b.Object.Object.(object.Object))
			})
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
		out.ColumnDefinitions = t.Columns
	}
	return out, nil
}
