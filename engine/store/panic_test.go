package store_test

import (
	"context"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"

	"headway.dev/engine/store"
	"headway.dev/engine/store/record"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

// poisonous is a codec that panics with objects of certain names.
type poisonous struct{ record.Codec }

func (c poisonous) Encode(obj object.Object) ([]byte, error) {
	if strings.HasPrefix(obj.GetName(), "encode") {
		panic("cannot encode " + obj.GetName())
	}
	return c.Codec.Encode(obj)
}

// Whatever panics in the store's writer, a change, an admission, what goes
// along, an observer, an encoding at once or behind: the one who asked is
// answered, it is told once, and the store goes on.
func TestPanicsOfTheWriter(t *testing.T) {
	var panics atomic.Int32
	before := utilruntime.PanicHandlers
	utilruntime.PanicHandlers = []func(context.Context, any){func(context.Context, any) { panics.Add(1) }}
	t.Cleanup(func() { utilruntime.PanicHandlers = before })
	path := filepath.Join(t.TempDir(), "db")
	s := open(t, store.Options{
		Path: path,
		Admit: []store.Admit{func(_ object.Reader, next, _ object.Object) (object.Object, error) {
			if next != nil && next.GetName() == "admit" {
				panic("admission")
			}
			return next, nil
		}},
		Along: func(_ object.Reader, ev object.Event) []change.Change {
			if ev.Key.Name == "along" {
				panic("along")
			}
			return nil
		},
		Observe: func(events []object.Event) {
			for _, ev := range events {
				if ev.Key.Name == "observe" {
					panic("observer")
				}
			}
		},
		Codec: func(kind schema.GroupKind) record.Codec { return poisonous{record.Served(kind)} },
	})
	want := map[string]string{}
	for _, c := range []struct {
		name       string
		durability change.Durability
		stored     bool
	}{
		{"mutate", change.Wait, false},
		{"admit", change.Wait, false},
		{"along", change.Wait, false},
		{"encode", change.Wait, false},
		// Who does not wait for the disk has been told before.
		{"encode-behind", change.Behind, true},
		{"observe", change.Wait, true},
	} {
		told := panics.Load()
		poison := put(c.name, "x")
		if c.name == "mutate" {
			poison.Mutate = func(object.Object) (object.Object, error) { panic("change") }
		}
		_, err := s.Commit(t.Context(), change.Tx{Durability: c.durability, Changes: []change.Change{put("with-"+c.name, "1"), poison}})
		if stored := err == nil; stored != c.stored {
			t.Errorf("%s: %v", c.name, err)
		}
		if c.stored {
			want[c.name], want["with-"+c.name] = "x", "1"
		}
		commit(t, s, change.Wait, put("after-"+c.name, "2"))
		want["after-"+c.name] = "2"
		if got := panics.Load() - told; got != 1 {
			t.Errorf("%s: %d panics were told, want 1", c.name, got)
		}
	}
	wantValues(t, s, want)
	if err := s.Err(); err != nil {
		t.Errorf("the store: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// What could not be encoded could not be written.
	delete(want, "encode-behind")
	wantValues(t, open(t, store.Options{Path: path}), want)
}
