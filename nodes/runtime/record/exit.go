package record

import (
	"encoding/json"
	"fmt"
	"os"
	"time"

	"headway.dev/nodes/runtime/fsutil"
)

// Exit is what must be remembered of a container after its task is gone.
type Exit struct {
	StartedAt  time.Time
	FinishedAt time.Time `json:",omitzero"`
	ExitCode   int32     `json:",omitempty"`
	OOMKilled  bool      `json:",omitempty"`
	Reason     string    `json:",omitempty"`
	Message    string    `json:",omitempty"`
}

// Save writes the file of a container.
func (e Exit) Save(file string) error {
	data, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("encode container record: %w", err)
	}
	if err := fsutil.WriteFile(file, data); err != nil {
		return fmt.Errorf("write container record: %w", err)
	}
	return nil
}

// Load reads the file of a container; ok is false if no readable file exists.
func Load(file string) (e Exit, ok bool) {
	data, err := os.ReadFile(file)
	if err != nil || json.Unmarshal(data, &e) != nil {
		return Exit{}, false
	}
	return e, true
}
