package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/storage"

	"headway.dev/engine/api/stack"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/rule"
)

// errConflict ends a transaction whose object has changed since it was read.
var errConflict = errors.New("storage: the object has changed")

// Create implements storage.Interface.
func (s *Storage) Create(ctx context.Context, path string, obj, out runtime.Object, ttl uint64) error {
	prepared, key, err := s.parse(path, false)
	if err != nil {
		return err
	}
	if version, err := s.versioner.ObjectResourceVersion(obj); err == nil && version != 0 {
		return storage.ErrResourceVersionSetOnCreate
	}
	next, err := s.prepare(s.copy(obj))
	if err == nil {
		next, err = s.toStore(next)
	}
	if err != nil {
		return err
	}
	stored, _, err := s.commit(ctx, key, func(current object.Object) (object.Object, error) {
		if current != nil {
			return nil, storage.NewKeyExistsError(prepared, 0)
		}
		return next, nil
	})
	if err != nil {
		return err
	}
	s.expiry.set(key, stored, ttl)
	return s.setShown(out, stored)
}

// prepare clears what the store sets itself.
func (s *Storage) prepare(obj runtime.Object) (object.Object, error) {
	if err := s.versioner.PrepareObjectForStorage(obj); err != nil {
		return nil, fmt.Errorf("PrepareObjectForStorage failed: %w", err)
	}
	return toObject(obj)
}

// commit changes one key, and returns its state and the change's revision.
func (s *Storage) commit(ctx context.Context, key object.Key, mutate func(object.Object) (object.Object, error)) (object.Object, uint64, error) {
	results, err := s.store.Transact(ctx, change.Tx{
		Durability: s.durability,
		Changes:    []change.Change{{Key: key, Mutate: mutate}},
	})
	if err != nil {
		return nil, 0, err
	}
	return results[0].Object, results[0].Revision, nil
}

// swap puts next (nil removes) in the place of old. If the state is no longer
// old it changes nothing and returns errConflict and the state that it met.
func (s *Storage) swap(ctx context.Context, key object.Key, old, next object.Object) (object.Object, uint64, error) {
	var met object.Object
	stored, revision, err := s.commit(ctx, key, func(current object.Object) (object.Object, error) {
		if !sameVersion(current, old) {
			met = current
			return nil, errConflict
		}
		return next, nil
	})
	if err != nil {
		return met, 0, err
	}
	return stored, revision, nil
}

func sameVersion(a, b object.Object) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return a.GetResourceVersion() == b.GetResourceVersion()
}

// attempt is the state on which a write is tried.
type attempt struct {
	storage *Storage
	path    string
	key     object.Key
	// state is what the object is read as, and stored what of it is in the store, if
	// it came from there. Both are shared; nil is no object.
	state, stored object.Object
	// current says that state came from the store, not from the caller.
	current bool
}

// begin starts with the caller's cached state, if there is one.
func (s *Storage) begin(path string, cached runtime.Object) (*attempt, error) {
	prepared, key, err := s.parse(path, false)
	if err != nil {
		return nil, err
	}
	a := &attempt{storage: s, path: prepared, key: key}
	if cached == nil {
		return a, a.refresh()
	}
	a.state, err = toObject(cached)
	return a, err
}

func (a *attempt) refresh() error {
	return a.met(a.storage.store.Get(a.key))
}

func (a *attempt) met(stored object.Object) (err error) {
	a.stored, a.current = stored, true
	a.state, err = a.storage.show(stored)
	return err
}

// stale is called after a check of the state failed with err: true means to
// try again with the newest state, if that is another one.
func (a *attempt) stale() bool {
	if a.current {
		return false
	}
	old := a.state
	return a.refresh() == nil && !sameVersion(old, a.state)
}

