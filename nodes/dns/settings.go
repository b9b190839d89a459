package dns

import (
	"context"
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"

	"headway.dev/nodes/dns/settings"
	"headway.dev/nodes/objects"
)

func (s *Server) followSettings(ctx context.Context) {
	selector := fields.OneTermEqualSelector("metadata.name", settings.Name).String()
	objects.Follow(ctx, s.cfg.Client, s.cfg.Client.CoreV1().ConfigMaps(settings.Namespace), selector, &corev1.ConfigMap{}, &settingsStore{server: s}, "dns-settings")
}

// settingsStore puts what the ConfigMap says in force. What cannot be read changes
// nothing.
type settingsStore struct {
	server *Server
	data   map[string]string // what was looked at last
}

func (c *settingsStore) Add(obj any) error    { c.put(obj.(*corev1.ConfigMap)); return nil }
func (c *settingsStore) Update(obj any) error { c.put(obj.(*corev1.ConfigMap)); return nil }
func (c *settingsStore) Delete(any) error     { c.put(nil); return nil }
func (c *settingsStore) Resync() error        { return nil }

func (c *settingsStore) Replace(list []any, _ string) error {
	if len(list) == 0 {
		c.put(nil)
	} else {
		c.put(list[0].(*corev1.ConfigMap))
	}
	return nil
}

func (c *settingsStore) put(m *corev1.ConfigMap) {
	var data map[string]string
	if m != nil {
		data = m.Data
	}
	if maps.Equal(data, c.data) {
		return
	}
	c.data = data
	s := c.server
	if m != nil && len(m.BinaryData) > 0 {
		s.cfg.Warn(m, "InvalidDNSSettings", "binaryData has no effect")
	}
	next, err := settings.Parse(data, s.cfg.Domain)
	if err != nil {
		s.cfg.Log.Warn("the settings of the cluster DNS stay as they were", "err", err)
		s.cfg.Warn(m, "InvalidDNSSettings", "The settings stay as they were: "+err.Error())
		return
	}
	s.hosts.Store(next.Hosts)
	s.forward.SetRoutes(next.Stubs, next.Upstream)
}
