package machine

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// ReadSmall returns the content of a regular file, empty if it cannot be read.
// Containers may have written to it.
func ReadSmall(name string) string {
	f, err := OpenRegular(name)
	if err != nil {
		return ""
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, 1<<20))
	if err != nil {
		return ""
	}
	return string(data)
}

// OpenRegular opens a file to which containers may have access: nothing there
// may make the agent wait.
func OpenRegular(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		f.Close()
		return nil, fmt.Errorf("%s is not a regular file", name)
	}
	return f, nil
}
