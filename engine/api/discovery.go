package api

import (
	"net/http"

	"headway.dev/engine/satoken"
)

// issuerRoutes are where others learn how to check tokens of service accounts.
// ClusterRole system:service-account-issuer-discovery grants them.
func issuerRoutes(issuer *satoken.Issuer, address string) (map[string]http.Handler, error) {
	configuration, err := issuer.Configuration("https://" + address + satoken.KeysPath)
	if err != nil {
		return nil, err
	}
	keys, err := issuer.Keys()
	if err != nil {
		return nil, err
	}
	document := func(kind string, content []byte) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodGet && r.Method != http.MethodHead {
				w.Header().Set("Allow", "GET, HEAD")
				http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
				return
			}
			w.Header().Set("Content-Type", kind)
			w.Header().Set("Cache-Control", "public, max-age=3600")
			_, _ = w.Write(content) // the client is gone
		})
	}
	return map[string]http.Handler{
		satoken.ConfigurationPath: document("application/json", configuration),
		satoken.KeysPath:          document("application/jwk-set+json", keys),
	}, nil
}
