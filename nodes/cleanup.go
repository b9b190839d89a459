package nodes

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"

	"headway.dev/nodes/volume"
)

// Cleanup removes the volumes of all pods below dataDir, as given in Config.
// The containers that use them must be gone.
func Cleanup(dataDir string) error {
	volumes := volume.New(filepath.Join(dataDir, "pods"), slog.New(slog.DiscardHandler))
	uids, err := volumes.Pods()
	if err != nil {
		return fmt.Errorf("remove volumes: %w", err)
	}
	var errs []error
	for _, uid := range uids {
		errs = append(errs, volumes.Teardown(uid))
	}
	return errors.Join(errs...)
}
