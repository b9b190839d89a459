package custom

import (
	"context"
	"maps"
	"net/http"
	"sync"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	informers "k8s.io/apiextensions-apiserver/pkg/client/informers/externalversions/apiextensions/v1"
	listers "k8s.io/apiextensions-apiserver/pkg/client/listers/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/client-go/tools/cache"

	"headway.dev/manifests/guard"
	"headway.dev/manifests/model/object"
)

// idleAfter is how long what the library makes to serve the resources of a definition is
// kept after the last request for one. It is made for no more than mostIdle definitions at
// a time that nobody uses at the moment, a megabyte and more each: who lists the resources
// of all definitions once would have all of it made. Those that are asked for again and
// again are kept, however many.
const (
	idleAfter = 30 * time.Second
	mostIdle  = 32
)

// definitions are those whose resources the library's handler serves, as it sees them.
// For the handler it is the informer and the lister. What the handler makes of a
// definition it keeps until that changes: so it is told that there are no schemas any
// more when there have been no requests for a while.
//
//	use ─▶ request ─▶ done ─▶ idle: handler forgets
//	          └─ Get: the whole definition, which the handler compiles
type definitions struct {
	informers.CustomResourceDefinitionInformer // for what nobody calls
	listers.CustomResourceDefinitionListerExpansion
	reader  Store
	idle    time.Duration
	handler cache.ResourceEventHandler

	mu   sync.Mutex
	used map[string]*use
	// most is how many idle ones are kept. It grows with each that is asked for again
	// within the time for which it would have been kept, and shrinks with each that is not.
	most int
	// early are those that were forgotten before that time, and when it is over.
	early map[string]time.Time
}

// use is what is known of a definition while it is used.
type use struct {
	requests int
	// crd is the whole definition as the handler was told of it last, or as it first
	// asked for it.
	crd  *apiextensionsv1.CustomResourceDefinition
	ends *time.Timer
	// since is the end of the last request.
	since time.Time
	// early says that it is forgotten before its time, unless it is used meanwhile.
	early bool
}

var (
	_ informers.CustomResourceDefinitionInformer = (*definitions)(nil)
	_ listers.CustomResourceDefinitionLister     = (*definitions)(nil)
)

func newDefinitions(reader Store, idle time.Duration) *definitions {
	return &definitions{reader: reader, idle: idle, used: map[string]*use{}, most: mostIdle, early: map[string]time.Time{}}
}

// serving serves requests for resources, by what h makes of their definitions as they
// are now: events of them are behind.
func (d *definitions) serving(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if info, ok := request.RequestInfoFrom(r.Context()); ok {
			name := info.Resource + "." + info.APIGroup
			last, done := d.use(name)
			defer done()
			if last != nil {
				if now := d.stored(name); now != nil && now.ResourceVersion != last.ResourceVersion {
					d.changed(name)
				}
			}
		}
		h.ServeHTTP(w, r)
	})
}

// use notes a request for a resource of a definition, until it is done. last is the
// definition as the handler knows it, if it does.
func (d *definitions) use(name string) (last *apiextensionsv1.CustomResourceDefinition, done func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	u := d.used[name]
	if u == nil {
		u = &use{}
		d.used[name] = u
		if until, ok := d.early[name]; ok && time.Now().Before(until) {
			d.most++
		}
		delete(d.early, name)
	}
	u.requests++
	u.early = false
	if u.ends != nil {
		u.ends.Stop()
	}
	return u.crd, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		switch u.requests--; {
		case u.requests > 0:
			return
		case u.crd == nil: // there is no such definition
			delete(d.used, name)
			return
		case u.ends == nil:
			u.ends = time.AfterFunc(d.idle, func() {
				guard.Do(context.Background(), "forget the definition "+name, func() { d.rest(name, u) })
			})
		default:
			u.ends.Reset(d.idle)
		}
		u.since = time.Now()
		d.makeRoom()
	}
}

// makeRoom has the one forgotten soon that is idle for longest, if there are too many. It
// is called with mu held.
func (d *definitions) makeRoom() {
	var name string
	idle := 0
	for n, u := range d.used {
		if u.requests > 0 || u.ends == nil || u.early {
			continue
		}
		if idle++; name == "" || u.since.Before(d.used[name].since) {
			name = n
		}
	}
	if idle > d.most {
		u := d.used[name]
		u.early = true
		u.ends.Reset(0)
	}
}

