package registration

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"headway.dev/manifests/guard"
	"headway.dev/manifests/model/podspec"
	"headway.dev/nodes/wait"
)

// nodeStatus writes the Node's status: when the API has another one, and every
// five minutes.
type nodeStatus struct {
	node     *Node
	uid      atomic.Pointer[types.UID]
	seen     atomic.Pointer[seenNode] // what the API told last
	lost     chan struct{}            // the Node object is gone, or another one has its name
	changed  chan struct{}            // seen is new
	podCIDRs []string
	found    []corev1.NodeAddress // at the start
	last     corev1.NodeStatus    // what was written last, and when
	at       time.Time
	version  uint64 // the resource version that write made
	started  bool   // it has been told that the agent has started
	// images are listed more rarely than the rest: it costs more.
	images   []corev1.ContainerImage
	imagesAt time.Time
}

// seenNode is a version of the Node object. One of a list is what the API has
// even if its version is older than that of the last write: then the server went
// back to an older state.
type seenNode struct {
	node   *corev1.Node
	listed bool
}

func newNodeStatus(n *Node) *nodeStatus {
	return &nodeStatus{node: n, lost: make(chan struct{}, 1), changed: make(chan struct{}, 1)}
}

// run keeps the status true until ctx ends.
func (s *nodeStatus) run(ctx context.Context) {
	timer := time.NewTimer(statusCheck)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-s.changed:
		case <-s.lost:
			if !s.again(ctx) {
				return
			}
		}
		next := statusRetry
		guard.Do(ctx, "report the node's status", func() {
			if s.report(ctx, true) {
				next = statusCheck
			}
		})
		timer.Reset(next)
		// Who else writes the status must not make this a race.
		if !wait.Sleep(ctx, statusPace) {
			return
		}
	}
}

// again registers the node anew after its object was deleted. The pods go on
// running, with the addresses they have: the node asks for its range again.
func (s *nodeStatus) again(ctx context.Context) bool {
	node, err := s.node.ensureNode(ctx, s.podCIDRs)
	if err != nil {
		return false // only the end of ctx ends the tries
	}
	if node.UID == *s.uid.Load() {
		return true
	}
	s.node.cfg.Log.Warn("the Node object was deleted; registered again", "node", node.Name)
	s.uid.Store(&node.UID)
	s.last, s.at = corev1.NodeStatus{}, time.Time{}
	s.seen.Store(nil)
	return true
}

// report writes the status if there is something to say, and reports whether
// the API has it.
func (s *nodeStatus) report(ctx context.Context, networkReady bool) bool {
	now := time.Now()
	if now.Sub(s.imagesAt) >= imagesInterval {
		s.images, s.imagesAt = s.node.nodeImages(ctx), now
	}
	have := s.have()
	want := s.node.nodeStatus(networkReady, now, have)
	want.Images = s.images
	gone := foreign(want, have)
	if !s.at.IsZero() && now.Sub(s.at) < statusInterval && len(gone) == 0 && reported(want, have) {
		return true
	}
	patch, err := patchOf(*s.uid.Load(), want, gone, s.addresses(want, have))
	var node *corev1.Node
	if err == nil {
		node, err = s.node.cfg.Client.CoreV1().Nodes().Patch(ctx, s.node.cfg.NodeName, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	}
	if err != nil {
		if ctx.Err() == nil {
			s.node.cfg.Log.Warn("node status not written, trying again", "node", s.node.cfg.NodeName, "err", err)
		}
		return false
	}
	s.tell(node, have, want)
	s.last, s.at = want, now
	if version, err := strconv.ParseUint(node.ResourceVersion, 10, 64); err == nil {
		s.version = version
	}
	return true
}

// tell records what the kubelet does: its start, and each condition that has changed.
func (s *nodeStatus) tell(node *corev1.Node, have, want corev1.NodeStatus) {
	if !s.started {
		s.started = true
		s.node.cfg.Event(node, "Starting", "Starting kubelet.")
	}
	before := map[corev1.NodeConditionType]corev1.ConditionStatus{}
	for _, c := range have.Conditions {
		before[c.Type] = c.Status
	}
	for _, c := range want.Conditions {
		if c.Type == corev1.NodeReady && before[c.Type] == "" && c.Status != corev1.ConditionTrue {
			continue // it begins so, which is no change
		}
		if reason := conditionEvents[c.Type][c.Status]; reason != "" && before[c.Type] != c.Status {
			s.node.cfg.Event(node, reason, "Node "+node.Name+" status is now: "+reason)
		}
	}
}

// conditionEvents are the kubelet's reasons of events about a node's conditions.
var conditionEvents = map[corev1.NodeConditionType]map[corev1.ConditionStatus]string{
	corev1.NodeReady:          {corev1.ConditionTrue: "NodeReady", corev1.ConditionFalse: "NodeNotReady"},
	corev1.NodeMemoryPressure: {corev1.ConditionTrue: "NodeHasInsufficientMemory", corev1.ConditionFalse: "NodeHasSufficientMemory"},
	corev1.NodeDiskPressure:   {corev1.ConditionTrue: "NodeHasDiskPressure", corev1.ConditionFalse: "NodeHasNoDiskPressure"},
	corev1.NodePIDPressure:    {corev1.ConditionTrue: "NodeHasInsufficientPID", corev1.ConditionFalse: "NodeHasSufficientPID"},
}

// foreign makes allocatable what others have added to the node's capacity, as a kubelet
// does, and returns the extended resources that are not part of it any more.
func foreign(want, have corev1.NodeStatus) []corev1.ResourceName {
	for name, q := range have.Capacity {
		if _, own := want.Capacity[name]; !own {
			want.Allocatable[name] = q.DeepCopy()
		}
	}
	var gone []corev1.ResourceName
	for name := range have.Allocatable {
		if _, ok := want.Allocatable[name]; !ok && podspec.IsExtended(name) {
			gone = append(gone, name)
		}
	}
	return gone
}

// addresses are those to be written as a whole list, with those of others: what is written
// otherwise is merged by type, as if there were one address of each. Nil: there is one of each.
func (s *nodeStatus) addresses(want, have corev1.NodeStatus) []corev1.NodeAddress {
	there := have.Addresses
	if s.at.IsZero() {
		there = s.found
	}
	if !twice(want.Addresses) && !twice(there) {
		return nil
	}
	own := func(a corev1.NodeAddress) bool {
		return slices.ContainsFunc(want.Addresses, func(w corev1.NodeAddress) bool { return w.Type == a.Type })
	}
	return append(slices.Clone(want.Addresses), slices.DeleteFunc(slices.Clone(there), own)...)
}

// twice reports whether there are two addresses of a type.
func twice(list []corev1.NodeAddress) bool {
	seen := map[corev1.NodeAddressType]bool{}
	for _, a := range list {
		if seen[a.Type] {
			return true
		}
		seen[a.Type] = true
	}
	return false
}

// patchOf writes a status, with the list of addresses as a whole if there is one, and takes
// resources out of what is allocatable.
func patchOf(uid types.UID, want corev1.NodeStatus, gone []corev1.ResourceName, addresses []corev1.NodeAddress) ([]byte, error) {
	metadata := map[string]any{"uid": uid}
	if len(gone) == 0 && addresses == nil {
		return json.Marshal(map[string]any{"metadata": metadata, "status": want})
	}
	if addresses != nil {
		want.Addresses = addresses
	}
	status, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&want)
	if err != nil {
		return nil, err
	}
	if addresses != nil {
		list, _, err := unstructured.NestedSlice(status, "addresses")
		if err != nil {
			return nil, err
		}
		status["addresses"] = append(list, map[string]any{"$patch": "replace"})
	}
	for _, name := range gone {
		if err := unstructured.SetNestedField(status, nil, "allocatable", string(name)); err != nil {
			return nil, err
		}
	}
	return json.Marshal(map[string]any{"metadata": metadata, "status": status})
}

