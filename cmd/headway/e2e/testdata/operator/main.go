// Command operator is an operator as teams write them: it follows Sites, and
// makes a Deployment and a Service for each.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

var version = schema.GroupVersion{Group: "sites.example.com", Version: "v1"}

// Site is the custom resource.
type Site struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              SiteSpec   `json:"spec"`
	Status            SiteStatus `json:"status,omitempty"`
}

// SiteSpec is what a user wants.
type SiteSpec struct {
	Text     string `json:"text"`
	Replicas *int32 `json:"replicas,omitempty"`
}

// SiteStatus is what the operator did.
type SiteStatus struct {
	ObservedGeneration int64              `json:"observedGeneration,omitempty"`
	Available          int32              `json:"available,omitempty"`
	By                 string             `json:"by,omitempty"`
	Conditions         []metav1.Condition `json:"conditions,omitempty"`
}

// SiteList is a list of them.
type SiteList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Site `json:"items"`
}

// DeepCopyObject is that of runtime.Object.
func (s *Site) DeepCopyObject() runtime.Object {
	c := *s
	s.ObjectMeta.DeepCopyInto(&c.ObjectMeta)
	if s.Spec.Replicas != nil {
		n := *s.Spec.Replicas
		c.Spec.Replicas = &n
	}
	c.Status.Conditions = append([]metav1.Condition(nil), s.Status.Conditions...)
	return &c
}

// DeepCopyObject is that of runtime.Object.
func (l *SiteList) DeepCopyObject() runtime.Object {
	c := *l
	l.ListMeta.DeepCopyInto(&c.ListMeta)
	c.Items = make([]Site, len(l.Items))
	for i := range l.Items {
		c.Items[i] = *l.Items[i].DeepCopyObject().(*Site)
	}
	return &c
}

// defaults is the mutating webhook.
type defaults struct{}

func (defaults) Default(_ context.Context, s *Site) error {
	if s.Spec.Replicas == nil {
		one := int32(1)
		s.Spec.Replicas = &one
	}
	if s.Annotations == nil {
		s.Annotations = map[string]string{}
	}
	s.Annotations["sites.example.com/seen"] = "true"
	return nil
}

// rules is the validating webhook.
type rules struct{}

func (rules) ValidateCreate(_ context.Context, s *Site) (admission.Warnings, error) {
	if strings.Contains(s.Spec.Text, "forbidden") {
		return nil, apierrors.NewForbidden(version.WithResource("sites").GroupResource(), s.Name, errors.New("nobody may say that"))
	}
	if len(s.Spec.Text) > 20 {
		return admission.Warnings{"spec.text is long"}, nil
	}
	return nil, nil
}

func (r rules) ValidateUpdate(ctx context.Context, _, s *Site) (admission.Warnings, error) {
	return r.ValidateCreate(ctx, s)
}

func (rules) ValidateDelete(_ context.Context, s *Site) (admission.Warnings, error) {
	if s.Annotations["sites.example.com/protected"] != "" {
		return nil, errors.New("the site is protected")
	}
	return nil, nil
}

const (
	finalizer = "sites.example.com/record"
	me        = "site-operator"
)

type reconciler struct {
	client.Client
	scheme   *runtime.Scheme
	events   events.EventRecorder
	identity string
}

// Reconcile makes what a Site asks for, and writes down what was, at its end.
func (r *reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	var site Site
	if err := r.Get(ctx, request.NamespacedName, &site); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !site.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, r.end(ctx, &site)
	}
	if controllerutil.AddFinalizer(&site, finalizer) {
		if err := r.Update(ctx, &site); err != nil {
			return ctrl.Result{}, err
		}
	}
	for _, object := range []*unstructured.Unstructured{deployment(&site), service(&site)} {
		if err := controllerutil.SetControllerReference(&site, object, r.scheme); err != nil {
			return ctrl.Result{}, err
		}
		if err := r.Apply(ctx, client.ApplyConfigurationFromUnstructured(object), client.FieldOwner(me), client.ForceOwnership); err != nil {
			return ctrl.Result{}, fmt.Errorf("apply %s: %w", object.GetKind(), err)
		}
	}
	return ctrl.Result{}, r.status(ctx, &site)
}

