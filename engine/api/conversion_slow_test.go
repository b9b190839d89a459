package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
)

// lists: the webhook is asked for several objects of a list at the same time.
func (c converted) lists() {
	const several = 4
	for i := range several {
		_, err := c.create(link(fmt.Sprint("listed", i), "v1", "{hostPort: 'h:1'}"), metav1.CreateOptions{})
		c.done(err)
	}
	var asked atomic.Int64
	enough := make(chan struct{})
	c.hook.does(c.T, nil, func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) == several {
			close(enough)
		}
		select {
		case <-enough:
			c.hook.convert(w, r, nil)
		case <-r.Context().Done():
		}
	})
	list, err := c.resource("example.com/v2", "Link").List(c.Context(), metav1.ListOptions{})
	c.done(err)
	found := 0
	for _, u := range list.Items {
		if strings.HasPrefix(u.GetName(), "listed") && u.GetAPIVersion() == "example.com/v2" {
			found++
		}
	}
	if found != several {
		c.Errorf("the list has %d of %d", found, several)
	}
}

// hangs: a webhook that does not answer holds up who wants what it converts, and
// nobody else.
func (c converted) hangs() {
	_, err := c.create(link("held", "v1", "{hostPort: 'h:1'}"), metav1.CreateOptions{})
	c.done(err)
	asked, release := make(chan struct{}, 100), make(chan struct{})
	c.hook.does(c.T, nil, func(w http.ResponseWriter, _ *http.Request) {
		asked <- struct{}{}
		<-release
		http.Error(w, "never mind", http.StatusInternalServerError)
	})
	v2 := c.resource("example.com/v2", "Link")
	results := make(chan error, 2)
	go func() {
		_, err := v2.Get(c.Context(), "held", metav1.GetOptions{})
		results <- err
	}()
	go func() {
		_, err := v2.Create(c.Context(), c.decode(link("hanging", "v2", "{host: h, port: '1'}")), metav1.CreateOptions{})
		results <- err
	}()
	for range 2 {
		<-asked
	}
	// Others go on: the same resource in another version, other resources, and watches.
	seen, err := c.resource("example.com/v1", "Link").Watch(c.Context(), metav1.ListOptions{FieldSelector: "metadata.name=held"})
	c.done(err)
	defer seen.Stop()
	c.merge("Link", "held", `{"metadata":{"labels":{"a":"b"}}}`)
	for _, want := range []watch.EventType{watch.Added, watch.Modified} {
		if e := <-seen.ResultChan(); e.Type != want {
			c.Errorf("seen %v, want %v", e.Type, want)
			break
		}
	}
	_, err = c.create(widget("meanwhile", "{color: red}"), metav1.CreateOptions{})
	c.done(err)
	_, err = c.resource("example.com/v2", "Widget").List(c.Context(), metav1.ListOptions{})
	c.done(err)
	_, err = kubernetes.NewForConfigOrDie(c.Config).CoreV1().ConfigMaps("default").Create(c.Context(), configMap("meanwhile"), metav1.CreateOptions{})
	c.done(err)
	close(release)
	for range 2 {
		c.told("conversion webhook for example.com/", <-results)
	}
	if _, err := c.resource("example.com/v1", "Link").Get(c.Context(), "hanging", metav1.GetOptions{}); err == nil {
		c.Error("what could not be converted is stored")
	}
}
