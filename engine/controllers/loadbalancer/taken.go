package loadbalancer

import (
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"headway.dev/engine/controllers/control"
	"headway.dev/manifests/model/kinds/networking"
	"headway.dev/manifests/model/object"
)

// ports are those of agents, of Ingresses and of node ports, which only a Service keeps
// that had them before.
func (c *controller) ports(nodes []Node, services []object.Object) map[Port]Reserved {
	out := map[Port]Reserved{}
	serves := ""
	for _, n := range nodes {
		if n.AgentPort > 0 {
			out[Port{corev1.ProtocolTCP, n.AgentPort}] = Reserved{By: "the agent of the node " + n.Name}
		}
		if n.Ingress {
			serves = n.Name
		}
	}
	// Nothing listens there before the first Ingress, and most clusters have none.
	if serves != "" {
		if i := c.ingress(); i != nil {
			for _, number := range []int32{80, 443} {
				out[Port{corev1.ProtocolTCP, number}] = Reserved{By: fmt.Sprintf("the Ingresses, such as %s/%s", i.Namespace, i.Name)}
			}
		}
	}
	for _, obj := range services {
		svc := obj.(*corev1.Service)
		for _, p := range svc.Spec.Ports {
			if at := (Port{protocol(p), p.NodePort}); p.NodePort > 0 && out[at].By == "" {
				out[at] = Reserved{Service: nameOf(svc), By: fmt.Sprintf("the node port of the Service %s", nameOf(svc))}
			}
		}
		if port := svc.Spec.HealthCheckNodePort; port > 0 {
			out[Port{corev1.ProtocolTCP, port}] = Reserved{By: fmt.Sprintf("the health checks of the Service %s", nameOf(svc))}
		}
	}
	return out
}

// ingress is any Ingress that the nodes' own proxy serves.
func (c *controller) ingress() *networkingv1.Ingress {
	list, _ := c.Store.List(ingresses, "")
	for _, obj := range list {
		i, ok := obj.(*networkingv1.Ingress)
		if !ok {
			continue
		}
		class := control.Get[networkingv1.IngressClass](c.Store, object.Key{GroupKind: ingressClasses, Name: networking.ClassOf(i)})
		if class != nil && class.Spec.Controller == networking.HeadwayController {
			return i
		}
	}
	return nil
}

// hasNodePorts reports whether a Service has ports that others cannot have of the nodes.
func hasNodePorts(svc *corev1.Service) bool {
	for _, p := range svc.Spec.Ports {
		if p.NodePort > 0 {
			return true
		}
	}
	return svc.Spec.HealthCheckNodePort > 0
}

// readPool returns the pool, or why it is not known: it has a fault, and had one already
// when the server started. After a fault it is what it was before.
func (c *controller) readPool() (pool []Range, problem string) {
	settings := control.Get[corev1.ConfigMap](c.Store, key)
	if settings == nil {
		c.pool, c.known, c.fault = nil, true, ""
		return nil, ""
	}
	pool, err := c.parse(settings)
	if err == nil {
		c.pool, c.known, c.fault = pool, true, ""
		return pool, ""
	}
	if fault := string(settings.UID) + err.Error(); c.fault != fault { // once, not at each look
		c.fault = fault
		stays := "the pool stays as it was"
		if !c.known {
			stays = "no addresses are given until it is mended or the ConfigMap deleted"
		}
		c.Events.Warning(source, settings, "InvalidLoadBalancerPool", "%v; %s", err, stays)
		c.Log.Warn("the pool of load balancers' addresses has a fault", "err", err)
	}
	if !c.known {
		return nil, fmt.Sprintf("the pool of addresses in the ConfigMap %s/%s has a fault: %v", settings.Namespace, settings.Name, err)
	}
	return c.pool, ""
}

// parse reads the pool of the settings. That there is none is said by their absence, not
// by a key that is empty or has another name.
func (c *controller) parse(settings *corev1.ConfigMap) ([]Range, error) {
	text, there := settings.Data[Pool]
	if !there {
		return nil, fmt.Errorf("data.%s is missing: delete the ConfigMap if there is to be no pool", Pool)
	}
	pool, err := ParsePool(text)
	if err != nil {
		return nil, fmt.Errorf("data.%s: %w", Pool, err)
	}
	if len(pool) == 0 {
		return nil, fmt.Errorf("data.%s is empty: delete the ConfigMap if there is to be no pool", Pool)
	}
	for _, r := range pool {
		for _, what := range slices.Sorted(maps.Keys(c.reserved)) {
			if prefix := c.reserved[what]; prefix.IsValid() && (r.contains(prefix.Masked().Addr()) || prefix.Contains(r.First) || prefix.Contains(r.Last)) {
				return nil, fmt.Errorf("data.%s: %s-%s overlaps the range of %s, %s", Pool, r.First, r.Last, what, prefix)
			}
		}
	}
	return pool, nil
}
