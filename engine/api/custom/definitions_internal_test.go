package custom

import (
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/client-go/tools/cache"

	"headway.dev/manifests/model/object"
)

// one is a store of one definition.
type one struct {
	Store
	crd *apiextensionsv1.CustomResourceDefinition
}

func (o one) Get(key object.Key) object.Object {
	if key.Name != o.crd.Name {
		return nil
	}
	return o.crd
}

func (o one) List(schema.GroupKind, string) ([]object.Object, uint64) {
	return []object.Object{o.crd}, 1
}

// What was made of a definition is forgotten when there has been no request for a
// while, but not while one is served, which a watch may be for hours.
func TestIdleDefinitionsAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		crd := &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: "widgets.example.com", UID: "1"}}
		crd.Spec.Versions = []apiextensionsv1.CustomResourceDefinitionVersion{{Name: "v1"}}
		d := newDefinitions(one{crd: crd}, time.Minute)
		var mu sync.Mutex
		var told []*apiextensionsv1.CustomResourceDefinition
		if _, err := d.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: func(obj any) {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, obj.(*apiextensionsv1.CustomResourceDefinition))
		}}); err != nil {
			t.Fatal(err)
		}
		use := func(name string) (done func()) {
			_, done = d.use(name)
			if got, err := d.Lister().Get(name); (err == nil) != (name == crd.Name) || err == nil && got != crd {
				t.Errorf("%s is %v, %v", name, got, err)
			}
			return done
		}
		after := func(wait time.Duration) int {
			<-time.After(wait)
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			return len(told)
		}
		store := &one{crd: crd}
		d.reader = store
		watch := use(crd.Name)
		use(crd.Name)()
		if n := after(time.Hour); n != 0 {
			t.Errorf("forgotten %d times while there is a watch", n)
		}
		// A request is served by what is stored, whose event is not there yet.
		crd = crd.DeepCopy()
		crd.ResourceVersion, store.crd = "2", crd
		info := &request.RequestInfo{APIGroup: "example.com", Resource: "widgets"}
		r := httptest.NewRequestWithContext(request.WithRequestInfo(t.Context(), info), http.MethodGet, "/", http.NoBody)
		d.serving(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			if len(told) != 1 || told[0] != crd {
				t.Errorf("a request is served by %v", told)
			}
			told = nil
		})).ServeHTTP(httptest.NewRecorder(), r)
		watch()
		if n := after(59 * time.Second); n != 0 {
			t.Errorf("forgotten %d times within the minute", n)
		}
		use(crd.Name)()
		if n := after(59 * time.Second); n != 0 {
			t.Errorf("forgotten %d times within a minute of the last request", n)
		}
		if n := after(2 * time.Second); n != 1 || told[0].UID != crd.UID || told[0].Spec.Versions != nil {
			t.Errorf("told %d times to forget: %v", n, told)
		}
		use("others.example.com")()
		d.mu.Lock()
		used := len(d.used)
		d.mu.Unlock()
		if used != 0 {
			t.Errorf("%d definitions are known that nobody uses", used)
		}
		d.changed(crd.Name)
		if n := after(time.Hour); n != 1 {
			t.Errorf("told %d times, the last time of what is not known any more", n)
		}
	})
}

// every is a store that has every definition.
type every struct{ Store }

func (every) Get(key object.Key) object.Object {
	return &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: key.Name, UID: "1"}}
}

// Of many definitions that are used once few are kept, those that were used last; of as
// many that are used again and again all, until they are not.
func TestFewIdleDefinitionsAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDefinitions(every{}, time.Minute)
		var mu sync.Mutex
		forgotten := map[string]int{}
		if _, err := d.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: func(obj any) {
			mu.Lock()
			defer mu.Unlock()
			forgotten[obj.(*apiextensionsv1.CustomResourceDefinition).Name]++
		}}); err != nil {
			t.Fatal(err)
		}
		const all = 5 * mostIdle
		// round uses all and returns how many were forgotten.
		round := func() int {
			mu.Lock()
			clear(forgotten)
			mu.Unlock()
			for i := range all {
				name := strconv.Itoa(i)
				_, done := d.use(name)
				if _, err := d.Get(name); err != nil {
					t.Error(err)
				}
				<-time.After(time.Millisecond)
				done()
				synctest.Wait()
			}
			mu.Lock()
			defer mu.Unlock()
			return len(forgotten)
		}
		of := func(name string) int {
			mu.Lock()
			defer mu.Unlock()
			return forgotten[name]
		}
		_, watch := d.use("0")
		if n := round(); n != all-1-mostIdle || of("0")+of(strconv.Itoa(all-1)) > 0 {
			t.Errorf("%d of %d are forgotten", n, all)
		}
		watch()
		for range 2 {
			round()
		}
		if n := round(); n != 0 {
			t.Errorf("%d of those that are used all the time are forgotten", n)
		}
		<-time.After(time.Hour)
		synctest.Wait()
		mu.Lock()
		n := len(forgotten)
		mu.Unlock()
		d.mu.Lock()
		most, used := d.most, len(d.used)
		d.mu.Unlock()
		if n != all || most != mostIdle || used > 0 {
			t.Errorf("after an hour %d are forgotten, %d are used, and %d would be kept", n, used, most)
		}
		if n := round(); n != all-mostIdle {
			t.Errorf("%d of %d are forgotten", n, all)
		}
	})
}
