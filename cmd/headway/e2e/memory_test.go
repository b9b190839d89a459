// The race detector takes many times the memory and minutes for the lists:
// `make soak` runs this test without it.

//go:build !race

package e2e_test

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"headway.dev/cmd/headway/e2e"
)

// Objects of a megabyte each are listed by four clients at once, and deleted:
// while they are there the program takes little more memory than they do, and
// it gives the memory back when they are gone.
func TestMemoryOfLargeObjects(t *testing.T) {
	t.Parallel()
	const (
		objects = 200
		size    = 1_000_000
		all     = objects * size
	)
	c := e2e.Start(t)
	c.Deployed(c.Clone.Git("rev-parse", "HEAD"))
	before := c.Program.Memory()
	configMaps := c.Client().CoreV1().ConfigMaps("default")
	for i := range objects {
		data := strings.Repeat(fmt.Sprintf("%07d\n", i), size/8)
		cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("large-%d", i), Labels: map[string]string{"large": "true"}}, Data: map[string]string{"data": data}}
		if _, err := configMaps.Create(t.Context(), cm, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	stored := c.Program.Memory()
	c.Program.ForgetPeak()
	var clients sync.WaitGroup
	for i := range 4 {
		clients.Go(func() {
			accept := []string{"application/json", "application/vnd.kubernetes.protobuf"}[i%2]
			n, err := listed(t, c, accept)
			if err != nil {
				t.Error(err)
			}
			if n < all {
				t.Errorf("a list of %d bytes as %s, want %d and more", n, accept, all)
			}
		})
	}
	clients.Wait()
	listing := c.Program.Memory()
	t.Logf("MB: before %d, stored %d, peak of the lists %d", before.Anonymous>>20, stored.Anonymous>>20, listing.Peak>>20)
	// Once as they are stored, once more as garbage and in the page cache.
	if most := before.Anonymous + 5*all; listing.Peak > most {
		t.Errorf("four lists of %d MB took up to %d MB, want at most %d", all>>20, listing.Peak>>20, most>>20)
	}
	if err := configMaps.DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "large"}); err != nil {
		t.Fatal(err)
	}
	most := before.Anonymous + all
	c.Eventually(3*time.Minute, "the memory of deleted objects is given back", func() error {
		if now := c.Program.Memory().Anonymous; now > most {
			return fmt.Errorf("it takes %d MB, want at most %d", now>>20, most>>20)
		}
		return nil
	})
	t.Logf("MB: after %d", c.Program.Memory().Anonymous>>20)
}

// listed reads a list of all ConfigMaps to its end, and returns its length.
func listed(t *testing.T, c *e2e.Cluster, accept string) (int64, error) {
	t.Helper()
	config, err := c.Config() // a connection of its own
	if err != nil {
		return 0, err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return 0, err
	}
	body, err := client.CoreV1().RESTClient().Get().AbsPath("/api/v1/configmaps").SetHeader("Accept", accept).Stream(t.Context())
	if err != nil {
		return 0, err
	}
	defer body.Close()
	return io.Copy(io.Discard, body)
}