// have is the status the API has: what it told last, unless that is older than
// what was written since.
func (s *nodeStatus) have() corev1.NodeStatus {
	seen := s.seen.Load()
	if seen == nil {
		return s.last
	}
	if version, err := strconv.ParseUint(seen.node.ResourceVersion, 10, 64); err == nil && version < s.version {
		if !seen.listed {
			return s.last
		}
		s.version = version
	}
	return seen.node.Status
}

// reported reports whether the API has what is to be reported, times aside.
// Conditions, addresses and resources that others have put there are theirs.
func reported(want, have corev1.NodeStatus) bool {
	for _, c := range want.Conditions {
		if !slices.ContainsFunc(have.Conditions, func(h corev1.NodeCondition) bool {
			return h.Type == c.Type && h.Status == c.Status && h.Reason == c.Reason && h.Message == c.Message
		}) {
			return false
		}
	}
	for _, a := range want.Addresses {
		if !slices.Contains(have.Addresses, a) {
			return false
		}
	}
	for _, list := range []struct{ want, have corev1.ResourceList }{{want.Capacity, have.Capacity}, {want.Allocatable, have.Allocatable}} {
		for name, q := range list.want {
			if h, ok := list.have[name]; !ok || q.Cmp(h) != 0 {
				return false
			}
		}
	}
	return equality.Semantic.DeepEqual(want.NodeInfo, have.NodeInfo) && want.DaemonEndpoints == have.DaemonEndpoints &&
		equality.Semantic.DeepEqual(want.Images, have.Images) && equality.Semantic.DeepEqual(want.RuntimeHandlers, have.RuntimeHandlers)
}

// selfStore passes the API's Node on to its status.
type selfStore struct{ status *nodeStatus }

func (s selfStore) Add(obj any) error    { s.look(obj, false); return nil }
func (s selfStore) Update(obj any) error { s.look(obj, false); return nil }
func (s selfStore) Delete(any) error     { wake(s.status.lost); return nil }
func (s selfStore) Resync() error        { return nil }

func (s selfStore) Replace(list []any, _ string) error {
	if len(list) == 0 {
		wake(s.status.lost)
	}
	for _, obj := range list {
		s.look(obj, true)
	}
	return nil
}

func (s selfStore) look(obj any, listed bool) {
	node := obj.(*corev1.Node)
	if node.UID != *s.status.uid.Load() {
		wake(s.status.lost)
		return
	}
	s.status.seen.Store(&seenNode{node, listed})
	wake(s.status.changed)
}

// wake puts a value into a channel of one, unless it has one.
func wake(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
