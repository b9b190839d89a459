package containerd

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"headway.dev/nodes/runtime/fsutil"
)

// exitRecord is what must be remembered of a container beyond its task.
type exitRecord struct {
	StartedAt  time.Time
	FinishedAt time.Time `json:",omitzero"`
	ExitCode   int32     `json:",omitempty"`
	OOMKilled  bool      `json:",omitempty"`
	Reason     string    `json:",omitempty"`
	Message    string    `json:",omitempty"`
}

func (r *Runtime) recordFile(c *container) string {
	return filepath.Join(r.stateDir(c.info.Pod.UID), "containers", c.info.ID+".json")
}

func (r *Runtime) saveRecord(c *container, rec exitRecord) error {
	data, err := json.Marshal(rec)
	if err != nil {
		return fmt.Errorf("encode container record: %w", err)
	}
	if err := fsutil.WriteFile(r.recordFile(c), data); err != nil {
		return fmt.Errorf("write container record: %w", err)
	}
	return nil
}

func (r *Runtime) loadRecord(c *container) (exitRecord, bool) {
	var rec exitRecord
	data, err := os.ReadFile(r.recordFile(c))
	if err != nil || json.Unmarshal(data, &rec) != nil {
		return exitRecord{}, false
	}
	return rec, true
}

func (r *Runtime) removeRecord(c *container) error {
	return fsutil.IgnoreNotExist(os.Remove(r.recordFile(c)))
}
