// Package history keeps the states that an object had as ControllerRevisions, so that
// its controller finds the one of each pod, and users can go back to one. DaemonSets and
// StatefulSets have such a history.
//
// Look decides, and touches nothing.
package history

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"reflect"
	"slices"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/rand"

	"headway.dev/engine/controllers/control"
	"headway.dev/manifests/model/object"
)

// maxBase is what a hash leaves of a name for the owner's.
const maxBase = 223

// Input is what a look is made from.
type Input struct {
	// Owner has the history, Reference is what its revisions refer to it by.
	Owner     object.Object
	Reference metav1.OwnerReference
	// Template is that of the owner's pods today.
	Template *corev1.PodTemplateSpec
	// Revisions are those that Owner controls.
	Revisions []*appsv1.ControllerRevision
	// Label is that of a revision which has its hash.
	Label string
	// Collisions is how often a name was taken already.
	Collisions *int32
}

// History is what is found.
type History struct {
	// Current is the revision of today's template. It may be one that is to be created,
	// or one whose number is to be raised, as Changed says.
	Current *appsv1.ControllerRevision
	Changed Change
	// Same are all revisions of today's template, Old are the others; both in their
	// order.
	Same, Old []*appsv1.ControllerRevision
}

// Change is what has to be done with the current revision.
type Change int

// The changes of a current revision.
const (
	None Change = iota
	Create
	Renumber
)

// Look finds the revision of today's template, or makes it.
func Look(in Input) (History, error) {
	data, err := Patch(in.Template)
	if err != nil {
		return History{}, err
	}
	var h History
	for _, r := range Sorted(in.Revisions) {
		if same(r.Data.Raw, data) {
			h.Same = append(h.Same, r)
		} else {
			h.Old = append(h.Old, r)
		}
	}
	next := int64(1)
	if len(h.Old) > 0 {
		next = h.Old[len(h.Old)-1].Revision + 1
	}
	if len(h.Same) == 0 {
		h.Current, h.Changed = revisionOf(in, data, next), Create
		return h, nil
	}
	h.Current = h.Same[len(h.Same)-1]
	if h.Current.Revision < next {
		renumbered := *h.Current
		renumbered.Revision = next
		h.Current, h.Changed = &renumbered, Renumber
	}
	return h, nil
}

// Sorted are revisions in the order in which they were in force.
func Sorted(revisions []*appsv1.ControllerRevision) []*appsv1.ControllerRevision {
	sorted := slices.Clone(revisions)
	slices.SortStableFunc(sorted, func(a, b *appsv1.ControllerRevision) int {
		return cmp.Or(cmp.Compare(a.Revision, b.Revision), a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	return sorted
}

// Patch is a strategic merge patch that gives an owner the template, which is what
// kubectl rollout undo expects in a revision.
func Patch(template *corev1.PodTemplateSpec) ([]byte, error) {
	text, err := json.Marshal(template)
	if err != nil {
		return nil, fmt.Errorf("write the template: %w", err)
	}
	var fields map[string]any
	if err := json.Unmarshal(text, &fields); err != nil {
		return nil, fmt.Errorf("read the template: %w", err)
	}
	fields["$patch"] = "replace"
	return json.Marshal(map[string]any{"spec": map[string]any{"template": fields}})
}

// Template reads back what Patch wrote.
func Template(r *appsv1.ControllerRevision) (*corev1.PodTemplateSpec, error) {
	var patch struct {
		Spec struct {
			Template corev1.PodTemplateSpec `json:"template"`
		} `json:"spec"`
	}
	if err := json.Unmarshal(r.Data.Raw, &patch); err != nil {
		return nil, fmt.Errorf("read revision %s: %w", r.Name, err)
	}
	return &patch.Spec.Template, nil
}

// Equal reports whether two revisions have the same data.
func Equal(a, b *appsv1.ControllerRevision) bool { return same(a.Data.Raw, b.Data.Raw) }

func same(a, b []byte) bool {
	if bytes.Equal(a, b) {
		return true
	}
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && reflect.DeepEqual(x, y)
}

func revisionOf(in Input, data []byte, number int64) *appsv1.ControllerRevision {
	hash := hashOf(data, in.Collisions)
	labels := maps.Clone(in.Template.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[in.Label] = hash
	return &appsv1.ControllerRevision{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: in.Owner.GetNamespace(), Name: control.Ending(in.Owner.GetName(), "-"+hash, maxBase+len("-")+len(hash)),
			Labels: labels, Annotations: maps.Clone(in.Owner.GetAnnotations()), OwnerReferences: []metav1.OwnerReference{in.Reference},
		},
		Data: runtime.RawExtension{Raw: data}, Revision: number,
	}
}

func hashOf(data []byte, collisions *int32) string {
	h := fnv.New32a()
	_, _ = h.Write(data) // never fails
	if collisions != nil {
		_, _ = h.Write([]byte(strconv.Itoa(int(*collisions))))
	}
	return rand.SafeEncodeString(strconv.FormatUint(uint64(h.Sum32()), 10))
}

// Surplus are the oldest of the revisions that are not in use and beyond a limit; a
// negative one keeps all.
func Surplus(old []*appsv1.ControllerRevision, limit int, inUse func(*appsv1.ControllerRevision) bool) []*appsv1.ControllerRevision {
	if limit < 0 {
		return nil
	}
	unused := slices.DeleteFunc(Sorted(old), inUse)
	return unused[:max(0, len(unused)-limit)]
}
