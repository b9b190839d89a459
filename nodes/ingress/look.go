package ingress

import (
	"context"
	"crypto/tls"
	"fmt"
	"maps"
	"sync"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"headway.dev/manifests/guard"
	"headway.dev/manifests/model/kinds/networking"
	"headway.dev/nodes/ingress/certificates"
	"headway.dev/nodes/ingress/routes"
	"headway.dev/nodes/objects"
)

// lookRoutes puts in force what the Ingresses say.
func (s *Server) lookRoutes() {
	if !s.read.ingresses.Load() || !s.read.classes.Load() || !s.read.services.Load() || !s.read.slices.Load() {
		return
	}
	list := s.own()
	next := routes.FromIngresses(list)
	gateways := s.lookGateways()
	have := next.Backends
	if gateways != nil {
		have = maps.Clone(have)
		maps.Copy(have, gateways.Backends)
	}
	s.upstreams.KeepBackends(have)
	s.web.SetRoutes(next.Table)
	s.web.SetGateways(gateways)
	names := map[types.NamespacedName]bool{}
	for _, i := range list {
		names[types.NamespacedName{Namespace: i.Namespace, Name: i.Name}] = true
	}
	for name := range s.served {
		if !names[name] {
			s.web.Forget(name.Namespace, name.Name)
		}
	}
	s.served = names
	s.change(func() {
		s.version++
		if !s.active.Load() && len(s.ports) == 0 {
			s.needed, s.since = s.version, time.Now()
		}
		s.ports = gateways.Ports()
		s.forPorts = map[int32][]routes.Certificate{}
		for port := range s.ports {
			s.forPorts[port] = gateways.Certificates(port)
		}
		s.secrets, s.of = next.Certificates, map[types.NamespacedName][]*networkingv1.Ingress{}
		for _, i := range list {
			for _, t := range i.Spec.TLS {
				name := types.NamespacedName{Namespace: i.Namespace, Name: t.SecretName}
				s.of[name] = append(s.of[name], i)
			}
		}
	})
	s.active.Store(len(list) > 0)
	s.wake()
	s.certs.Set()
	var warnings []routes.Warning
	warnings = append(warnings, next.Warnings...)
	for _, i := range list {
		for b := range backends(i) {
			if problem := s.upstreams.Problem(b); problem != "" {
				warnings = append(warnings, routes.Warning{Ingress: i, Reason: "BackendNotFound", Message: "requests are answered with 503: " + problem})
			}
		}
	}
	s.told.tell("routes", warnings)
}

// wake has it looked at what is to be listened at.
func (s *Server) wake() {
	for _, l := range s.serving {
		l.wake.Set()
	}
	s.listeners.Set()
}