// rest has the handler forget what it made of a definition, unless that is used again.
func (d *definitions) rest(name string, u *use) {
	d.mu.Lock()
	crd := u.crd
	if u.requests > 0 || d.used[name] != u {
		d.mu.Unlock()
		return
	}
	delete(d.used, name)
	if u.early {
		d.early[name] = u.since.Add(d.idle)
	} else {
		d.most = max(mostIdle, d.most-1)
	}
	maps.DeleteFunc(d.early, func(_ string, until time.Time) bool { return time.Now().After(until) })
	d.mu.Unlock()
	// Without the lock: the handler asks for definitions while it has its own.
	gone := *crd
	gone.Spec.Versions = nil
	d.handler.OnAdd(&gone, false)
}

// events follows the changes of all definitions.
func (d *definitions) events() cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		// One may have been used, and changed, before it was listed.
		AddFunc: func(obj any) {
			if crd, ok := obj.(*apiextensionsv1.CustomResourceDefinition); ok {
				d.changed(crd.Name)
			}
		},
		UpdateFunc: func(old, now any) {
			was, ok := old.(*apiextensionsv1.CustomResourceDefinition)
			is, also := now.(*apiextensionsv1.CustomResourceDefinition)
			if !ok || !also || was.ResourceVersion == is.ResourceVersion {
				return
			}
			if was.UID != is.UID {
				d.handler.OnDelete(was)
			}
			d.changed(is.Name)
		},
		DeleteFunc: func(obj any) {
			if last, ok := obj.(cache.DeletedFinalStateUnknown); ok {
				obj = last.Obj
			}
			if crd, ok := obj.(*apiextensionsv1.CustomResourceDefinition); ok {
				d.handler.OnDelete(crd)
			}
		},
	}
}

// changed is told of each change of a definition that is kept.
func (d *definitions) changed(name string) {
	d.mu.Lock()
	_, used := d.used[name]
	d.mu.Unlock()
	if !used {
		return
	}
	crd := d.stored(name)
	if crd == nil {
		return
	}
	d.handler.OnAdd(crd, false) // which forgets what it made of another state
	d.mu.Lock()
	defer d.mu.Unlock()
	if u := d.used[name]; u != nil {
		u.crd = crd // and not before: requests tell by it whether the handler knows
	}
}

// Get implements listers.CustomResourceDefinitionLister.
func (d *definitions) Get(name string) (*apiextensionsv1.CustomResourceDefinition, error) {
	crd := d.stored(name)
	if crd == nil {
		return nil, apierrors.NewNotFound(apiextensionsv1.Resource("customresourcedefinitions"), name)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if u := d.used[name]; u != nil && u.crd == nil {
		u.crd = crd
	}
	return crd, nil
}

// stored is nil if there is no such definition.
func (d *definitions) stored(name string) *apiextensionsv1.CustomResourceDefinition {
	crd, _ := d.reader.Get(object.Key{GroupKind: definition, Name: name}).(*apiextensionsv1.CustomResourceDefinition)
	return crd
}

// List implements listers.CustomResourceDefinitionLister, without the schemas.
func (d *definitions) List(labels.Selector) ([]*apiextensionsv1.CustomResourceDefinition, error) {
	list, _ := object.Heads(d.reader, definition)
	out := make([]*apiextensionsv1.CustomResourceDefinition, 0, len(list))
	for _, obj := range list {
		if crd, ok := obj.(*apiextensionsv1.CustomResourceDefinition); ok {
			out = append(out, crd)
		}
	}
	return out, nil
}

// Informer implements informers.CustomResourceDefinitionInformer.
func (d *definitions) Informer() cache.SharedIndexInformer { return informer{of: d} }

// Lister implements informers.CustomResourceDefinitionInformer.
func (d *definitions) Lister() listers.CustomResourceDefinitionLister { return d }

// informer takes the handler's functions.
type informer struct {
	cache.SharedIndexInformer // for what nobody calls
	of                        *definitions
}

// AddEventHandler implements cache.SharedIndexInformer.
func (i informer) AddEventHandler(h cache.ResourceEventHandler) (cache.ResourceEventHandlerRegistration, error) {
	i.of.handler = h
	return nil, nil
}
