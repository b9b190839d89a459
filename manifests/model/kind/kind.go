// Package kind defines what makes up a kind of the API: its names, its types
// and everything particular to it. A kind is one [Definition], in a file of
// manifests/model/kinds; [Define] turns it into a [Kind], and a [Set] contains
// the kinds that are served.
package kind

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/custom"
	"headway.dev/manifests/model/health"
	"headway.dev/manifests/model/honour"
	"headway.dev/manifests/model/object"
)

// Kind describes one kind. It is immutable.
type Kind struct {
	Definition[object.Object]
	// Custom is what defines the kind, if that is a CustomResourceDefinition. Its
	// objects have no Go type.
	Custom *custom.Definition
	// New and NewList return empty values.
	New     func() object.Object
	NewList func() runtime.Object
}

// Names are the names of a kind.
type Names struct {
	schema.GroupVersionKind
	// Plural and Singular are the resource's names in paths and on the
	// command line; ShortNames and Categories are kubectl's.
	Plural, Singular       string
	ShortNames, Categories []string
	Namespaced             bool
}

// Resource is the kind's group, version and plural name.
func (n Names) Resource() schema.GroupVersionResource {
	return n.GroupVersion().WithResource(n.Plural)
}

// Definition contains everything particular to a kind with the Go type T, a
// pointer. If a part is not set, the kind does not have it.
type Definition[T object.Object] struct {
	Names
	// Status reports whether there is a status subresource.
	Status bool
	// Subresources are further subresources, which few kinds have, by name,
	// apart from status, scale and finalize, which the parts below make. The API
	// determines how they are served.
	Subresources []string
	// Parts are subresources that change a part of an object.
	Parts []Part[T]
	REST  REST
	Order Order
	// Volatile reports that objects of the kind change all the time and are not
	// kept in Git as a rule: nothing that Git declares is woken by them.
	Volatile bool

	// Default sets each unset field that has a default. It is idempotent.
	Default   func(obj T)
	Lifecycle Lifecycle[T]
	Rules     Rules[T]
	// Warnings tells what is accepted of an object and is hardly what was meant. old is
	// what it takes the place of, the zero value if it is new.
	Warnings func(obj, old T) []string
	Table    Table[T]
	Fields   Fields[T]
	Health   Health[T]

	// Share lets obj, which takes the place of old, have the large parts of old that
	// are the same, so that they are in memory once. old is not changed.
	Share func(obj, old T)
	// Copy is a deep copy but for large parts that nobody changes. Without it, all is
	// copied.
	Copy func(obj T) T
	// Pack returns an object in the form in which it is kept, if it is large and used
	// rarely. The object does not change any more.
	Pack func(obj T) object.Packed

	// Honours says which fields have their effect, for every Go type that the
	// kind's manifests lead to, unless another kind has it. Nil for kinds that
	// describe (events, leases, endpoints) or grant (RBAC), and promise nothing
	// that an agent or a proxy has to keep.
	Honours honour.Types

	// PodTemplate returns the template of the kind's pods, which for a pod is
	// itself.
	PodTemplate func(obj T) (*metav1.ObjectMeta, *corev1.PodSpec)
	// Rollout returns what comes of the kind's pods when an object is made or
	// edited. Rolls reports that it replaces them when their template changes.
	Rollout func(obj T, edit Edit) Rollout
	Rolls   bool
	// Scale returns what the scale subresource is about.
	Scale func(obj T) Scale
	// Suspension returns what suspends an object, for the kinds that follow
	// Git.
	Suspension func(obj T) Suspension
}

// REST describes in what the API treats a kind differently.
type REST struct {
	// CreateOnUpdate: a PUT to a name that does not exist creates.
	CreateOnUpdate bool
	// VersionRequired: a PUT without a resourceVersion is refused.
	VersionRequired bool
	// ReturnsDeleted: the deletion is answered with the object itself.
	ReturnsDeleted bool
	// NoDependents: a delete has no propagation policy.
	NoDependents bool
	// Orphans: a delete without a propagation policy leaves the dependents behind.
	Orphans bool
	// TTL is how long an object is kept; 0 means for ever. What is kept for a
	// while only is acknowledged a moment before it is on disk.
	TTL time.Duration
	// StatusResets are the fields besides spec of which applying the status
	// does not make anybody the owner.
	StatusResets []string
}

// Scale is the part of an object that its scale subresource reads and writes.
type Scale struct {
	Replicas **int32
	Selector *metav1.LabelSelector
	// Current is the number in the status.
	Current int32
}

// Suspension is the part of an object that suspends it and reports that.
type Suspension struct {
	Suspend    *bool
	Conditions *[]metav1.Condition
}

// Table is how kubectl get shows a kind.
type Table[T object.Object] struct {
	Columns []metav1.TableColumnDefinition
	// Row returns the cells of one object in the order of Columns.
	Row func(obj T, now time.Time) []any
	// Compare is the order of the rows of a list (default: that of the list).
	Compare func(a, b T) int
	// Conditions are what clients may want to know about a row as a whole.
	Conditions func(obj T) []metav1.TableRowCondition
}

