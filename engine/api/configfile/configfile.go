// Package configfile reads the files of Kubernetes' configurations that flags name,
// and follows their changes.
package configfile

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"k8s.io/apiserver/pkg/util/filesystem"

	"headway.dev/manifests/guard"
)

const (
	// most bounds a file, in bytes.
	most = 1 << 20
	// poll is how often a file is looked at, besides when it changes.
	poll = time.Minute
)

// Read returns what a file contains.
func Read(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() || info.Size() > most {
		return "", fmt.Errorf("%s: it is no regular file of at most %d bytes", path, most)
	}
	data, err := os.ReadFile(path)
	return string(data), err
}

// Follow calls look when the file may have changed, until ctx ends. what names its
// configuration ("authentication configuration").
func Follow(ctx context.Context, what, path string, log *slog.Logger, look func()) {
	filesystem.WatchUntil(ctx, poll, path, func() { guard.Do(ctx, "read the "+what, look) }, func(err error) {
		log.Error("A configuration is not watched, it is looked at every minute", "what", what, "file", path, "error", err)
	})
}
