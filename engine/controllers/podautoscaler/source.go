package podautoscaler

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	custommetrics "k8s.io/metrics/pkg/apis/custom_metrics/v1beta2"
	externalmetrics "k8s.io/metrics/pkg/apis/external_metrics/v1beta1"
	resourcemetrics "k8s.io/metrics/pkg/apis/metrics/v1beta1"

	"headway.dev/engine/controllers/control"
	"headway.dev/manifests/loop"
)

// Metrics is where figures come from, in thousandths. Its errors are those that users
// are told.
type Metrics interface {
	// Resource is what each pod uses of a resource, or one container of it.
	Resource(ctx context.Context, namespace string, pods labels.Selector, resource corev1.ResourceName, container string) (map[string]PodMetric, error)
	Pods(ctx context.Context, namespace string, pods labels.Selector, metric string, of labels.Selector) (map[string]PodMetric, error)
	Object(ctx context.Context, namespace string, about autoscalingv2.CrossVersionObjectReference, metric string, of labels.Selector) (int64, error)
	// External is the sum of all values.
	External(ctx context.Context, namespace, metric string, of labels.Selector) (int64, error)
}

// NewMetrics asks the metrics APIs, whoever serves them.
func NewMetrics(config *rest.Config, kinds control.Kinds) (Metrics, error) {
	config = rest.CopyConfig(config)
	config.QPS = -1
	// What answers is read as JSON, whatever the config is used for otherwise.
	config.ContentType, config.AcceptContentTypes = runtime.ContentTypeJSON, runtime.ContentTypeJSON
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("client of the metrics APIs: %w", err)
	}
	return &apis{client.RESTClient(), kinds}, nil
}

// patience is how long an API has to answer.
const patience = 30 * time.Second

// metricsWindow is that of metrics which do not say theirs.
const metricsWindow = time.Minute

type apis struct {
	client rest.Interface
	kinds  control.Kinds
}

func (a *apis) get(ctx context.Context, into any, query map[string]labels.Selector, path ...string) error {
	request := a.client.Get().AbsPath(path...).Timeout(patience)
	for name, selector := range query {
		if selector != nil && !selector.Empty() {
			request = request.Param(name, selector.String())
		}
	}
	data, err := request.Do(ctx).Raw()
	if err != nil {
		return err
	}
	return json.Unmarshal(data, into)
}

// Resource implements Metrics.
func (a *apis) Resource(ctx context.Context, namespace string, pods labels.Selector, resource corev1.ResourceName, container string) (map[string]PodMetric, error) {
	var list resourcemetrics.PodMetricsList
	err := a.get(ctx, &list, map[string]labels.Selector{"labelSelector": pods}, "/apis/metrics.k8s.io/v1beta1/namespaces", namespace, "pods")
	if err != nil {
		return nil, fmt.Errorf("unable to fetch metrics from resource metrics API: %w", err)
	}
	if len(list.Items) == 0 {
		return nil, errors.New("no metrics returned from resource metrics API")
	}
	metrics := map[string]PodMetric{}
	for _, pod := range list.Items {
		sum, known, found := int64(0), len(pod.Containers) > 0, container == ""
		for _, c := range pod.Containers {
			if container != "" && c.Name != container {
				continue
			}
			found = true
			q, ok := c.Usage[resource]
			known = known && ok
			sum += q.MilliValue()
		}
		if !found {
			return nil, fmt.Errorf("failed to get container metrics: container %s not present in metrics for pod %s/%s", container, namespace, pod.Name)
		}
		if known {
			metrics[pod.Name] = PodMetric{pod.Timestamp.Time, pod.Window.Duration, sum}
		}
	}
	return metrics, nil
}

// custom asks for the values of a metric about objects. The group has two versions,
// whose values are alike.
func (a *apis) custom(ctx context.Context, query map[string]labels.Selector, path ...string) ([]custommetrics.MetricValue, error) {
	var list custommetrics.MetricValueList
	err := a.get(ctx, &list, query, append([]string{"/apis/custom.metrics.k8s.io/v1beta2"}, path...)...)
	if apierrors.IsNotFound(err) {
		if older := a.get(ctx, &list, query, append([]string{"/apis/custom.metrics.k8s.io/v1beta1"}, path...)...); !apierrors.IsNotFound(older) {
			err = older
		}
	}
	if err != nil {
		return nil, fmt.Errorf("unable to fetch metrics from custom metrics API: %w", err)
	}
	if len(list.Items) == 0 {
		return nil, errors.New("no metrics returned from custom metrics API")
	}
	return list.Items, nil
}

// Pods implements Metrics.
func (a *apis) Pods(ctx context.Context, namespace string, pods labels.Selector, metric string, of labels.Selector) (map[string]PodMetric, error) {
	values, err := a.custom(ctx, map[string]labels.Selector{"labelSelector": pods, "metricLabelSelector": of}, "namespaces", namespace, "pods", "*", url.PathEscape(metric))
	if err != nil {
		return nil, err
	}
	metrics := map[string]PodMetric{}
	for _, v := range values {
		m := PodMetric{v.Timestamp.Time, metricsWindow, v.Value.MilliValue()}
		if v.WindowSeconds != nil {
			m.Window = loop.Seconds(*v.WindowSeconds)
		}
		metrics[v.DescribedObject.Name] = m
	}
	return metrics, nil
}

// Object implements Metrics.
func (a *apis) Object(ctx context.Context, namespace string, about autoscalingv2.CrossVersionObjectReference, metric string, of labels.Selector) (int64, error) {
	gv, err := schema.ParseGroupVersion(about.APIVersion)
	if err != nil {
		return 0, err
	}
	gk := schema.GroupKind{Group: gv.Group, Kind: about.Kind}
	k, served := a.kinds.ForKind(gk)
	if !served {
		return 0, fmt.Errorf("unable to fetch metrics from custom metrics API: %w", &meta.NoKindMatchError{GroupKind: gk})
	}
	path := []string{"namespaces", namespace, k.Resource().GroupResource().String(), about.Name, url.PathEscape(metric)}
	if gk == control.Namespace {
		path = []string{"namespaces", namespace, "metrics", url.PathEscape(metric)}
	}
	values, err := a.custom(ctx, map[string]labels.Selector{"metricLabelSelector": of}, path...)
	if err != nil {
		return 0, err
	}
	return values[0].Value.MilliValue(), nil
}

// External implements Metrics.
func (a *apis) External(ctx context.Context, namespace, metric string, of labels.Selector) (int64, error) {
	var list externalmetrics.ExternalMetricValueList
	err := a.get(ctx, &list, map[string]labels.Selector{"labelSelector": of}, "/apis/external.metrics.k8s.io/v1beta1/namespaces", namespace, url.PathEscape(metric))
	if err != nil {
		return 0, fmt.Errorf("unable to fetch metrics from external metrics API: %w", err)
	}
	if len(list.Items) == 0 {
		return 0, errors.New("no metrics returned from external metrics API")
	}
	var sum int64
	for _, v := range list.Items {
		sum += v.Value.MilliValue()
	}
	return sum, nil
}
