package server

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Reviewer asks the API what a user may do.
type Reviewer interface {
	Create(ctx context.Context, review *authorizationv1.SubjectAccessReview, opts metav1.CreateOptions) (*authorizationv1.SubjectAccessReview, error)
}

// fineGrained are the paths for which a subresource of the node is enough, as
// for the kubelet; for all others it takes nodes/proxy.
var fineGrained = []struct {
	path        string
	subresource string
	// orProxy says that nodes/proxy will do, too.
	orProxy bool
}{
	{"/stats", "stats", false},
	{"/metrics", "metrics", false},
	{"/logs", "log", false},
	{"/checkpoint", "checkpoint", false},
	{"/pods", "pods", true},
	{"/runningpods", "pods", true},
	{"/healthz", "healthz", true},
	{"/configz", "configz", true},
}

// subresources are those of the node of which one has to be granted.
func subresources(path string) []string {
	for _, f := range fineGrained {
		if path != f.path && !strings.HasPrefix(path, f.path+"/") {
			continue
		}
		if f.orProxy {
			return []string{f.subresource, "proxy"}
		}
		return []string{f.subresource}
	}
	return []string{"proxy"}
}

var verbs = map[string]string{
	http.MethodPost: "create", http.MethodGet: "get", http.MethodHead: "get", http.MethodPut: "update", http.MethodPatch: "patch", http.MethodDelete: "delete",
}

// authorize lets a request through if the API says that the client, who is
// known by its verified certificate, may.
func (s *Server) authorize(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
			http.Error(w, "Unauthorized", http.StatusUnauthorized)
			return
		}
		subject := r.TLS.VerifiedChains[0][0].Subject
		// A list of its own: requests of one connection share the certificate.
		groups := slices.Concat(subject.Organization, []string{"system:authenticated"})
		wanted := subresources(r.URL.Path)
		for _, subresource := range wanted {
			review, err := s.reviews.Create(r.Context(), &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
				User: subject.CommonName, Groups: groups,
				ResourceAttributes: &authorizationv1.ResourceAttributes{
					Verb: verbs[r.Method], Version: "v1", Resource: "nodes", Subresource: subresource, Name: s.node,
				},
			}}, metav1.CreateOptions{})
			if err != nil {
				s.log.Warn("cannot ask whether a request is allowed", "user", subject.CommonName, "path", r.URL.Path, "err", err)
				http.Error(w, fmt.Sprintf("Authorization error (user=%s, verb=%s, resource=nodes, subresource(s)=%v)", subject.CommonName, verbs[r.Method], wanted),
					http.StatusInternalServerError)
				return
			}
			if review.Status.Allowed && !review.Status.Denied {
				next.ServeHTTP(w, r)
				return
			}
		}
		http.Error(w, fmt.Sprintf("Forbidden (user=%s, verb=%s, resource=nodes, subresource(s)=%v)", subject.CommonName, verbs[r.Method], wanted), http.StatusForbidden)
	})
}
