package dns

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"

	"headway.dev/nodes/dns/settings"
	"headway.dev/nodes/objects"
	"headway.dev/nodes/runtime/fsutil"
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
	looked bool
}

// recall puts in force what the ConfigMap said in an earlier run, so that names are
// answered while the API is away.
func (s *Server) recall() {
	if s.cfg.Kept == "" {
		return
	}
	data, err := os.ReadFile(s.cfg.Kept)
	var kept map[string]string
	if err == nil {
		err = json.Unmarshal(data, &kept)
	}
	if err == nil {
		err = s.configure(kept)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.cfg.Log.Warn("the settings of the cluster DNS that were kept cannot be read; they are read from the API", "err", err)
	}
}

// keepSettings has a later run know the settings.
func (s *Server) keepSettings(data map[string]string) {
	if s.cfg.Kept == "" {
		return
	}
	text, err := json.Marshal(data)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(s.cfg.Kept), 0o700)
	}
	if err == nil {
		err = fsutil.WriteFile(s.cfg.Kept, text)
	}
	if err != nil {
		s.cfg.Log.Warn("the settings of the cluster DNS are not kept: a start without the API will not know them", "err", err)
	}
}

// configure puts settings in force.
func (s *Server) configure(data map[string]string) error {
	next, err := settings.Parse(data, s.cfg.Domain)
	if err != nil {
		return err
	}
	s.hosts.Store(next.Hosts)
	s.forward.SetRoutes(next.Stubs, next.Upstream)
	s.configured.Store(true)
	return nil
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
	if c.looked && maps.Equal(data, c.data) {
		return
	}
	c.data, c.looked = data, true
	s := c.server
	if m != nil && len(m.BinaryData) > 0 {
		s.cfg.Warn(m, "InvalidDNSSettings", "binaryData has no effect")
	}
	s.about.Store(m)
	if err := s.configure(data); err != nil {
		s.cfg.Log.Warn("the settings of the cluster DNS stay as they were", "err", err)
		s.cfg.Warn(m, "InvalidDNSSettings", "The settings stay as they were: "+err.Error())
		return
	}
	s.keepSettings(data)
}
