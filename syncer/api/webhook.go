package api

import (
	"crypto/rand"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"

	"headway.dev/manifests/model/object"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/hook"
	"headway.dev/syncer/source"
)

const (
	// maxHook bounds a webhook's body, in bytes.
	maxHook = 3 << 20
	// hookTimeout bounds how long one may take to arrive.
	hookTimeout = 10 * time.Second
)

// hooks serves webhooks. All that it does for one is to look at the source.
type hooks struct {
	stored  object.Reader
	sources *source.Set
	queue   arrivals
	decoy   []byte // a secret that nobody knows
}

func newHooks(stored object.Reader, sources *source.Set) *hooks {
	return &hooks{stored: stored, sources: sources, decoy: []byte(rand.Text())}
}

// ServeHTTP answers the same to a request for a source that does not exist or
// has no secret, and to one that is not signed with it.
func (h *hooks) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, gone, err := h.read(w, r)
	if gone || errors.Is(err, errCrowded) {
		w.Header().Set("Retry-After", "5")
		http.Error(w, "too many requests", http.StatusTooManyRequests)
		return
	}
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		http.Error(w, "the request is too large", http.StatusRequestEntityTooLarge)
		return
	}
	if err != nil {
		http.Error(w, "the request was cut off", http.StatusBadRequest)
		return
	}
	src, obj, secret := h.target(r.PathValue("namespace"), r.PathValue("name"))
	if !hook.Verify(r.Header, body, secret) || src == nil {
		http.Error(w, "unauthorized", http.StatusUnauthorized)
		return
	}
	if push := hook.Read(r.Header, body); !push.Ping && follows(obj, push.Refs) {
		src.Hook()
	}
	w.WriteHeader(http.StatusOK)
}

// read reads a webhook's body, and reports whether it had to go for others.
func (h *hooks) read(w http.ResponseWriter, r *http.Request) (body []byte, gone bool, err error) {
	// Not every connection has deadlines, and those of an in-process one need none.
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(hookTimeout))
	a := h.queue.enter(r.RemoteAddr, r.PathValue("namespace")+"/"+r.PathValue("name"), func() { _ = control.SetReadDeadline(time.Unix(1, 0)) })
	// Also if reading panics: whoever stayed would be dropped later, after its
	// request has ended, and its bytes would be missing to others for ever.
	defer func() { gone = h.queue.leave(a) }()
	body, err = io.ReadAll(&counted{Reader: http.MaxBytesReader(w, r.Body, maxHook), queue: &h.queue, of: a})
	return body, false, err
}

// target is the source and the secret of its webhooks, or the decoy, which
// takes as long to check.
func (h *hooks) target(namespace, name string) (*source.Source, *sourcev1.GitRepository, []byte) {
	key := object.Key{GroupKind: flux.GitRepository, Namespace: namespace, Name: name}
	obj, ok := h.stored.Get(key).(*sourcev1.GitRepository)
	src := h.sources.Get(key)
	if !ok || src == nil {
		return nil, nil, h.decoy
	}
	secret := flux.Of(obj).WebhookSecret.Value
	if secret == "" {
		return nil, nil, h.decoy
	}
	data, err := source.Secret(h.stored, namespace, secret)
	token := strings.TrimSpace(string(data["token"]))
	if err != nil || token == "" {
		return nil, nil, h.decoy
	}
	return src, obj, []byte(token)
}

// follows reports whether a push of the references may concern the source.
func follows(obj *sourcev1.GitRepository, refs []string) bool {
	if len(refs) == 0 {
		return true
	}
	ref := sourcev1.GitRepositoryRef{}
	if obj.Spec.Reference != nil {
		ref = *obj.Spec.Reference
	}
	branch := ref.Branch
	if branch == "" {
		branch = "master"
	}
	switch {
	case ref.Commit != "":
		return true // it may be in any of them
	case ref.Name != "":
		return slices.Contains(refs, ref.Name)
	case ref.SemVer != "":
		return slices.ContainsFunc(refs, func(r string) bool { return strings.HasPrefix(r, "refs/tags/") })
	case ref.Tag != "":
		return slices.Contains(refs, "refs/tags/"+ref.Tag)
	default:
		return slices.Contains(refs, "refs/heads/"+branch)
	}
}
