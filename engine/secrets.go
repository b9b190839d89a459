package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"time"

	"headway.dev/engine/encryption"
	"headway.dev/engine/store"
	"headway.dev/engine/store/record"
	"headway.dev/manifests/model/scheme"
)

// RotatePath is where a POST rotates the key of Secrets. Only those may whom a
// ClusterRole grants the path, as cluster-admin does.
const RotatePath = "/headway/v1/secrets/rotate"

// Rotation is how far a rotation has come. The answer of RotatePath is a line of
// it as it proceeds, and one at the end.
type Rotation struct {
	// Done and Total are records of the store.
	Done  int `json:"done"`
	Total int `json:"total"`
	// Finished reports that all is encrypted anew, and the old key is retired.
	Finished bool `json:"finished,omitempty"`
	// Key is the id of the key that encrypts Secrets now; empty if an
	// EncryptionConfiguration says how they are encrypted.
	Key string `json:"key,omitempty"`
	// Error is why it ended without being finished.
	Error string `json:"error,omitempty"`
}

// KeyFile is the path of the file, below the data dir, with the keys that Secrets
// are encrypted with.
func KeyFile(dataDir string) string { return filepath.Join(dataDir, "pki", "secrets.key") }

func encryptionConfig(dataDir, providers string, kinds *scheme.Registry) encryption.Config {
	return encryption.Config{KeyFile: KeyFile(dataDir), ProviderConfig: providers, Kinds: kinds}
}

// encryptStore writes the key of a new cluster, and encrypts what a version
// without encryption, another configuration, or a rotation that was cut off left.
func encryptStore(s *store.Store, cipher *encryption.Cipher, log *slog.Logger) error {
	if err := cipher.Save(); err != nil {
		return err
	}
	if !s.Stale() && !cipher.Unfinished() {
		return nil
	}
	if err := finish(context.Background(), s, cipher, nil); err != nil {
		// All of it can be read. A disk that is full does not keep a cluster
		// from its start.
		log.Error("not all Secrets in the store are encrypted as they should be; the next start tries again, and so does `headway secrets rotate`", "err", err)
	}
	return nil
}

// finish encrypts anew what is stale, and then retires the keys that nothing is
// encrypted with any more.
func finish(ctx context.Context, s *store.Store, cipher *encryption.Cipher, progress func(done, total int)) error {
	if err := s.Reencrypt(ctx, progress); err != nil {
		return err
	}
	return cipher.Retire()
}

// rotate changes the key, and tells of its progress and its end.
func rotate(ctx context.Context, s *store.Store, cipher *encryption.Cipher, tell func(Rotation)) {
	var last Rotation
	err := cipher.Rotate()
	if err == nil {
		err = finish(ctx, s, cipher, func(done, total int) {
			last = Rotation{Done: done, Total: total}
			tell(last)
		})
	}
	if err != nil {
		last.Error = err.Error()
	} else {
		last.Finished, last.Key = true, cipher.Key()
	}
	tell(last)
}

// serveRotation answers RotatePath. A rotation that has begun goes on if who
// asked for it goes away.
func (e *Engine) serveRotation(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "use POST", http.StatusMethodNotAllowed)
		return
	}
	if !e.rotating.TryLock() {
		http.Error(w, "the key of Secrets is being rotated already: wait until that has ended", http.StatusConflict)
		return
	}
	defer e.rotating.Unlock()
	w.Header().Set("Content-Type", "application/x-ndjson")
	out := json.NewEncoder(w)
	var told time.Time
	rotate(context.WithoutCancel(r.Context()), e.store, e.cipher, func(p Rotation) {
		if !p.Finished && p.Error == "" && time.Since(told) < tellEvery {
			return
		}
		told = time.Now()
		// An error means that the client is gone, which does not matter.
		_ = out.Encode(p)
		_ = http.NewResponseController(w).Flush()
	})
}

// tellEvery is the time between two lines about a rotation.
const tellEvery = 100 * time.Millisecond

// RotateOffline rotates the key of Secrets in a data dir that no server uses,
// which the caller has locked.
func RotateOffline(ctx context.Context, dataDir, providers string, log *slog.Logger, tell func(Rotation)) (err error) {
	var kinds scheme.Registry
	cipher, err := encryption.Open(encryptionConfig(dataDir, providers, &kinds))
	if err != nil {
		return err
	}
	defer cipher.Close()
	s, err := store.Open(store.Options{Path: filepath.Join(dataDir, StoreFile), Codec: record.Any, Define: kinds.Observe, Cipher: cipher, Log: log})
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := s.Close(); err == nil && closeErr != nil {
			err = fmt.Errorf("close the store: %w", closeErr)
		}
	}()
	if err := cipher.Save(); err != nil {
		return err
	}
	rotate(ctx, s, cipher, tell)
	return nil
}