// Fields are those that a field selector can name, besides those of the
// metadata.
type Fields[T object.Object] struct {
	Names []string
	// Aliases are old spellings.
	Aliases map[string]string
	// Read adds the values of Names.
	Read func(obj T, into fields.Set)
	// Indexes are those of Names by which the store finds objects and their
	// events without a look at the others. Each costs memory for each object.
	Indexes []Index[T]
}

// Index is a field that the store has an index of. Value is what Fields.Read
// adds for it.
type Index[T object.Object] struct {
	Field string
	Value func(obj T) string
}

// Health determines when an object has reached what its spec asks for.
type Health[T object.Object] struct {
	// Of judges an object that is not being deleted. It reads pods from the
	// reader, which may be nil, to find the reason. If Of is not set, an object
	// that exists is Current.
	Of func(obj T, reader object.Reader) health.Result
	// Pods returns the pods that run what obj asks for now; owned are those
	// whose controller is owner.
	Pods func(obj T, reader object.Reader, owned func(owner object.Object) []*corev1.Pod) []*corev1.Pod
	// MinReadySeconds is how long a pod must be Ready to be available.
	MinReadySeconds func(obj T) int32
}

// Define makes the kind whose objects are of the type T and whose lists are of
// the type L.
func Define[T, L any, PT interface {
	*T
	object.Object
}, PL interface {
	*L
	runtime.Object
}](d Definition[PT]) *Kind {
	k := &Kind{
		New:     func() object.Object { return PT(new(T)) },
		NewList: func() runtime.Object { return PL(new(L)) },
	}
	k.Names, k.Status, k.Subresources, k.REST, k.Honours = d.Names, d.Status, d.Subresources, d.REST, d.Honours
	k.Order, k.Volatile, k.Rolls = d.Order, d.Volatile, d.Rolls
	k.Parts = untypedParts(d.Parts)
	k.Default = do(d.Default)
	k.Lifecycle = untyped(d.Lifecycle)
	k.Rules = untypedRules(d.Rules)
	if f := d.Warnings; f != nil {
		k.Warnings = func(obj, old object.Object) []string {
			was, _ := old.(PT)
			return f(obj.(PT), was)
		}
	}
	k.Table = Table[object.Object]{Columns: d.Table.Columns, Row: with(d.Table.Row), Compare: both(d.Table.Compare), Conditions: of(d.Table.Conditions)}
	k.Fields = Fields[object.Object]{Names: d.Fields.Names, Aliases: d.Fields.Aliases, Read: doWith(d.Fields.Read)}
	for _, index := range d.Fields.Indexes {
		k.Fields.Indexes = append(k.Fields.Indexes, Index[object.Object]{Field: index.Field, Value: of(index.Value)})
	}
	k.Health = Health[object.Object]{Of: with(d.Health.Of), MinReadySeconds: of(d.Health.MinReadySeconds)}
	if f := d.Health.Pods; f != nil {
		k.Health.Pods = func(obj object.Object, reader object.Reader, owned func(object.Object) []*corev1.Pod) []*corev1.Pod {
			return f(obj.(PT), reader, owned)
		}
	}
	k.Share, k.Pack = doBoth(d.Share), of(d.Pack)
	if f := d.Copy; f != nil {
		k.Copy = func(obj object.Object) object.Object { return f(obj.(PT)) }
	}
	k.Rollout, k.Scale, k.Suspension = with(d.Rollout), of(d.Scale), of(d.Suspension)
	if f := d.PodTemplate; f != nil {
		k.PodTemplate = func(obj object.Object) (*metav1.ObjectMeta, *corev1.PodSpec) { return f(obj.(PT)) }
	}
	return k
}

// The functions below take the type from a function; nil stays nil.

func do[T object.Object](f func(obj T)) func(object.Object) {
	if f == nil {
		return nil
	}
	return func(obj object.Object) { f(obj.(T)) }
}

func doWith[T object.Object, A any](f func(obj T, arg A)) func(object.Object, A) {
	if f == nil {
		return nil
	}
	return func(obj object.Object, arg A) { f(obj.(T), arg) }
}

func of[T object.Object, R any](f func(obj T) R) func(object.Object) R {
	if f == nil {
		return nil
	}
	return func(obj object.Object) R { return f(obj.(T)) }
}

func with[T object.Object, A, R any](f func(obj T, arg A) R) func(object.Object, A) R {
	if f == nil {
		return nil
	}
	return func(obj object.Object, arg A) R { return f(obj.(T), arg) }
}

func doBoth[T object.Object](f func(obj, old T)) func(obj, old object.Object) {
	if f == nil {
		return nil
	}
	return func(obj, old object.Object) { f(obj.(T), old.(T)) }
}

func both[T object.Object, R any](f func(obj, old T) R) func(obj, old object.Object) R {
	if f == nil {
		return nil
	}
	return func(obj, old object.Object) R { return f(obj.(T), old.(T)) }
}
