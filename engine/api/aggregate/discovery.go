package aggregate

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/endpoints"
	"k8s.io/apiserver/pkg/endpoints/handlers/negotiation"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	"k8s.io/client-go/discovery"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/kube-aggregator/pkg/apis/apiregistration/v1/helper"
)

// mostDiscovery bounds what a server says of its resources. What is made of it in
// memory is larger, so only one document is read at a time.
const mostDiscovery = 1 << 20

// reading is held while a document is made of what a server answered.
var reading = make(chan struct{}, 1)

// read calls decode while no other document is read.
func read(ctx context.Context, decode func() error) error {
	select {
	case reading <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-reading }()
	return decode()
}

var discoveryList = schema.GroupVersionKind{Group: "apidiscovery.k8s.io", Version: "v2", Kind: "APIGroupDiscoveryList"}

// discover learns the resources of the group version, and lists them.
func (b *backend) discover(ctx context.Context, s *apiregistrationv1.APIService) error {
	found, err := b.resources(ctx, s)
	if err != nil {
		b.announce(s, b.discovered, apidiscoveryv2.DiscoveryFreshnessStale)
		return err
	}
	b.discovered = found
	b.announce(s, found, apidiscoveryv2.DiscoveryFreshnessCurrent)
	return nil
}

// announce lists what is known of the group version.
func (b *backend) announce(s *apiregistrationv1.APIService, v apidiscoveryv2.APIVersionDiscovery, freshness apidiscoveryv2.DiscoveryFreshness) {
	v.Version, v.Freshness = b.version.Version, freshness
	b.groups.AddGroupVersion(b.version.Group, v)
	b.groups.SetGroupVersionPriority(metav1.GroupVersion(b.version), int(s.Spec.GroupPriorityMinimum), int(s.Spec.VersionPriority))
}

// resources asks for the resources: of all groups at once, as newer servers know it,
// or else of the group version.
func (b *backend) resources(ctx context.Context, s *apiregistrationv1.APIService) (found apidiscoveryv2.APIVersionDiscovery, err error) {
	got, err := b.ask(ctx, s, question{
		path: "/apis", accept: discovery.AcceptV2, etag: b.etag, user: asker, groups: []string{mayAll}, most: mostDiscovery,
	})
	if err != nil {
		return found, fmt.Errorf("discovery of %s: %w", b.name, err)
	}
	if got.status == http.StatusNotModified && b.etag != "" {
		return b.discovered, nil
	}
	whole, _ := discovery.ContentTypeIsGVK(got.header.Get("Content-Type"), discoveryList)
	if got.status != http.StatusOK || !whole {
		b.etag = ""
		return b.legacyResources(ctx, s)
	}
	var list apidiscoveryv2.APIGroupDiscoveryList
	if err := read(ctx, func() error { return json.Unmarshal(got.body, &list) }); err != nil {
		return found, fmt.Errorf("discovery of %s: %w", b.name, err)
	}
	b.etag = got.header.Get("Etag")
	for _, group := range list.Items {
		for _, v := range group.Versions {
			if group.Name == b.version.Group && v.Version == b.version.Version {
				return complete(v), nil
			}
		}
	}
	return found, nil
}

func (b *backend) legacyResources(ctx context.Context, s *apiregistrationv1.APIService) (found apidiscoveryv2.APIVersionDiscovery, err error) {
	got, err := b.ask(ctx, s, question{
		path: "/apis/" + b.version.String(), accept: runtime.ContentTypeJSON, user: asker, groups: []string{mayAll}, most: mostDiscovery,
	})
	if err == nil && got.status != http.StatusOK {
		err = fmt.Errorf("bad status from %s: %d", got.location, got.status)
	}
	if err != nil {
		return found, fmt.Errorf("discovery of %s: %w", b.name, err)
	}
	var list metav1.APIResourceList
	err = read(ctx, func() error {
		if err := json.Unmarshal(got.body, &list); err != nil {
			return err
		}
		found.Resources, err = endpoints.ConvertGroupVersionIntoToDiscovery(list.APIResources)
		return err
	})
	if err != nil {
		return found, fmt.Errorf("discovery of %s: %w", b.name, err)
	}
	return complete(found), nil
}

// complete says of each resource what kind it has: clients do not expect that
// nothing is said.
func complete(v apidiscoveryv2.APIVersionDiscovery) apidiscoveryv2.APIVersionDiscovery {
	for i := range v.Resources {
		r := &v.Resources[i]
		if r.ResponseKind == nil {
			r.ResponseKind = &metav1.GroupVersionKind{}
		}
		for j := range r.Subresources {
			if r.Subresources[j].ResponseKind == nil {
				r.Subresources[j].ResponseKind = &metav1.GroupVersionKind{}
			}
		}
	}
	return v
}

// anyRemote reports whether a version of a group, or of any if it is empty, is
// handed on.
func (a *Aggregator) anyRemote(group string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, b := range a.backends {
		if group == "" || b.version.Group == group {
			return true
		}
	}
	return false
}

// serveGroups serves /apis to clients that do not ask for aggregated discovery: what
// the APIServices say.
func (a *Aggregator) serveGroups(w http.ResponseWriter, r *http.Request) {
	own := apiregistrationv1.SchemeGroupVersion
	preferred := metav1.GroupVersionForDiscovery{GroupVersion: own.String(), Version: own.Version}
	list := &metav1.APIGroupList{Groups: []metav1.APIGroup{{Name: own.Group, Versions: []metav1.GroupVersionForDiscovery{preferred}, PreferredVersion: preferred}}}
	for _, versions := range helper.SortedByGroupAndVersion(a.apiServices()) {
		if group := groupOf(versions); group.Name != "" {
			list.Groups = append(list.Groups, group)
		}
	}
	a.write(w, r, list)
}

// serveGroup serves /apis/GROUP.
func (a *Aggregator) serveGroup(name string, w http.ResponseWriter, r *http.Request) {
	for _, versions := range helper.SortedByGroupAndVersion(a.apiServices()) {
		if versions[0].Spec.Group == name {
			group := groupOf(versions)
			a.write(w, r, &group)
			return
		}
	}
	http.NotFound(w, r)
}

func (a *Aggregator) write(w http.ResponseWriter, r *http.Request, obj runtime.Object) {
	responsewriters.WriteObjectNegotiated(a.Serializer, negotiation.DefaultEndpointRestrictions, schema.GroupVersion{}, w, r, http.StatusOK, obj, false)
}

func (a *Aggregator) apiServices() []*apiregistrationv1.APIService {
	stored, _ := a.Store.List(kind, "")
	list := make([]*apiregistrationv1.APIService, 0, len(stored))
	for _, obj := range stored {
		if s, ok := obj.(*apiregistrationv1.APIService); ok {
			list = append(list, s)
		}
	}
	return list
}

// groupOf is the group of some versions, of which the first is preferred.
func groupOf(versions []*apiregistrationv1.APIService) metav1.APIGroup {
	group := metav1.APIGroup{Name: versions[0].Spec.Group}
	for _, s := range versions {
		group.Versions = append(group.Versions, metav1.GroupVersionForDiscovery{GroupVersion: versionOf(s).String(), Version: s.Spec.Version})
	}
	group.PreferredVersion = group.Versions[0]
	return group
}