// Delete implements storage.Interface.
func (s *Storage) Delete(ctx context.Context, path string, out runtime.Object, preconditions *storage.Preconditions,
	validate storage.ValidateObjectFunc, cached runtime.Object, _ storage.DeleteOptions,
) error {
	a, err := s.begin(path, cached)
	if err != nil {
		return err
	}
	for {
		if a.state == nil {
			return storage.NewKeyNotFoundError(a.path, 0)
		}
		err := preconditions.Check(a.path, a.state)
		if err == nil {
			err = validate(ctx, a.state.DeepCopyObject())
		}
		if err != nil {
			if a.stale() {
				continue
			}
			return err
		}
		met, revision, err := s.swap(ctx, a.key, a.state, nil)
		if errors.Is(err, errConflict) {
			if err := a.met(met); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		if err := s.setTo(out, a.state); err != nil || out == nil {
			return err
		}
		return s.versioner.UpdateObject(out, revision)
	}
}

// GuaranteedUpdate implements storage.Interface. tryUpdate runs outside the
// store's writer, as often as it takes.
func (s *Storage) GuaranteedUpdate(ctx context.Context, path string, out runtime.Object, ignoreNotFound bool,
	preconditions *storage.Preconditions, tryUpdate storage.UpdateFunc, cached runtime.Object,
) error {
	stack.Grow() // the library updates in a goroutine of its own
	a, err := s.begin(path, cached)
	if err != nil {
		return err
	}
	for {
		if err := ctx.Err(); err != nil {
			return storage.NewTimeoutError(a.path, err.Error())
		}
		if a.state == nil && !ignoreNotFound {
			return storage.NewKeyNotFoundError(a.path, 0)
		}
		next, ttl, err := a.update(out, preconditions, tryUpdate)
		if err != nil {
			if a.stale() {
				continue
			}
			return err
		}
		if a.state != nil {
			same, err := a.same(next)
			if err != nil {
				return err
			}
			if same && !a.current {
				// Only the store's own state proves that nothing changes.
				if err := a.refresh(); err != nil {
					return err
				}
				continue
			}
			if same {
				return s.setTo(out, a.state)
			}
		}
		if s.share != nil && a.stored != nil {
			s.share(next, a.stored)
		}
		stored, _, err := s.swap(ctx, a.key, a.state, next)
		if errors.Is(err, errConflict) {
			if err := a.met(stored); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		s.expiry.set(a.key, stored, ttl)
		return s.setShown(out, stored)
	}
}

// update checks the state and runs tryUpdate on a copy of it. Without an
// object, tryUpdate gets an empty one of out's type.
func (a *attempt) update(out runtime.Object, preconditions *storage.Preconditions, tryUpdate storage.UpdateFunc) (object.Object, uint64, error) {
	var input runtime.Object
	var info storage.ResponseMeta
	if a.state == nil {
		empty := out.DeepCopyObject()
		if err := runtime.SetZeroValue(empty); err != nil {
			return nil, 0, err
		}
		input = empty
	} else {
		input = a.storage.copy(a.state)
		version, err := a.storage.versioner.ObjectResourceVersion(a.state)
		if err != nil {
			return nil, 0, fmt.Errorf("couldn't get resource version: %w", err)
		}
		info.ResourceVersion = version
	}
	if err := preconditions.Check(a.path, input); err != nil {
		return nil, 0, err
	}
	output, ttl, err := tryUpdate(input, info)
	if err != nil {
		return nil, 0, misapplied(err)
	}
	next, err := a.storage.prepare(a.storage.copy(output))
	if err == nil {
		next, err = a.storage.toStore(next)
	}
	if err != nil {
		return nil, 0, err
	}
	if ttl == nil {
		return next, 0, nil
	}
	return next, *ttl, nil
}

// misapplied tells who is at fault for an apply patch that does not fit the schema. The
// library returns a plain error for it, which would be answered as the server's own
// (500), and clients would try again.
func misapplied(err error) error {
	var told apierrors.APIStatus
	if errors.As(err, &told) || !strings.HasPrefix(err.Error(), "failed to create typed patch object (") {
		return err
	}
	lines := strings.Split(err.Error(), "\n")
	if left := len(lines) - 1 - rule.MostErrors; left > 0 {
		lines = append(lines[:1+rule.MostErrors], fmt.Sprintf("  (%d further errors are not listed)", left))
	}
	return apierrors.NewBadRequest(strings.Join(lines, "\n"))
}

// same reports whether writing next would store the same bytes. next is ours to
// change, and in the form in which it is stored.
func (a *attempt) same(next object.Object) (bool, error) {
	old := a.stored
	if old == nil {
		var err error
		if old, err = a.storage.toStore(a.state); err != nil {
			return false, err
		}
	}
	next.SetResourceVersion(old.GetResourceVersion())
	type sized interface{ Size() int }
	if b, ok := old.(sized); ok && b.Size() != next.(sized).Size() {
		return false, nil // it is the length of the bytes
	}
	before, err := a.storage.store.Encode(a.storage.kind, old)
	if err != nil {
		return false, err
	}
	after, err := a.storage.store.Encode(a.storage.kind, next)
	if err != nil {
		return false, err
	}
	return bytes.Equal(before, after), nil
}
