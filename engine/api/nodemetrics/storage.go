package nodemetrics

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/metrics/pkg/apis/metrics/v1beta1"

	"headway.dev/manifests/model/object"
)

// GroupVersion is what is served.
var GroupVersion = v1beta1.SchemeGroupVersion

// Storage returns the REST storages, by resource.
func Storage(c *Collector) map[string]rest.Storage {
	return map[string]rest.Storage{"nodes": nodes{figures{c}}, "pods": pods{figures{c}}}
}

var _ interface {
	rest.Getter
	rest.Lister
	rest.Scoper
	rest.SingularNameProvider
} = pods{}

type figures struct{ *Collector }

// Destroy implements rest.Storage.
func (figures) Destroy() {}

// ready waits for the figures.
func (f figures) ready(ctx context.Context) error {
	err := f.await(ctx)
	if errors.Is(err, errNotYet) {
		return apierrors.NewServiceUnavailable(err.Error())
	}
	return err
}

// nodes serves NodeMetrics.
type nodes struct{ figures }

// New implements rest.Storage.
func (nodes) New() runtime.Object { return &v1beta1.NodeMetrics{} }

// NewList implements rest.Lister.
func (nodes) NewList() runtime.Object { return &v1beta1.NodeMetricsList{} }

// NamespaceScoped implements rest.Scoper.
func (nodes) NamespaceScoped() bool { return false }

// GetSingularName implements rest.SingularNameProvider.
func (nodes) GetSingularName() string { return "" }

// Get implements rest.Getter.
func (n nodes) Get(ctx context.Context, name string, _ *metav1.GetOptions) (runtime.Object, error) {
	node := n.reader.Get(object.Key{GroupKind: nodeKind, Name: name})
	if node == nil {
		return nil, missing("nodes", name)
	}
	if err := n.ready(ctx); err != nil {
		return nil, err
	}
	m, ok := n.metrics(node)
	if !ok {
		return nil, missing("nodes", name)
	}
	return &m, nil
}

// List implements rest.Lister.
func (n nodes) List(ctx context.Context, options *internalversion.ListOptions) (runtime.Object, error) {
	list := &v1beta1.NodeMetricsList{Items: []v1beta1.NodeMetrics{}}
	if err := n.ready(ctx); err != nil {
		return nil, err
	}
	all, _ := n.reader.List(nodeKind, "")
	for _, node := range all {
		if !selected(options, node) {
			continue
		}
		if m, ok := n.metrics(node); ok {
			list.Items = append(list.Items, m)
		}
	}
	return list, nil
}

func (n nodes) metrics(node object.Object) (m v1beta1.NodeMetrics, ok bool) {
	u, ok := n.node(node)
	if !ok {
		return m, false
	}
	m.ObjectMeta = metaOf(node, n.now())
	m.Timestamp, m.Window, m.Usage = metav1.NewTime(u.at), metav1.Duration{Duration: u.window}, u.list()
	return m, true
}

// ConvertToTable implements rest.TableConvertor.
func (nodes) ConvertToTable(_ context.Context, obj, _ runtime.Object) (*metav1.Table, error) {
	t := table()
	switch o := obj.(type) {
	case *v1beta1.NodeMetrics:
		t.row(o, o.Usage, o.Window)
	case *v1beta1.NodeMetricsList:
		for i := range o.Items {
			t.row(&o.Items[i], o.Items[i].Usage, o.Items[i].Window)
		}
	}
	return &t.Table, nil
}

// pods serves PodMetrics.
type pods struct{ figures }

// New implements rest.Storage.
func (pods) New() runtime.Object { return &v1beta1.PodMetrics{} }

// NewList implements rest.Lister.
func (pods) NewList() runtime.Object { return &v1beta1.PodMetricsList{} }

// NamespaceScoped implements rest.Scoper.
func (pods) NamespaceScoped() bool { return true }

// GetSingularName implements rest.SingularNameProvider.
func (pods) GetSingularName() string { return "" }

// Get implements rest.Getter.
func (p pods) Get(ctx context.Context, name string, _ *metav1.GetOptions) (runtime.Object, error) {
	namespace := genericapirequest.NamespaceValue(ctx)
	key := object.Key{GroupKind: podKind, Namespace: namespace, Name: name}
	if p.reader.Get(key) == nil {
		return nil, missing("pods", namespace+"/"+name)
	}
	if err := p.ready(ctx); err != nil {
		return nil, err
	}
	if pod, ok := p.reader.Get(key).(*corev1.Pod); ok {
		if m, ok := p.metrics(pod); ok {
			return &m, nil
		}
	}
	return nil, missing("pods", namespace+"/"+name)
}

