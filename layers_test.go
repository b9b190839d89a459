package headway_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "headway.dev"

// mayImport is the import table of ARCHITECTURE.md: which folders of ours a
// folder may import besides itself.
var mayImport = map[string][]string{
	"manifests": nil,
	"syncer":    {"manifests"},
	"engine":    {"manifests"},
	"nodes":     {"manifests"},
	"proxy":     {"manifests"},
	"cmd":       {"manifests", "syncer", "engine", "nodes", "proxy", "examples"},
	"examples":  nil,
}

// owners says which folder alone may import an outside system, so that its
// behaviour is adapted in one place.
var owners = map[string][]string{
	"github.com/go-git/go-git":         {"syncer/git"},
	"go.etcd.io/bbolt":                 {"engine/store", "nodes/known"},
	"k8s.io/apiserver":                 {"engine/admission", "engine/api", "engine/encryption", "engine/quota", "manifests/model/kinds/admissionregistration", "manifests/model/kinds/apiextensions", "manifests/model/kinds/flowcontrol"},
	"github.com/containerd/containerd": {"nodes/runtime"},
	"github.com/coreos/go-iptables":    {"proxy/iptables"},
	"sigs.k8s.io/knftables":            {"proxy/nftables", "nodes/policy"},
	"github.com/miekg/dns":             {"nodes/dns"},
	"github.com/pires/go-proxyproto":   {"nodes/ingress"},
}

// rooms are the folders within a folder, in the order in which they build on
// each other: a room imports only those above it, in its own table and in that
// of each folder around it. "." is the folder's own package. What is below a
// room belongs to it, unless it has a table of its own. Tests may reach into
// every room of their top folder.
var rooms = map[string][]string{
	"manifests":       {"guard", "bisect", "egress", "loop", "gateway", "nodeconfig", "nodepolicy", "model", "yaml"},
	"manifests/model": {"fieldpath", "object", "column", "fill", "rule", "podspec", "health", "honour", "custom", "kind", "kinds", "scheme", "assess", "defaults", "expr", "lifecycle", "change", "support", "validation"},
	"manifests/yaml":  {"diff", "sops", "substitute", "load", "check", "edit", "origin"},
	"syncer":          {"wire", "env", "forge", "git", "hook", "flux", "storetest", "internal", "plan", "owners", "fault", "verdict", "status", "tree", "journal", "rights", "source", "render", "neighbours", "gate", "step", "history", "why", "editors", "rollback", "passage", "judge", "respond", "report", "parents", "foresee", "progress", "apply", "preview", "writeback", "api", "."},
	"syncer/git":      {"odb", "remote", ".", "history", "signature", "write"},
	"syncer/preview":  {"rollout", "needs", "budget", "content", "."},
	"engine":          {"event", "pki", "rbac", "satoken", "store", "encryption", "quota", "policy", "admit", "admission", "api", "controllers", "scheduler", "."},
	"engine/store":    {"record", "file", "reserve", "."},
	"engine/api":      {"stack", "fields", "codec", "openapi", "printers", "strategy", "streaming", "tokenfile", "configfile", "audit", "outbound", "authn", "authz", "tunnel", "restrict", "view", "registry", "storage", "custom", "limits", "fairness", "aggregate", "nodemetrics", ".", "apitest"},
	"engine/controllers": {
		"control",
		"history",
		"aggregation",
		"bootstrap",
		"bootstraptoken",
		"certificates",
		"daemonset",
		"deployment",
		"disruption",
		"endpoints",
		"eventttl",
		"gc",
		"ingress",
		"gateway",
		"job",
		"loadbalancer",
		"cronjob",
		"migration",
		"namespace",
		"node",
		"podautoscaler",
		"policystatus",
		"replicaset",
		"resourcequota",
		"rootca",
		"serviceaccount",
		"statefulset",
		"volume",
		".",
	},
	"engine/admission": {".", "configured", "plugins", "admissiontest"},
	"nodes": {
		"wait", "logs", "join", "network", "policy", "slot", "runtime", "pod", "probe", "machine", "server", "tunnel", "volume", "objects", "known", "dns", "ingress", "peers", "announce", "status", "pull", "eviction",
		"registration", "hollow", "worker", ".", "nodetest",
	},
	"nodes/ingress":  {"routes", "certificates", "upstream", "serve", "."},
	"nodes/dns":      {"records", "settings", "resolv", "forward", "."},
	"nodes/runtime":  {".", "fsutil", "cgroup", "netns", "capture", "daemon", "runc", "handler", "images", "spec", "record", "tasks", "containerd"},
	"proxy":          {"service", "kernel", "iptables", "nftables", "health", "."},
	"cmd/headway":    {"headwaytest", "report", "cli", "datadir", "memory", "gitops", "review", "member", "up", "cluster", ".", "crash", "e2e"},
	"cmd/headway/up": {"progress", ".", "uptest"},
}

