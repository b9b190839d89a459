package containerd_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"headway.dev/nodes/logs"
	"headway.dev/nodes/nodetest"
	"headway.dev/nodes/runtime"
)

// readRotated is readLog of all files of a log, the oldest first.
func readRotated(t *testing.T, path string) string {
	t.Helper()
	rotated, err := filepath.Glob(path + ".*")
	if err != nil {
		t.Fatal(err)
	}
	var all bytes.Buffer
	for _, name := range append(rotated, path) {
		all.WriteString(readLog(t, name)["stdout"])
	}
	return all.String()
}

// TestRotationLosesNothing: rotated in the midst of output and of kill -9 of
// the agent, all files together hold each line once.
func TestRotationLosesNothing(t *testing.T) {
	n := nodetest.Start(t)
	n.Stop(t)
	n.Config.LogMaxSize, n.Config.LogMaxFiles = 100<<10, 1000
	pod := nodetest.Sandbox("rotated")
	const count = 30000
	c := startChild(t, n, pod, &runtime.ContainerConfig{Name: "main", Image: nodetest.ToolImage, Args: []string{"lines", strconv.Itoa(count), "5000"}})
	for i := range 4 {
		<-time.After(time.Duration(100+i*41) * time.Millisecond) // Not waited for: any moment must do.
		c.kill()
		c = startChild(t, n, pod, nil)
	}
	c.kill()
	n.Restart(t)
	p, err := n.Get(t.Context(), pod.UID)
	if err != nil || len(p.Containers) != 1 {
		t.Fatalf("pod after the kills = %+v, %v; want one container", p, err)
	}
	got := n.WaitExited(t, p.Containers[0])
	if rotated, _ := filepath.Glob(got.LogPath + ".*"); len(rotated) < 5 {
		t.Errorf("%d rotated files, want several", len(rotated))
	}
	if printed, want := readRotated(t, got.LogPath), wantLines(count); printed != want {
		t.Errorf("logs differ from what was printed: %s", firstDifference(printed, want))
	}
}

// TestRotationIsBoundedAndFollowed: no more than the allowed files are kept, a
// follower sees every line, and all files go with the container.
func TestRotationIsBoundedAndFollowed(t *testing.T) {
	n := nodetest.Start(t)
	n.Stop(t)
	n.Config.LogMaxSize, n.Config.LogMaxFiles = 100<<10, 3
	n.Restart(t)
	pod := nodetest.Sandbox("followed")
	const count = 20000
	c := n.Run(t, pod, "main", "lines", strconv.Itoa(count), "5000")
	var out bytes.Buffer
	var wg sync.WaitGroup
	wg.Go(func() {
		running := func() bool { return n.Container(t, c).State != runtime.Exited }
		if err := logs.Read(t.Context(), c.LogPath, logs.Options{TailLines: -1, Follow: true, Running: running}, &out, &out); err != nil {
			t.Error(err)
		}
	})
	got := n.WaitExited(t, c)
	wg.Wait()
	if want := wantLines(count); out.String() != want {
		t.Errorf("followed output differs from what was printed: %s", firstDifference(out.String(), want))
	}
	files, err := filepath.Glob(got.LogPath + "*")
	if err != nil || len(files) != 3 {
		t.Errorf("files of the log = %q, %v; want 3", files, err)
	}
	for _, name := range files {
		// A chunk is written whole; its stamps can make it several times longer.
		if info, err := os.Stat(name); err != nil || info.Size() > 600<<10 {
			t.Errorf("size of %s = %v, %v; want about 100 KiB", name, info.Size(), err)
		}
	}
	if err := n.RemoveContainer(t.Context(), c.ID); err != nil {
		t.Fatal(err)
	}
	if files, _ := filepath.Glob(got.LogPath + "*"); len(files) > 0 {
		t.Errorf("left after the container's removal: %q", files)
	}
}
