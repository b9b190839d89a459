// Package streaming serves the subresources that are connections: log, exec,
// attach and portforward of pods, which a node answers, and proxy of pods,
// services and nodes. It finds who is asked in the store, checks what the request
// asks for, and hands the connection on: to the node's streaming server, which has
// the paths of the kubelet, or to the pod itself.
//
// [Subresources] and [NewProxy] make the REST storages, [Nodes] reaches the nodes
// and their pods. All are
// safe for concurrent use.
package streaming

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/object"
)

// defaultPort is the kubelet's, for nodes that do not report theirs.
const defaultPort = 10250

// Nodes reaches the streaming servers of the nodes, and the pods on them.
type Nodes struct {
	reader object.Reader
	dialer Dialer
	config *tls.Config // towards the nodes' servers; nil: they are not reached
	pods   *http.Transport

	mu    sync.Mutex
	nodes map[string]*http.Transport // by name
}

// Dialer connects to addresses of nodes and pods, wherever these are.
type Dialer interface {
	DialNode(ctx context.Context, node, address string) (net.Conn, error)
	DialPod(ctx context.Context, network, address string) (net.Conn, error)
}

// NewNodes returns the client side. config verifies the nodes' servers and has
// the certificate by which they recognise this server; without one every
// request to a node fails.
func NewNodes(reader object.Reader, config *tls.Config, dialer Dialer) *Nodes {
	n := &Nodes{reader: reader, pods: newPodTransport(dialer), dialer: dialer, nodes: map[string]*http.Transport{}}
	if config != nil {
		config = config.Clone()
		// A connection that is upgraded has to be HTTP/1.1.
		config.NextProtos = []string{"http/1.1"}
		n.config = config
	}
	return n
}

// Close drops idle connections.
func (n *Nodes) Close() {
	n.pods.CloseIdleConnections()
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, t := range n.nodes {
		t.CloseIdleConnections()
	}
}

// transport reaches the server of one node: not by its address alone, which another node
// may claim.
func (n *Nodes) transport(name string) *http.Transport {
	n.mu.Lock()
	defer n.mu.Unlock()
	t := n.nodes[name]
	if t == nil {
		t = &http.Transport{
			TLSClientConfig: n.config, TLSHandshakeTimeout: 10 * time.Second, IdleConnTimeout: 90 * time.Second,
			DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
				return n.dialer.DialNode(ctx, name, address)
			},
		}
		n.nodes[name] = t
	}
	return t
}

// forget drops what is kept for a node that is not there any more.
func (n *Nodes) forget(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if t := n.nodes[name]; t != nil {
		t.CloseIdleConnections()
		delete(n.nodes, name)
	}
}

// location is the URL of a path on a node's streaming server, and how it is reached.
func (n *Nodes) location(name, path string, query url.Values) (*url.URL, *http.Transport, error) {
	if n.config == nil {
		return nil, nil, apierrors.NewServiceUnavailable("this server has no certificate to connect to nodes with")
	}
	found, ok := n.reader.Get(object.Key{GroupKind: schema.GroupKind{Kind: "Node"}, Name: name}).(*corev1.Node)
	if !ok || found == nil {
		n.forget(name)
		return nil, nil, apierrors.NewNotFound(schema.GroupResource{Resource: "nodes"}, name)
	}
	host := address(found)
	if host == "" {
		return nil, nil, apierrors.NewInternalError(fmt.Errorf("no preferred addresses found; known addresses: %v", found.Status.Addresses))
	}
	port := int(found.Status.DaemonEndpoints.KubeletEndpoint.Port)
	if port == 0 {
		port = defaultPort
	}
	return &url.URL{Scheme: "https", Host: net.JoinHostPort(host, strconv.Itoa(port)), Path: path, RawQuery: query.Encode()}, n.transport(name), nil
}

// mostAnswer bounds what Get reads.
const mostAnswer = 16 << 20

// Get asks a node for a path itself, for nobody else.
func (n *Nodes) Get(ctx context.Context, node, path string) ([]byte, error) {
	location, transport, err := n.location(node, path, nil)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, location.String(), http.NoBody)
	if err != nil {
		return nil, err
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return nil, fmt.Errorf("ask node %s: %w", node, err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("ask node %s: %s", node, response.Status)
	}
	data, err := io.ReadAll(io.LimitReader(response.Body, mostAnswer+1))
	if err == nil && len(data) > mostAnswer {
		err = fmt.Errorf("ask node %s: the answer is larger than %d bytes", node, mostAnswer)
	}
	return data, err
}

func address(node *corev1.Node) string {
	for _, preferred := range []corev1.NodeAddressType{corev1.NodeInternalIP, corev1.NodeHostName, corev1.NodeExternalIP} {
		for _, a := range node.Status.Addresses {
			if a.Type == preferred && a.Address != "" {
				return a.Address
			}
		}
	}
	return ""
}
