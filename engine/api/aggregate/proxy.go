package aggregate

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	utilproxy "k8s.io/apimachinery/pkg/util/proxy"
	endpointmetrics "k8s.io/apiserver/pkg/endpoints/metrics"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	utilflowcontrol "k8s.io/apiserver/pkg/util/flowcontrol"
	"k8s.io/apiserver/pkg/util/proxy"
	clienttransport "k8s.io/client-go/transport"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/kube-aggregator/pkg/apis/apiregistration/v1/helper"
	"k8s.io/streaming/pkg/httpstream"

	"headway.dev/engine/admission/configured"
)

const (
	// askTimeout bounds what the server itself asks others.
	askTimeout = 5 * time.Second
	// answerHeader bounds the header of an answer.
	answerHeader = 1 << 20
)

// Handler serves what APIServices hand on, and passes everything else to next. It
// stands behind all filters.
func (a *Aggregator) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		gv, ok := versionIn(r.URL.Path)
		switch {
		case !ok:
		case gv.Empty() && a.anyRemote(""):
			a.list.ServeHTTP(w, r)
			return
		case gv.Version == "" && a.anyRemote(gv.Group):
			a.serveGroup(gv.Group, w, r)
			return
		case gv.Version != "":
			if s := a.remote(gv); s != nil {
				a.proxy(s, w, r)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// Upgrades reports whether a request asks the server of another to make a stream
// of its connection: such a request lasts as long as the stream.
func (a *Aggregator) Upgrades(r *http.Request) bool {
	if !httpstream.IsUpgradeRequest(r) {
		return false
	}
	gv, ok := versionIn(r.URL.Path)
	return ok && a.remote(gv) != nil
}

// versionIn returns the group version that a path is in: of /apis/GROUP the version
// is empty, of /apis the group, too.
func versionIn(path string) (gv schema.GroupVersion, ok bool) {
	rest, ok := strings.CutPrefix(path, "/apis")
	if !ok || rest != "" && rest[0] != '/' {
		return gv, false
	}
	gv.Group, rest, _ = strings.Cut(strings.TrimPrefix(rest, "/"), "/")
	gv.Version, _, _ = strings.Cut(rest, "/")
	return gv, true
}

// proxy hands a request on. What it answers itself are kube-apiserver's words.
func (a *Aggregator) proxy(s *apiregistrationv1.APIService, w http.ResponseWriter, r *http.Request) {
	if !helper.IsAPIServiceConditionTrue(s, apiregistrationv1.Available) {
		refuse(w, r, "service unavailable", http.StatusServiceUnavailable)
		return
	}
	t, err := a.transport(s)
	if err != nil {
		refuse(w, r, err.Error(), http.StatusInternalServerError)
		return
	}
	user, ok := genericapirequest.UserFrom(r.Context())
	if !ok {
		refuse(w, r, "missing user", http.StatusInternalServerError)
		return
	}
	location, err := a.locate(s)
	if err != nil {
		refuse(w, r, "service unavailable", http.StatusServiceUnavailable)
		return
	}
	location.Path, location.RawQuery = r.URL.Path, r.URL.Query().Encode()
	request, cancel := proxy.NewRequestForProxy(location, r)
	defer cancel()
	upgrade := httpstream.IsUpgradeRequest(r)
	if upgrade {
		// It is not the round tripper that sends this one.
		clienttransport.SetAuthProxyHeaders(request, user.GetName(), user.GetUID(), user.GetGroups(), user.GetExtra())
	}
	send := clienttransport.NewAuthProxyRoundTripper(user.GetName(), user.GetUID(), user.GetGroups(), user.GetExtra(), t.Transport)
	handler := utilproxy.NewUpgradeAwareHandler(location, send, true, upgrade, failed{})
	handler.RejectForwardingRedirects = true
	utilflowcontrol.RequestDelegated(r.Context())
	handler.ServeHTTP(w, request)
}

func refuse(w http.ResponseWriter, r *http.Request, text string, status int) {
	http.Error(w, text, status)
	if info, ok := genericapirequest.RequestInfoFrom(r.Context()); ok {
		endpointmetrics.RecordRequestTermination(r, info, "aggregator", status)
	}
}

// failed answers requests that could not be handed on.
type failed struct{}

// Error implements proxy.ErrorResponder.
func (failed) Error(w http.ResponseWriter, _ *http.Request, err error) {
	http.Error(w, err.Error(), http.StatusServiceUnavailable)
}

// locate returns where an endpoint of the Service is.
func (a *Aggregator) locate(s *apiregistrationv1.APIService) (*url.URL, error) {
	location, err := a.services.ResolveEndpoint(s.Spec.Service.Namespace, s.Spec.Service.Name, *s.Spec.Service.Port)
	if err != nil {
		return nil, err
	}
	return &url.URL{Scheme: "https", Host: location.Host}, nil
}

// transport reaches the server of one APIService.
type transport struct {
	*http.Transport
	of connection
}

// connection is what of an APIService determines how its server is reached.
type connection struct {
	host, authorities string
	insecure          bool
}

// transport returns the way to a server, which requests share.
func (a *Aggregator) transport(s *apiregistrationv1.APIService) (*transport, error) {
	of := connection{s.Spec.Service.Name + "." + s.Spec.Service.Namespace + ".svc", string(s.Spec.CABundle), s.Spec.InsecureSkipTLSVerify}
	a.mu.Lock()
	defer a.mu.Unlock()
	t := a.transports[s.Name]
	if t != nil && t.of == of {
		return t, nil
	}
	config := &tls.Config{ServerName: of.host, InsecureSkipVerify: of.insecure, MinVersion: tls.VersionTLS12} //nolint:gosec // the APIService says so
	if of.authorities != "" {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(s.Spec.CABundle) {
			return nil, errors.New("unable to load root certificates: unable to parse bytes as PEM block")
		}
	}
	config.GetClientCertificate = a.Certificate
	if t != nil {
		defer t.CloseIdleConnections()
	}
	// It decodes nothing: an answer is passed on as it comes. A proxy of the
	// environment would dial in our place.
	t = &transport{of: of, Transport: &http.Transport{
		TLSClientConfig: config, DialContext: configured.DialService(a.Egress, a.Pods), ForceAttemptHTTP2: true, DisableCompression: true,
		TLSHandshakeTimeout: 10 * time.Second, IdleConnTimeout: 90 * time.Second, MaxIdleConnsPerHost: 25, MaxResponseHeaderBytes: answerHeader,
		HTTP2: &http.HTTP2Config{SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second},
	}}
	a.transports[s.Name] = t
	return t, nil
}

// question is what the server itself asks another one.
type question struct {
	path, accept, etag string
	user               string
	groups             []string
	// most bounds the answer; 0: it is not read.
	most int64
}

// answer is that of a server that answered.
type answer struct {
	location string
	status   int
	header   http.Header
	body     []byte
}

// ask asks one endpoint of a server.
func (a *Aggregator) ask(ctx context.Context, s *apiregistrationv1.APIService, q question) (answer, error) {
	t, err := a.transport(s)
	if err != nil {
		return answer{}, err
	}
	location, err := a.locate(s)
	if err != nil {
		return answer{}, err
	}
	location.Path = q.path
	got := answer{location: location.String()}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, got.location, http.NoBody)
	if err != nil {
		return got, err
	}
	clienttransport.SetAuthProxyHeaders(request, q.user, "", q.groups, nil)
	if q.accept != "" {
		request.Header.Set("Accept", q.accept)
	}
	if q.etag != "" {
		request.Header.Set("If-None-Match", q.etag)
	}
	client := &http.Client{Transport: t, Timeout: askTimeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(request)
	if err != nil {
		if ctx.Err() == nil {
			t.CloseIdleConnections()
		}
		return got, err
	}
	defer response.Body.Close()
	got.status, got.header = response.StatusCode, response.Header
	if q.most == 0 || got.status != http.StatusOK {
		return got, nil
	}
	got.body, err = io.ReadAll(io.LimitReader(response.Body, q.most+1))
	if err == nil && int64(len(got.body)) > q.most {
		err = fmt.Errorf("the answer is larger than %d bytes", q.most)
	}
	return got, err
}
