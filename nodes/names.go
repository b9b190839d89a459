package nodes

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"headway.dev/nodes/dns"
)

// newNameServer makes the node's name server, which tells of what it cannot do with
// events of the node or of the settings.
func (a *Agent) newNameServer(cfg dns.Config) *dns.Server {
	cfg.Cluster, cfg.Client, cfg.Log, cfg.ResolvConf = a.cfg.Cluster, a.cfg.Client, a.log, a.cfg.ResolvConf
	node := &corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: a.cfg.NodeName, UID: types.UID(a.cfg.NodeName)}
	cfg.Warn = func(about *corev1.ConfigMap, reason, message string) {
		if about != nil {
			a.events.Event(about, corev1.EventTypeWarning, reason, message)
			return
		}
		a.events.Event(node, corev1.EventTypeWarning, reason, message)
	}
	return dns.New(cfg)
}
