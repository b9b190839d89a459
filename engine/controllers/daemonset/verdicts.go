package daemonset

import (
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"headway.dev/manifests/model/object"
)

// verdicts remembers what nodes are to sets. It is safe for concurrent use; one set is
// asked about by one goroutine at a time.
type verdicts struct {
	mu   *sync.Mutex
	sets map[object.Key]*judged
}

// judged are the verdicts of one generation of a set.
type judged struct {
	uid        types.UID
	generation int64
	nodes      map[string]nodeVerdict
}

type nodeVerdict struct {
	node *corev1.Node
	Verdict
}

func newVerdicts() verdicts { return verdicts{&sync.Mutex{}, map[object.Key]*judged{}} }

// of returns what the nodes are to a set.
func (v verdicts) of(key object.Key, ds *appsv1.DaemonSet, nodes []object.Object) map[string]Verdict {
	v.mu.Lock()
	known := v.sets[key]
	if known == nil || known.uid != ds.UID || known.generation != ds.Generation {
		known = &judged{ds.UID, ds.Generation, map[string]nodeVerdict{}}
		v.sets[key] = known
	}
	v.mu.Unlock()
	matcher := newMatcher(ds)
	found, next := make(map[string]Verdict, len(nodes)), make(map[string]nodeVerdict, len(nodes))
	for _, obj := range nodes {
		node, ok := obj.(*corev1.Node)
		if !ok {
			continue
		}
		verdict := known.nodes[node.Name]
		if verdict.node != node {
			verdict = nodeVerdict{node, matcher.judge(node)}
		}
		found[node.Name], next[node.Name] = verdict.Verdict, verdict
	}
	known.nodes = next
	return found
}

func (v verdicts) forget(key object.Key) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.sets, key)
}
