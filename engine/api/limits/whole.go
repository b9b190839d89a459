package limits

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apiserver/pkg/authentication/user"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"

	"headway.dev/engine/api/storage"
)

// WholeBytes bounds the answers to lists that are built whole at the same time:
// those of all users together, and the same amount again for administrators,
// who wait for no user. It is a variable only for tests.
var WholeBytes int64 = 32 << 20

// WithWholeAnswers makes lists wait for their turn if the library does not send
// them item by item: tables, metadata, YAML and indented output. The library
// holds the whole encoding of these, several times while it grows.
func WithWholeAnswers(next http.Handler) http.Handler {
	users, administrators := storage.NewLine(WholeBytes), storage.NewLine(WholeBytes)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		info, ok := genericapirequest.RequestInfoFrom(ctx)
		if !ok || info.Verb != "list" {
			next.ServeHTTP(w, r)
			return
		}
		whole, metadata := builtWhole(r)
		if !whole {
			next.ServeHTTP(w, r)
			return
		}
		list := &storage.Whole{Line: users, MetadataOnly: metadata}
		if u, ok := genericapirequest.UserFrom(ctx); ok && slices.Contains(u.GetGroups(), user.SystemPrivilegedGroup) {
			list.Line = administrators
		}
		defer list.Done()
		next.ServeHTTP(w, r.WithContext(storage.WithWhole(ctx, list)))
	})
}

// builtWhole reports whether the answer to a list is built whole, and has
// metadata only.
func builtWhole(r *http.Request) (whole, metadata bool) {
	accept, query := strings.Join(r.Header.Values("Accept"), ","), r.URL.Query()
	converted := strings.Contains(accept, "as=Table") || strings.Contains(accept, "as=PartialObjectMetadataList")
	indented, err := strconv.ParseBool(query.Get("pretty"))
	if err != nil { // or nothing is said: the library looks who asks
		agent := r.UserAgent()
		indented = strings.HasPrefix(agent, "curl") || strings.HasPrefix(agent, "Wget") || strings.HasPrefix(agent, "Mozilla/5.0")
	}
	whole = converted || indented || strings.Contains(accept, "yaml")
	return whole, converted && query.Get("includeObject") != "Object"
}
