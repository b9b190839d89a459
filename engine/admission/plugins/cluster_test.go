package plugins_test

import (
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"headway.dev/engine/admission"
	"headway.dev/engine/admission/plugins"
	"headway.dev/engine/admit"
	"headway.dev/engine/store"
	"headway.dev/manifests/model/change"
)

// cluster is a store whose writer admits by all plugins.
type cluster struct {
	t     *testing.T
	store *admission.Writer
}

func start(t *testing.T) *cluster {
	t.Helper()
	return startWith(t, plugins.Config{})
}

func startWith(t *testing.T, cfg plugins.Config) *cluster {
	t.Helper()
	checks, err := admit.New(admit.Config{ServiceCIDR: netip.MustParsePrefix("10.96.0.0/16")})
	if err != nil {
		t.Fatal(err)
	}
	st, err := store.Open(store.Options{Path: filepath.Join(t.TempDir(), "db"), Admit: checks.Hooks(), Along: checks.Along, Observe: checks.Observe})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	cfg.Stored = st
	all, err := plugins.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return &cluster{t, admission.NewWriter(st, admission.NewChain(all...), checks.Along, change.User{Name: "somebody"})}
}

func (c *cluster) commit(changes ...change.Change) error {
	_, err := c.store.Commit(c.t.Context(), change.Tx{Changes: changes})
	return err
}

func (c *cluster) must(changes ...change.Change) {
	c.t.Helper()
	if err := c.commit(changes...); err != nil {
		c.t.Fatal(err)
	}
}

func wantError(t *testing.T, what string, err error, is func(error) bool, text string) {
	t.Helper()
	if err == nil || !is(err) || !strings.Contains(err.Error(), text) {
		t.Errorf("%s: error = %v, want one with %q", what, err, text)
	}
}
