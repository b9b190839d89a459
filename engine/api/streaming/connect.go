package streaming

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilproxy "k8s.io/apimachinery/pkg/util/proxy"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/endpoints/filters"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/util/proxy"
	"k8s.io/streaming/pkg/httpstream/wsstream"

	"headway.dev/manifests/model/object"
)

// Subresources returns the storages of log, exec, attach and portforward, by
// name. auth decides whether a connection may be made.
func Subresources(reader object.Reader, nodes *Nodes, auth authorizer.UnconditionalAuthorizer) map[string]rest.Storage {
	connect := func(options func() runtime.Object, target func(*corev1.Pod, runtime.Object) (path string, query url.Values, streams proxy.Options, err error)) rest.Storage {
		return Connect{reader: reader, nodes: nodes, auth: auth, options: options, target: target}
	}
	return map[string]rest.Storage{
		"log":         Log{reader: reader, nodes: nodes},
		"exec":        connect(func() runtime.Object { return &corev1.PodExecOptions{} }, execTarget),
		"attach":      connect(func() runtime.Object { return &corev1.PodAttachOptions{} }, attachTarget),
		"portforward": connect(func() runtime.Object { return &corev1.PodPortForwardOptions{} }, portForwardTarget),
	}
}

// Connect is the REST storage of a subresource whose connection is handed to
// the node.
type Connect struct {
	reader  object.Reader
	nodes   *Nodes
	auth    authorizer.UnconditionalAuthorizer
	options func() runtime.Object
	target  func(*corev1.Pod, runtime.Object) (path string, query url.Values, streams proxy.Options, err error)
}

// New implements rest.Storage.
func (c Connect) New() runtime.Object { return c.options() }

// Destroy implements rest.Storage.
func (c Connect) Destroy() {}

// NewConnectOptions implements rest.Connecter.
func (c Connect) NewConnectOptions() (runtime.Object, bool, string) { return c.options(), false, "" }

// ConnectMethods implements rest.Connecter.
func (c Connect) ConnectMethods() []string { return []string{http.MethodGet, http.MethodPost} }

// Connect implements rest.Connecter. SPDY connections go through as they are;
// WebSocket ones, which kubectl has used since 1.31, become SPDY on the way to
// the node.
func (c Connect) Connect(ctx context.Context, name string, opts runtime.Object, responder rest.Responder) (http.Handler, error) {
	if err := c.mayCreate(ctx); err != nil {
		return nil, err
	}
	pod, err := findPod(ctx, c.reader, name)
	if err != nil {
		return nil, err
	}
	path, query, streams, err := c.target(pod, opts)
	if err != nil {
		return nil, err
	}
	if pod.Spec.NodeName == "" {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("pod %s does not have a host assigned", name))
	}
	location, transport, err := c.nodes.location(pod.Spec.NodeName, path, query)
	if err != nil {
		return nil, err
	}
	spdy := utilproxy.NewUpgradeAwareHandler(location, transport, false, true, utilproxy.NewErrorResponder(responder))
	if _, ok := opts.(*corev1.PodPortForwardOptions); ok {
		return proxy.NewTranslatingHandler(spdy, proxy.NewTunnelingHandler(spdy), wsstream.IsWebSocketRequestWithTunnelingProtocol), nil
	}
	translator := proxy.NewStreamTranslatorHandler(location, transport, 0, streams)
	return proxy.NewTranslatingHandler(spdy, translator, wsstream.IsWebSocketRequestWithStreamCloseProtocol), nil
}

// mayCreate fails unless whoever asks may create the connection: a WebSocket begins with
// a GET, which is no more than the right to read.
func (c Connect) mayCreate(ctx context.Context) error {
	info, ok := genericapirequest.RequestInfoFrom(ctx)
	if !ok {
		return apierrors.NewInternalError(errors.New("no request info in context"))
	}
	if info.Verb == "create" {
		return nil
	}
	asked, err := filters.GetAuthorizerAttributes(ctx)
	if err != nil {
		return apierrors.NewInternalError(fmt.Errorf("error building authorizer attributes: %w", err))
	}
	decision, reason, err := c.auth.Authorize(ctx, creation{asked})
	if err != nil {
		return err
	}
	if decision != authorizer.DecisionAllow {
		return apierrors.NewForbidden(schema.GroupResource{Group: info.APIGroup, Resource: info.Resource}, info.Name, errors.New(reason))
	}
	return nil
}

// creation is a request as if it created what it asks for.
type creation struct{ authorizer.Attributes }

// GetVerb implements authorizer.Attributes.
func (creation) GetVerb() string { return "create" }

func execTarget(pod *corev1.Pod, opts runtime.Object) (string, url.Values, proxy.Options, error) {
	o, ok := opts.(*corev1.PodExecOptions)
	if !ok {
		return "", nil, proxy.Options{}, fmt.Errorf("invalid options object: %#v", opts)
	}
	container, err := chooseContainer(pod, o.Container)
	if err != nil {
		return "", nil, proxy.Options{}, err
	}
	streams := proxy.Options{Stdin: o.Stdin, Stdout: o.Stdout, Stderr: o.Stderr, Tty: o.TTY}
	query := streamQuery(streams)
	for _, arg := range o.Command {
		query.Add("command", arg)
	}
	return fmt.Sprintf("/exec/%s/%s/%s", pod.Namespace, pod.Name, container), query, streams, nil
}

func attachTarget(pod *corev1.Pod, opts runtime.Object) (string, url.Values, proxy.Options, error) {
	o, ok := opts.(*corev1.PodAttachOptions)
	if !ok {
		return "", nil, proxy.Options{}, fmt.Errorf("invalid options object: %#v", opts)
	}
	container, err := chooseContainer(pod, o.Container)
	if err != nil {
		return "", nil, proxy.Options{}, err
	}
	streams := proxy.Options{Stdin: o.Stdin, Stdout: o.Stdout, Stderr: o.Stderr, Tty: o.TTY}
	return fmt.Sprintf("/attach/%s/%s/%s", pod.Namespace, pod.Name, container), streamQuery(streams), streams, nil
}

func portForwardTarget(pod *corev1.Pod, opts runtime.Object) (string, url.Values, proxy.Options, error) {
	o, ok := opts.(*corev1.PodPortForwardOptions)
	if !ok {
		return "", nil, proxy.Options{}, fmt.Errorf("invalid options object: %#v", opts)
	}
	query := url.Values{}
	if len(o.Ports) > 0 {
		ports := make([]string, 0, len(o.Ports))
		for _, p := range o.Ports {
			ports = append(ports, strconv.Itoa(int(p)))
		}
		query.Set("port", strings.Join(ports, ","))
	}
	return fmt.Sprintf("/portForward/%s/%s", pod.Namespace, pod.Name), query, proxy.Options{}, nil
}

// streamQuery is how the kubelet's streaming server is told which streams a
// client opens.
func streamQuery(o proxy.Options) url.Values {
	q := url.Values{}
	for name, on := range map[string]bool{
		corev1.ExecStdinParam: o.Stdin, corev1.ExecStdoutParam: o.Stdout, corev1.ExecStderrParam: o.Stderr, corev1.ExecTTYParam: o.Tty,
	} {
		if on {
			q.Set(name, "1")
		}
	}
	return q
}
