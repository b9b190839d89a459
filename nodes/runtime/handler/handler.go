package handler

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/containerd/containers"
	"github.com/containerd/containerd/plugin"
	"github.com/containerd/typeurl/v2"
	"k8s.io/apimachinery/pkg/util/validation"
)

// runc is the handler that every node has.
const runc = "runc"

// Set are runtimes of containerd, such as io.containerd.kata.v2, by the names of their
// handlers.
type Set map[string]string

// Parse reads handlers of the form NAME=RUNTIME.
func Parse(list []string) (Set, error) {
	set := Set{}
	for _, text := range list {
		name, runtime, _ := strings.Cut(text, "=")
		if problems := validation.IsDNS1123Label(name); len(problems) > 0 {
			return nil, fmt.Errorf("%q: the handler %q: %s", text, name, strings.Join(problems, "; "))
		}
		// containerd finds the shim by the last two parts of the name.
		if parts := strings.Split(runtime, "."); len(parts) < 3 || slices.Contains(parts, "") || strings.ContainsAny(runtime, "/ \x00") {
			return nil, fmt.Errorf("%q: want NAME=RUNTIME, for example kata=io.containerd.kata.v2", text)
		}
		if _, twice := set[name]; twice {
			return nil, fmt.Errorf("%q: the handler %q is given twice", text, name)
		}
		set[name] = runtime
	}
	return set, nil
}

// Find returns the runtime of a handler; that of the empty one is the default. root is
// where runc keeps its states.
func (s Set) Find(name, root string) (containers.RuntimeInfo, error) {
	info := containers.RuntimeInfo{Name: s[name]}
	if info.Name == "" && (name == "" || name == runc) {
		info.Name = plugin.RuntimeRuncV2
	}
	if info.Name == "" {
		return info, fmt.Errorf("failed to get sandbox runtime: no runtime for %q is configured", name)
	}
	// Other runtimes have options of their own, and defaults for them.
	if strings.HasPrefix(info.Name, "io.containerd.runc.") {
		encoded, err := typeurl.MarshalAny(&options.Options{Root: root})
		if err != nil {
			return info, fmt.Errorf("encode runtime options: %w", err)
		}
		info.Options = encoded
	}
	return info, nil
}

// Names are those that a node has, and the empty one, which is the default.
func (s Set) Names() []string {
	names := map[string]bool{"": true, runc: true}
	for name := range s {
		names[name] = true
	}
	return slices.Sorted(maps.Keys(names))
}