func (r *reconciler) status(ctx context.Context, site *Site) error {
	var made appsv1.Deployment
	if err := r.Get(ctx, client.ObjectKeyFromObject(site), &made); err != nil {
		return client.IgnoreNotFound(err) // the cache learns of it, and this comes again
	}
	before := site.DeepCopyObject().(*Site)
	ready := metav1.Condition{Type: "Ready", Status: metav1.ConditionFalse, Reason: "Waiting", ObservedGeneration: site.Generation}
	current := made.Status.ObservedGeneration == made.Generation && made.Status.UpdatedReplicas == *site.Spec.Replicas
	if current && made.Status.AvailableReplicas == *site.Spec.Replicas {
		ready.Status, ready.Reason = metav1.ConditionTrue, "Available"
	}
	if meta.SetStatusCondition(&site.Status.Conditions, ready) {
		r.events.Eventf(site, &made, corev1.EventTypeNormal, ready.Reason, "Reconcile", "the site is %s", ready.Reason)
	}
	site.Status.ObservedGeneration = site.Generation
	site.Status.Available = made.Status.AvailableReplicas
	site.Status.By = r.identity
	return r.Status().Patch(ctx, site, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
}

// end writes the Site down before it goes.
func (r *reconciler) end(ctx context.Context, site *Site) error {
	record := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "ended", Namespace: site.Namespace}}
	if _, err := controllerutil.CreateOrUpdate(ctx, r.Client, record, func() error {
		if record.Data == nil {
			record.Data = map[string]string{}
		}
		record.Data[site.Name] = site.Spec.Text
		return nil
	}); err != nil {
		return err
	}
	if controllerutil.RemoveFinalizer(site, finalizer) {
		return client.IgnoreNotFound(r.Update(ctx, site))
	}
	return nil
}

func object(site *Site, apiVersion, kind string, spec map[string]any) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": apiVersion, "kind": kind,
		"metadata": map[string]any{"name": site.Name, "namespace": site.Namespace},
		"spec":     spec,
	}}
}

func deployment(site *Site) *unstructured.Unstructured {
	labels := map[string]any{"site": site.Name}
	return object(site, "apps/v1", "Deployment", map[string]any{
		"replicas": int64(*site.Spec.Replicas),
		"selector": map[string]any{"matchLabels": labels},
		"template": map[string]any{
			"metadata": map[string]any{"labels": labels},
			"spec": map[string]any{
				"terminationGracePeriodSeconds": int64(0),
				"containers": []any{map[string]any{
					"name": "web", "image": os.Getenv("SITE_IMAGE"),
					"command": []any{"sh", "-c", `mkdir /www; echo "$TEXT" > /www/index.html; exec httpd -f -p 8080 -h /www`},
					"env":     []any{map[string]any{"name": "TEXT", "value": site.Spec.Text}},
					"ports":   []any{map[string]any{"containerPort": int64(8080)}},
					"readinessProbe": map[string]any{
						"httpGet":       map[string]any{"path": "/", "port": int64(8080)},
						"periodSeconds": int64(1),
					},
				}},
			},
		},
	})
}

func service(site *Site) *unstructured.Unstructured {
	return object(site, "v1", "Service", map[string]any{
		"selector": map[string]any{"site": site.Name},
		"ports":    []any{map[string]any{"port": int64(80), "targetPort": int64(8080)}},
	})
}

func main() {
	ctrl.SetLogger(zap.New())
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		return err
	}
	scheme.AddKnownTypes(version, &Site{}, &SiteList{})
	metav1.AddToGroupVersion(scheme, version)

	lease, renew, retry := 15*time.Second, 10*time.Second, time.Second
	manager, err := ctrl.NewManager(ctrl.GetConfigOrDie(), ctrl.Options{
		Scheme:                        scheme,
		LeaderElection:                true,
		LeaderElectionID:              me,
		LeaderElectionReleaseOnCancel: true,
		LeaseDuration:                 &lease,
		RenewDeadline:                 &renew,
		RetryPeriod:                   &retry,
		HealthProbeBindAddress:        ":8081",
		Metrics:                       metricsserver.Options{BindAddress: "0"},
		WebhookServer:                 webhook.NewServer(webhook.Options{CertDir: "/certificates"}),
	})
	if err != nil {
		return err
	}
	identity, err := os.Hostname()
	if err != nil {
		return err
	}
	r := &reconciler{manager.GetClient(), scheme, manager.GetEventRecorder(me), identity}
	if err := ctrl.NewControllerManagedBy(manager).For(&Site{}).Owns(&appsv1.Deployment{}).Owns(&corev1.Service{}).Complete(r); err != nil {
		return err
	}
	if err := ctrl.NewWebhookManagedBy(manager, &Site{}).WithDefaulter(defaults{}).WithValidator(rules{}).Complete(); err != nil {
		return err
	}
	if err := manager.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return err
	}
	if err := manager.AddReadyzCheck("webhook", manager.GetWebhookServer().StartedChecker()); err != nil {
		return err
	}
	return manager.Start(ctrl.SetupSignalHandler())
}
