package api

import (
	"encoding/json"
	"errors"
	"net/http"

	"headway.dev/syncer/git/write"
	"headway.dev/syncer/wire"
)

// serveRollback answers what cannot be reverted as it is with a Conflict that
// names the files.
func (s *API) serveRollback(w http.ResponseWriter, r *http.Request) {
	var req wire.RollbackRequest
	if !readJSON(w, r, &req) {
		return
	}
	result, err := s.Rollback(r.Context(), req)
	if err == nil {
		writeJSON(w, result)
		return
	}
	code := statusOf(err)
	if code != http.StatusConflict {
		http.Error(w, err.Error(), code)
		return
	}
	refusal := wire.RollbackRefusal{Message: err.Error()}
	if conflict, ok := errors.AsType[*write.ConflictError](err); ok {
		refusal.Conflicts = conflict.Files
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	// Nobody is left to tell when this fails.
	_ = json.NewEncoder(w).Encode(refusal)
}
