// Package nodetest gives tests a real node to work with: containerd and runc
// with directories, a bridge, iptables chains and cgroups of their own, and
// images built without a container engine. Everything is removed when the test
// ends; anything left over fails the test.
package nodetest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"headway.dev/nodes/network"
	"headway.dev/nodes/runtime/containerd"
)

// Node is a node's machinery under test.
type Node struct {
	*containerd.Runtime
	Net     *network.Network
	Config  containerd.Config
	NetConf network.Config
	id      string
	small   bool // its directory is a mount
}

// Names returns configurations that nothing else on the machine uses, and
// cleans up after what was started with them.
func Names(tb testing.TB) *Node {
	tb.Helper()
	return names(tb, "")
}

// Small is Start with all of the node's files on a file system of its own of
// this size.
func Small(tb testing.TB, size string) *Node {
	tb.Helper()
	n := names(tb, size)
	n.begin(tb)
	return n
}

func names(tb testing.TB, size string) *Node {
	tb.Helper()
	if os.Geteuid() != 0 {
		tb.Fatal("this test runs containers: run it as root, for example with sudo make test")
	}
	var b [4]byte
	if _, err := rand.Read(b[:]); err != nil {
		tb.Fatal(err)
	}
	id := hex.EncodeToString(b[:])
	// Not tb.TempDir: socket paths are limited to 107 bytes.
	dir := filepath.Join(os.TempDir(), "hw-"+id)
	if err := os.Mkdir(dir, 0o711); err != nil {
		tb.Fatal(err)
	}
	if size != "" {
		if err := unix.Mount("small", dir, "tmpfs", 0, "mode=0711,size="+size); err != nil {
			tb.Fatal(err)
		}
	}
	cidr := subnet(tb)
	n := &Node{
		id: id, small: size != "",
		NetConf: network.Config{
			Bridge: "hwb" + id, Chains: "HWT" + id, PodCIDR: cidr, ClusterCIDR: cidr,
			StateDir: filepath.Join(dir, "net"),
		},
		Config: containerd.Config{
			Root: filepath.Join(dir, "root"), RunDir: filepath.Join(dir, "run"),
			CgroupRoot: "hwt" + id, Log: Logger(tb),
		},
	}
	tb.Cleanup(func() { n.cleanup(tb, dir) })
	return n
}

// Start starts a runtime with names of its own and ToolImage imported.
func Start(tb testing.TB) *Node {
	tb.Helper()
	n := Names(tb)
	n.begin(tb)
	return n
}

func (n *Node) begin(tb testing.TB) {
	tb.Helper()
	n.Restart(tb)
	if _, err := n.Import(tb.Context(), bytes.NewReader(OCIArchive(tb, ToolImage, Image(tb, ImageOptions{})))); err != nil {
		tb.Fatal(err)
	}
}

// Restart closes the runtime if it runs, and starts it with the same names.
func (n *Node) Restart(tb testing.TB) {
	tb.Helper()
	n.Stop(tb)
	if err := n.start(); err != nil {
		tb.Fatal(err)
	}
}

// Stop closes the runtime; containers keep running.
func (n *Node) Stop(tb testing.TB) {
	tb.Helper()
	if n.Runtime == nil {
		return
	}
	if err := n.Close(); err != nil {
		tb.Errorf("close the runtime: %v", err)
	}
	n.Runtime = nil
}

func (n *Node) start() error {
	var err error
	if n.Net, err = network.New(n.NetConf, n.Config.Log); err != nil {
		return err
	}
	n.Config.Network = n.Net
	// Its life is not the test's context: that ends before the cleanups run.
	n.Runtime, err = containerd.Start(context.Background(), n.Config)
	return err
}

// cleanup removes everything and checks that it is gone.
func (n *Node) cleanup(tb testing.TB, dir string) {
	tb.Helper()
	n.Stop(tb)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	net, err := network.New(n.NetConf, n.Config.Log)
	if err != nil {
		tb.Error(err)
		return
	}
	n.Config.Network = net
	n.Config.Log = slog.New(slog.DiscardHandler)
	if err := containerd.Cleanup(ctx, n.Config); err != nil {
		tb.Error(err)
	}
	if n.small {
		if err := unix.Unmount(dir, 0); err != nil {
			tb.Errorf("unmount the node's directory, of which nothing must be in use: %v", err)
		}
	}
	for _, leak := range n.leaks(dir) {
		tb.Errorf("left behind after cleanup: %s", leak)
	}
	killOwn(dir)
	if err := os.RemoveAll(dir); err != nil {
		tb.Error(err)
	}
}

// killOwn ends what a failed cleanup left running: processes with the test's
// own directory on their command line.
func killOwn(dir string) {
	procs, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, p := range procs {
		cmd, err := os.ReadFile(p)
		if err != nil || !bytes.Contains(cmd, []byte(dir+"/")) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(p))); err == nil && pid != os.Getpid() {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	}
}

// leaks looks for what carries the node's names.
func (n *Node) leaks(dir string) []string {
	var out []string
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, dir) {
			out = append(out, "mount "+strings.TrimSpace(line))
		}
	}
	cgroups, _ := filepath.Glob("/sys/fs/cgroup/*/" + n.Config.CgroupRoot)
	more, _ := filepath.Glob("/sys/fs/cgroup/" + n.Config.CgroupRoot)
	for _, c := range append(cgroups, more...) {
		out = append(out, "cgroup "+c)
	}
	if _, err := netlink.LinkByName(n.NetConf.Bridge); err == nil {
		out = append(out, "bridge "+n.NetConf.Bridge)
	}
	rules, _ := exec.CommandContext(context.Background(), "iptables-save").Output()
	for line := range strings.Lines(string(rules)) {
		if strings.Contains(line, n.NetConf.Chains) || strings.Contains(line, n.NetConf.Bridge) {
			out = append(out, "iptables rule "+strings.TrimSpace(line))
		}
	}
	procs, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, p := range procs {
		if cmd, err := os.ReadFile(p); err == nil && bytes.Contains(cmd, []byte(dir+"/")) {
			out = append(out, "process "+strings.ReplaceAll(string(cmd), "\x00", " "))
		}
	}
	return out
}

// subnet finds a /24 that no route of this machine and no other test uses.
func subnet(tb testing.TB) netip.Prefix {
	tb.Helper()
	for try := range 1000 {
		k := (os.Getpid()*13 + try) % (64 * 256)
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(128 + k>>8), byte(k), 0}), 24)
		lock, err := os.OpenFile(fmt.Sprintf("%s/headway-test-subnet-%d.lock", os.TempDir(), k), os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			tb.Fatal(err)
		}
		if unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil || routed(tb, p) {
			lock.Close()
			continue
		}
		tb.Cleanup(func() {
			os.Remove(lock.Name())
			lock.Close()
		})
		return p
	}
	tb.Fatal("no free subnet for the test")
	return netip.Prefix{}
}

func routed(tb testing.TB, p netip.Prefix) bool {
	tb.Helper()
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		tb.Fatal(err)
	}
	for _, r := range routes {
		if r.Dst == nil {
			continue
		}
		if ip, ok := netip.AddrFromSlice(r.Dst.IP.To4()); ok && p.Contains(ip) {
			return true
		}
	}
	return false
}

// Logger writes what is logged into the test's output.
func Logger(tb testing.TB) *slog.Logger {
	tb.Helper()
	return slog.New(slog.NewTextHandler(testWriter{tb}, &slog.HandlerOptions{Level: slog.LevelInfo}))
}

type testWriter struct{ tb testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.tb.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}
