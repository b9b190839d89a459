package api_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/warning"
	psatest "k8s.io/pod-security-admission/test"

	"headway.dev/engine/admission/plugins"
	"headway.dev/engine/api/apitest"
	"headway.dev/manifests/model/defaults"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

// The cases of Kubernetes' own suite: for each level, each version in which one
// changed and each check, pods that pass and pods that fail, as pods and as templates
// of Deployments, which are warned of.
//
// What Headway refuses whatever the level, by the name of the field, never gets as far
// as PodSecurity: of that the plugin itself is asked, so that those cases count as
// well. Which fields these are is part of what the test expects.
func TestPodSecurityCases(t *testing.T) {
	s := apitest.Start(t)
	plugin, err := plugins.NewPodSecurity(s.Store, plugins.Levels{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	config := s.API.InProcess("kubernetes-admin", "system:masters")
	beyond := &beyondSupport{next: config.Transport, plugin: plugin, fields: map[string]int{}}
	config.Transport = beyond
	psatest.Run(t, psatest.Options{ClientConfig: config})
	want := []string{
		"metadata.annotations",
		"spec.containers.securityContext.procMount",
		"spec.containers.securityContext.seLinuxOptions.level",
		"spec.containers.securityContext.seLinuxOptions.type",
		"spec.hostUsers",
		"spec.initContainers.securityContext.procMount",
		"spec.initContainers.securityContext.seLinuxOptions.type",
		"spec.initContainers.securityContext.seccompProfile.type",
		"spec.os.name",
		"spec.securityContext.seLinuxOptions.role",
		"spec.securityContext.seLinuxOptions.type",
		"spec.securityContext.seLinuxOptions.user",
		"spec.securityContext.seccompProfile.type",
		"spec.securityContext.sysctls.name",
	}
	for name := range strings.FieldsSeq("awsElasticBlockStore azureDisk azureFile cephfs cinder fc flexVolume flocker gcePersistentDisk gitRepo glusterfs iscsi nfs portworxVolume quobyte rbd scaleIO storageos vsphereVolume") {
		want = append(want, "spec.volumes."+name)
	}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(beyond.fields))); diff != "" {
		t.Errorf("fields of the cases that are refused by their name (-want +got):\n%s", diff)
	}
	asked := 0
	for _, n := range beyond.fields {
		asked += n
	}
	t.Logf("%d requests to create something, %d of them refused for a field that is not supported: %v", beyond.creates, asked, beyond.fields)
	if beyond.creates < 1000 || asked > beyond.creates*2/3 {
		t.Errorf("of %d requests %d never got as far as PodSecurity", beyond.creates, asked)
	}
}

// beyondSupport passes requests on, and answers instead of those that are refused for
// nothing but fields which are not supported what PodSecurity says of them.
type beyondSupport struct {
	next   http.RoundTripper
	plugin admission.ValidationInterface

	mu      sync.Mutex
	creates int
	fields  map[string]int // requests that were refused for it, among others
}

var anyIndex = regexp.MustCompile(`\[[^\]]*\]`)

func (b *beyondSupport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method != http.MethodPost || !strings.HasSuffix(r.URL.Path, "/pods") && !strings.HasSuffix(r.URL.Path, "/deployments") {
		return b.next.RoundTrip(r)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	response, err := b.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.creates++
	if response.StatusCode != http.StatusUnprocessableEntity {
		return response, nil
	}
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	_ = response.Body.Close()
	response.Body = io.NopCloser(bytes.NewReader(answer))
	decoded, err := runtime.Decode(scheme.Codecs.UniversalDeserializer(), answer)
	if err != nil {
		return nil, err
	}
	fields := unsupported(decoded)
	if len(fields) == 0 {
		return response, nil
	}
	for _, field := range fields {
		b.fields[field]++
	}
	if slices.Contains(fields, "spec.containers.securityContext.procMount") || slices.Contains(fields, "spec.initContainers.securityContext.procMount") {
		// Kubernetes' own validation refuses these as well: they need user namespaces.
		if obj, err := runtime.Decode(scheme.Codecs.UniversalDeserializer(), body); err == nil && inHostUsers(obj) {
			return response, nil
		}
	}
	return b.ask(r, body)
}

// unsupported are the fields of an error that is about such alone.
func unsupported(answer runtime.Object) []string {
	status, ok := answer.(*metav1.Status)
	if !ok || status.Details == nil {
		return nil
	}
	var fields []string
	for _, cause := range status.Details.Causes {
		if !strings.Contains(cause.Message, "not supported yet: ") {
			return nil
		}
		field := strings.TrimPrefix(anyIndex.ReplaceAllString(cause.Field, ""), "spec.template.")
		fields = append(fields, field)
	}
	slices.Sort(fields)
	return slices.Compact(fields)
}

// inHostUsers reports whether a pod or a template says that it has no user namespace.
func inHostUsers(obj runtime.Object) bool {
	var spec *corev1.PodSpec
	switch o := obj.(type) {
	case *corev1.Pod:
		spec = &o.Spec
	case *appsv1.Deployment:
		spec = &o.Spec.Template.Spec
	}
	return spec != nil && spec.HostUsers != nil && *spec.HostUsers
}

// ask answers what PodSecurity alone says of a creation.
func (b *beyondSupport) ask(r *http.Request, body []byte) (*http.Response, error) {
	decoded, err := runtime.Decode(scheme.Codecs.UniversalDeserializer(), body)
	if err != nil {
		return nil, err
	}
	obj, ok := decoded.(object.Object)
	if !ok {
		return nil, fmt.Errorf("a %T", decoded)
	}
	defaults.Apply(obj)
	gvk, resource := corev1.SchemeGroupVersion.WithKind("Pod"), corev1.SchemeGroupVersion.WithResource("pods")
	if _, ok := obj.(*appsv1.Deployment); ok {
		gvk, resource = appsv1.SchemeGroupVersion.WithKind("Deployment"), appsv1.SchemeGroupVersion.WithResource("deployments")
	}
	_, rest, _ := strings.Cut(r.URL.Path, "/namespaces/")
	namespace, _, _ := strings.Cut(rest, "/")
	var said cautions
	ctx := warning.WithWarningRecorder(context.Background(), &said)
	err = b.plugin.Validate(ctx, admission.NewAttributesRecord(obj, nil, gvk, namespace, obj.GetName(), resource, "", admission.Create,
		&metav1.CreateOptions{}, true, &user.DefaultInfo{Name: "kubernetes-admin"}), nil)
	code, out := http.StatusCreated, runtime.Object(obj)
	var refused *apierrors.StatusError
	switch {
	case errors.As(err, &refused):
		code, out = int(refused.ErrStatus.Code), &refused.ErrStatus
	case err != nil:
		return nil, err
	}
	data, err := runtime.Encode(scheme.Codecs.LegacyCodec(gvk.GroupVersion(), metav1.SchemeGroupVersion), out)
	if err != nil {
		return nil, err
	}
	header := http.Header{"Content-Type": {"application/json"}}
	for _, w := range said {
		header.Add("Warning", fmt.Sprintf("299 - %q", w))
	}
	return &http.Response{StatusCode: code, Status: http.StatusText(code), Header: header, Body: io.NopCloser(bytes.NewReader(data)), ContentLength: int64(len(data)), Request: r}, nil
}

type cautions []string

func (c *cautions) AddWarning(_, text string) { *c = append(*c, text) }
