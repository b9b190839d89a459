package network

import (
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/vishvananda/netns"
)

// What another program switches off is on again after a look: packets between pods of
// the node pass the hooks, which policies depend on.
func TestSysctlsHeal(t *testing.T) {
	name := fmt.Sprintf("hwheal%d", os.Getpid())
	for _, one := range []string{name, name + "p"} {
		if out, err := exec.CommandContext(t.Context(), "ip", "netns", "add", one).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		defer func() {
			if out, err := exec.Command("ip", "netns", "del", one).CombinedOutput(); err != nil { //nolint:noctx // also after the test's end
				t.Errorf("%v: %s", err, out)
			}
		}()
	}
	state := filepath.Join(t.TempDir(), "network")
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		done <- func() error {
			ns, err := netns.GetFromName(name)
			if err != nil {
				return err
			}
			defer ns.Close()
			if err := netns.Set(ns); err != nil {
				return err
			}
			n, err := New(Config{Bridge: "headway0", PodCIDR: netip.MustParsePrefix("10.78.0.0/24"), StateDir: state, MTU: 1500}, slog.New(slog.DiscardHandler))
			if err != nil {
				return err
			}
			if _, err := n.Attach(t.Context(), "p", "/run/netns/"+name+"p", nil); err != nil {
				return err
			}
			// As this thread, not the process, sees them.
			for _, file := range []string{"/proc/sys/net/bridge/bridge-nf-call-iptables", "/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv4/conf/headway0/route_localnet"} {
				if err := os.WriteFile(file, []byte("0"), 0o644); err != nil {
					return err
				}
				if err := n.heal(t.Context()); err != nil {
					return err
				}
				if got, err := os.ReadFile(file); err != nil || string(got) != "1\n" {
					return fmt.Errorf("%s is %q after the network healed: %w", file, got, err)
				}
			}
			return nil
		}()
	}()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