// checkRooms reports an import by a file of the folder dir that goes against a
// table of rooms.
func checkRooms(t *testing.T, file, dir, target string) {
	t.Helper()
	for folder, order := range rooms {
		from, to := roomOf(folder, order, dir), roomOf(folder, order, target)
		// One below 0 is a folder in no table, which TestImports tells of.
		if from >= 0 && from < to && to < len(order) {
			t.Errorf("%s imports %s: in %s/, %s stands above %s", file, target, folder, order[from], order[to])
		}
	}
}

// roomOf returns the index of the room of folder in which dir lies, and one that
// is out of range if dir lies outside of folder.
func roomOf(folder string, order []string, dir string) int {
	if dir == folder {
		return slices.Index(order, ".")
	}
	below, ok := strings.CutPrefix(dir, folder+"/")
	if !ok {
		return len(order)
	}
	name, _, _ := strings.Cut(below, "/")
	return slices.Index(order, name)
}

func TestImports(t *testing.T) {
	var files int
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); file != "." && strings.HasPrefix(name, ".") || name == "testdata" || name == "build" || name == "tools" {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(file, ".go") {
			return nil
		}
		files++
		checkFile(t, filepath.ToSlash(file))
		for folder, order := range rooms {
			if roomOf(folder, order, path.Dir(filepath.ToSlash(file))) < 0 {
				t.Errorf("%s: its folder is in no table of rooms of %s/", file, folder)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 10 {
		t.Fatalf("found %d Go files: the test does not run at the root of the module", files)
	}
}

func checkFile(t *testing.T, file string) {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
	if err != nil {
		t.Error(err)
		return
	}
	dir := path.Dir(file)
	root, _, _ := strings.Cut(dir, "/")
	for _, spec := range parsed.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		if ours, ok := strings.CutPrefix(imported, module+"/"); ok {
			target, _, _ := strings.Cut(ours, "/")
			allowed, known := mayImport[root]
			if dir != "." && (!known || target != root && !slices.Contains(allowed, target)) {
				t.Errorf("%s imports %s: %s/ may import only %v of ours", file, imported, root, allowed)
			}
			if !strings.HasSuffix(file, "_test.go") {
				checkRooms(t, file, dir, ours)
			}
		}
		for system, dirs := range owners {
			if imported != system && !strings.HasPrefix(imported, system+"/") {
				continue
			}
			if !slices.ContainsFunc(dirs, func(owner string) bool { return dir == owner || strings.HasPrefix(dir, owner+"/") }) {
				t.Errorf("%s imports %s: only %v may", file, imported, dirs)
			}
		}
	}
}

// forbidden are what no part of the program may bring along: the clients of
// clouds and their key services weigh tens of megabytes, and reach for the
// network on their own.
var forbidden = []string{
	"github.com/getsops/sops", // its root package links all of them
	"github.com/aws/", "cloud.google.com/", "google.golang.org/api/", "github.com/Azure/azure-sdk-for-go", "github.com/Azure/go-autorest",
	"github.com/AzureAD/", "github.com/hashicorp/vault", "github.com/huaweicloud/",
}

func TestForbiddenDependencies(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "./cmd/headway").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	deps := strings.Fields(string(out))
	if !slices.Contains(deps, "k8s.io/api/core/v1") {
		t.Fatalf("go list printed %d packages, and not the ones of the program", len(deps))
	}
	for _, dep := range deps {
		for _, prefix := range forbidden {
			if strings.HasPrefix(dep, prefix) {
				t.Errorf("cmd/headway links %s", dep)
			}
		}
	}
}