// wanted reports whether there is something to serve at an address.
func (s *Server) wanted(l *listener) bool {
	if l.fixed && s.active.Load() {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	secure, ok := s.ports[l.port]
	return ok && secure == l.secure
}

// own are the Ingresses to serve.
func (s *Server) own() []*networkingv1.Ingress {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []*networkingv1.Ingress
	for _, i := range s.ingresses {
		if c := s.classes[networking.ClassOf(i)]; c != nil && c.Spec.Controller == networking.HeadwayController && i.DeletionTimestamp == nil {
			list = append(list, i)
		}
	}
	return list
}

// backends are those of an Ingress.
func backends(i *networkingv1.Ingress) map[routes.Backend]bool {
	return routes.FromIngresses([]*networkingv1.Ingress{i}).Backends
}

const (
	// secretWait is how long a Secret may keep the others waiting.
	secretWait = time.Second
	// certificatesWait is how long the certificates that are late may keep HTTPS waiting.
	certificatesWait = 10 * time.Second
	// publishPeriod is how often what has been read is put in force while others are read.
	publishPeriod = 100 * time.Millisecond
	// secretsAtOnce is how many are waited for at a time.
	secretsAtOnce = 16
)

// lookCertificates puts in force what the Secrets say, and returns when to look again; 0:
// when something has changed. A Secret that is missing or broken leaves its hosts to the
// next one of the same namespace, or else to the proxy's own certificate.
func (s *Server) lookCertificates(ctx context.Context, secrets *objects.Cache) (again time.Duration) {
	s.mu.Lock()
	wanted, ports, of, version := s.secrets, s.forPorts, s.of, s.version
	s.mu.Unlock()
	names := map[types.NamespacedName]bool{}
	for _, c := range wanted {
		names[c.Secret] = true
	}
	for _, list := range ports {
		for _, c := range list {
			names[c.Secret] = true
		}
	}
	for name := range s.parsed {
		if !names[name] {
			secrets.Release(user(name))
			delete(s.parsed, name)
		}
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	var warnings []routes.Warning
	published := time.Now()
	slots := make(chan struct{}, secretsAtOnce)
	for name := range names {
		slots <- struct{}{}
		mu.Lock()
		before := s.parsed[name] // which those that are being read write to
		mu.Unlock()
		wg.Go(func() {
			defer func() { <-slots }()
			guard.Do(ctx, "read a certificate", func() {
				next, fault, late := read(ctx, secrets, name, before)
				mu.Lock()
				defer mu.Unlock()
				s.parsed[name] = next
				if late {
					again = secretWait
				}
				if now := time.Now(); now.Sub(published) > publishPeriod {
					published = now
					s.publish(wanted, ports)
				}
				if fault != "" {
					for _, i := range of[name] {
						warnings = append(warnings, routes.Warning{Ingress: i, Reason: "CertificateNotServed", Message: fmt.Sprintf("the Secret %s is not served; another one's certificate is, or one of the proxy's own: %s", name.Name, fault)})
					}
				}
			})
		})
	}
	wg.Wait()
	s.publish(wanted, ports)
	s.told.tell("certificates", warnings)
	if again == 0 {
		s.change(func() { s.looked = version })
		s.wake()
	}
	return again
}

// publish puts in force what has been parsed.
func (s *Server) publish(wanted []routes.Certificate, ports map[int32][]routes.Certificate) {
	byHost := map[string]*tls.Certificate{}
	for _, c := range wanted {
		if p := s.parsed[c.Secret]; p.certificate != nil && byHost[c.Host] == nil {
			byHost[c.Host] = p.certificate
		}
	}
	s.certificates.Set(byHost)
	ofPorts := map[int32]map[string][]*tls.Certificate{}
	for port, list := range ports {
		ofPorts[port] = map[string][]*tls.Certificate{}
		for _, c := range list {
			if p := s.parsed[c.Secret]; p.certificate != nil {
				ofPorts[port][c.Host] = append(ofPorts[port][c.Host], p.certificate)
			}
		}
	}
	s.portCertificates.Store(&ofPorts)
}

// ready is how long there is nothing to serve at an address, if nothing happens; 0: there
// is. Who serves HTTPS before it has the certificates gives clients one that they
// complain about.
func (s *Server) ready(l *listener) time.Duration {
	if !s.wanted(l) {
		return lookPeriod
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !l.secure || s.looked >= s.needed {
		return 0
	}
	return max(0, certificatesWait-time.Since(s.since))
}

// user is by what the cache of Secrets knows that one is used.
func user(secret types.NamespacedName) types.UID { return types.UID("ingress " + secret.String()) }

// read reads the certificate of a Secret. late: the API has not answered yet.
func read(ctx context.Context, secrets *objects.Cache, name types.NamespacedName, before parsed) (next parsed, fault string, late bool) {
	ctx, cancel := context.WithTimeout(ctx, secretWait)
	defer cancel()
	secret, err := secrets.Certificate(ctx, user(name), name.Namespace, name.Name)
	switch {
	case apierrors.IsNotFound(err):
		return parsed{}, "there is none of that name and of the type kubernetes.io/tls", false
	case err != nil:
		return before, "", true
	case secret.ResourceVersion == before.version && before.certificate != nil:
		return before, "", false
	}
	c, err := certificates.Parse(secret)
	if err != nil {
		return parsed{}, err.Error(), false
	}
	return parsed{secret.ResourceVersion, c}, "", false
}

// told are the warnings that have been told and still hold.
type told struct {
	warn func(*networkingv1.Ingress, string, string)
	mu   sync.Mutex
	have map[string]map[string]bool // by who tells
}

// tell tells of the warnings that did not hold before.
func (t *told) tell(who string, list []routes.Warning) {
	t.mu.Lock()
	defer t.mu.Unlock()
	have := map[string]bool{}
	for _, w := range list {
		key := string(w.Ingress.UID) + " " + w.Ingress.Namespace + "/" + w.Ingress.Name + " " + w.Reason + " " + w.Message
		if !have[key] && !t.have[who][key] {
			t.warn(w.Ingress, w.Reason, w.Message)
		}
		have[key] = true
	}
	if t.have == nil {
		t.have = map[string]map[string]bool{}
	}
	t.have[who] = have
}