// List implements rest.Lister.
func (p pods) List(ctx context.Context, options *internalversion.ListOptions) (runtime.Object, error) {
	list := &v1beta1.PodMetricsList{Items: []v1beta1.PodMetrics{}}
	if err := p.ready(ctx); err != nil {
		return nil, err
	}
	all, _ := p.reader.List(podKind, genericapirequest.NamespaceValue(ctx))
	for _, obj := range all {
		pod, ok := obj.(*corev1.Pod)
		if !ok || !selected(options, pod) {
			continue
		}
		if m, ok := p.metrics(pod); ok {
			list.Items = append(list.Items, m)
		}
	}
	return list, nil
}

func (p pods) metrics(pod *corev1.Pod) (m v1beta1.PodMetrics, ok bool) {
	containers, ok := p.pod(pod)
	if !ok {
		return m, false
	}
	m.ObjectMeta = metaOf(pod, p.now())
	for _, name := range slices.Sorted(maps.Keys(containers)) {
		u := containers[name]
		m.Containers = append(m.Containers, v1beta1.ContainerMetrics{Name: name, Usage: u.list()})
		// The oldest time, as metrics-server has it.
		if m.Timestamp.IsZero() || u.at.Before(m.Timestamp.Time) {
			m.Timestamp, m.Window = metav1.NewTime(u.at), metav1.Duration{Duration: u.window}
		}
	}
	return m, true
}

// ConvertToTable implements rest.TableConvertor.
func (pods) ConvertToTable(_ context.Context, obj, _ runtime.Object) (*metav1.Table, error) {
	t := table()
	row := func(m *v1beta1.PodMetrics) {
		total := corev1.ResourceList{}
		for _, c := range m.Containers {
			for name, q := range c.Usage {
				sum := total[name]
				sum.Add(q)
				total[name] = sum
			}
		}
		t.row(m, total, m.Window)
	}
	switch o := obj.(type) {
	case *v1beta1.PodMetrics:
		row(o)
	case *v1beta1.PodMetricsList:
		for i := range o.Items {
			row(&o.Items[i])
		}
	}
	return &t.Table, nil
}

func missing(resource, name string) error {
	return apierrors.NewNotFound(schema.GroupResource{Group: GroupVersion.Group, Resource: resource}, name)
}

func metaOf(obj object.Object, now time.Time) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name: obj.GetName(), Namespace: obj.GetNamespace(), Labels: obj.GetLabels(), CreationTimestamp: metav1.NewTime(now),
	}
}

// selected reports whether a list has an object, by its labels and its name.
func selected(options *internalversion.ListOptions, obj object.Object) bool {
	if options == nil {
		return true
	}
	if s := options.LabelSelector; s != nil && !s.Matches(labels.Set(obj.GetLabels())) {
		return false
	}
	s := options.FieldSelector
	return s == nil || s.Matches(fields.Set{"metadata.name": obj.GetName(), "metadata.namespace": obj.GetNamespace()})
}

func (u usage) list() corev1.ResourceList {
	return corev1.ResourceList{
		corev1.ResourceCPU:    *resource.NewScaledQuantity(int64(u.nanocore), resource.Nano),
		corev1.ResourceMemory: *resource.NewQuantity(int64(u.bytes), resource.BinarySI),
	}
}

type metricsTable struct{ metav1.Table }

func table() *metricsTable {
	t := &metricsTable{}
	for _, name := range []string{"Name", "cpu", "memory", "Window"} {
		c := metav1.TableColumnDefinition{Name: name, Type: "string"}
		if name == "Name" {
			c.Format = "name"
		}
		t.ColumnDefinitions = append(t.ColumnDefinitions, c)
	}
	return t
}

func (t *metricsTable) row(obj interface {
	runtime.Object
	metav1.Object
}, use corev1.ResourceList, window metav1.Duration,
) {
	t.Rows = append(t.Rows, metav1.TableRow{
		Cells: []any{obj.GetName(), use.Cpu().String(), use.Memory().String(), window.Duration.String()}, Object: runtime.RawExtension{Object: obj},
	})
}
