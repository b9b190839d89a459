package nftables

// tracked is what the kernel should have and what it is known to have of one
// sort of things; dirty are those in which both may differ.
type tracked[K comparable, V any] struct {
	want, have map[K]V
	dirty      map[K]bool
}

func newTracked[K comparable, V any]() *tracked[K, V] {
	return &tracked[K, V]{want: map[K]V{}, have: map[K]V{}, dirty: map[K]bool{}}
}

func (t *tracked[K, V]) set(k K, v V) {
	t.want[k], t.dirty[k] = v, true
}

func (t *tracked[K, V]) remove(k K) {
	delete(t.want, k)
	t.dirty[k] = true
}

// unknown forgets what the kernel has, so that everything is written.
func (t *tracked[K, V]) unknown() {
	clear(t.have)
	clear(t.dirty)
	for k := range t.want {
		t.dirty[k] = true
	}
}

// differ calls old for what is to go, and then next for what is to come; what
// changes is both.
func (t *tracked[K, V]) differ(equal func(a, b V) bool, old func(K, V), next func(K, V)) {
	for k := range t.dirty {
		have, there := t.have[k]
		if want, wanted := t.want[k]; there && (!wanted || !equal(have, want)) {
			old(k, have)
		}
	}
	for k := range t.dirty {
		have, there := t.have[k]
		if want, wanted := t.want[k]; wanted && (!there || !equal(have, want)) {
			next(k, want)
		}
	}
}

// written takes it that the kernel has what it should.
func (t *tracked[K, V]) written() {
	for k := range t.dirty {
		if want, ok := t.want[k]; ok {
			t.have[k] = want
		} else {
			delete(t.have, k)
		}
	}
	clear(t.dirty)
}
