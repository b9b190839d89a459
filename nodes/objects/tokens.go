package objects

import (
	"context"
	"fmt"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"headway.dev/manifests/guard"
)

// Tokens contains the service-account tokens that pods of this node have in
// projected volumes. They are only kept in memory, and requested again after
// four fifths of their lifetime, or a day, as the kubelet does.
type Tokens struct {
	client  kubernetes.Interface
	changed func(types.UID)

	mu      sync.Mutex
	entries map[types.UID]map[tokenKey]*token
}

type tokenKey struct {
	audience string
	seconds  int64
}

type token struct {
	value string
	renew time.Time
	timer *time.Timer // tells the pod's worker when it is time
}

// longestUse is how long a token is used at the most.
const longestUse = 24 * time.Hour

// NewTokens returns a cache that calls changed when a pod needs a new token.
func NewTokens(client kubernetes.Interface, changed func(types.UID)) *Tokens {
	return &Tokens{client: client, changed: changed, entries: map[types.UID]map[tokenKey]*token{}}
}

// Get returns a token of the pod's account, bound to the pod.
func (t *Tokens) Get(ctx context.Context, p *corev1.Pod, audience string, seconds int64) (string, error) {
	key := tokenKey{audience, seconds}
	t.mu.Lock()
	have := t.entries[p.UID][key]
	t.mu.Unlock()
	if have != nil && time.Now().Before(have.renew) {
		return have.value, nil
	}
	req := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		ExpirationSeconds: new(seconds),
		BoundObjectRef:    &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: p.Name, UID: p.UID},
	}}
	if audience != "" {
		req.Spec.Audiences = []string{audience}
	}
	began := time.Now()
	got, err := t.client.CoreV1().ServiceAccounts(p.Namespace).CreateToken(ctx, p.Spec.ServiceAccountName, req, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("failed to fetch token: %w", err)
	}
	life := min(got.Status.ExpirationTimestamp.Sub(began)*4/5, longestUse)
	fresh := &token{value: got.Status.Token, renew: began.Add(life)}
	uid := p.UID
	fresh.timer = time.AfterFunc(life, func() {
		guard.Do(context.WithoutCancel(ctx), "renew a token of a pod", func() { t.changed(uid) })
	})
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.entries[uid] == nil {
		t.entries[uid] = map[tokenKey]*token{}
	}
	if old := t.entries[uid][key]; old != nil {
		old.timer.Stop()
	}
	t.entries[uid][key] = fresh
	return fresh.value, nil
}

// Release forgets a pod's tokens.
func (t *Tokens) Release(uid types.UID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, have := range t.entries[uid] {
		have.timer.Stop()
	}
	delete(t.entries, uid)
}

// Stop ends all timers.
func (t *Tokens) Stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, pod := range t.entries {
		for _, have := range pod {
			have.timer.Stop()
		}
	}
}
