package store_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"headway.dev/engine/store"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

const (
	crashDirEnv = "HEADWAY_STORE_CRASH_DIR"
	crashRounds = 25
	crashPairs  = 24
)

// crashChild writes until it is killed, and prints a line for each
// acknowledged write: "w pair value revision" after a durable transaction that
// sets both keys of a pair to value, "b revision" after a Behind one.
func crashChild(dir string) {
	s, err := store.Open(store.Options{Path: filepath.Join(dir, "db"), FlushDelay: time.Millisecond})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	lines := make(chan string)
	for i := range crashPairs {
		go func() {
			left, right := fmt.Sprintf("left-%d", i), fmt.Sprintf("right-%d", i)
			for n := 0; ; n++ {
				value := fmt.Sprintf("%d.%d", s.Revision(), n)
				tx := change.Tx{Changes: []change.Change{put(left, value), put(right, value)}}
				if n%7 == 6 { // removals must be durable too
					value = "-"
					tx.Changes = []change.Change{put(left, ""), put(right, "")}
				}
				if i%4 == 3 {
					tx.Durability = change.Behind
				}
				if n%3 == 0 && i%4 != 3 {
					tx.Append = []change.Record{{Log: fmt.Sprint("log-", i), Data: []byte(value)}}
				}
				if _, err := s.Commit(context.Background(), tx); err != nil {
					fmt.Fprintln(os.Stderr, err)
					os.Exit(1)
				}
				if i%4 == 3 {
					lines <- fmt.Sprintf("b %d\n", s.Revision())
				} else {
					lines <- fmt.Sprintf("w %d %s %d\n", i, value, s.Revision())
				}
			}
		}()
	}
	fmt.Println("started", s.Revision())
	for l := range lines {
		fmt.Print(l)
	}
}

// A process that writes is killed at random moments, on one file again and
// again. Every acknowledged write is there, pairs written in one transaction
// are equal, and the revision never runs backwards.
func TestCrash(t *testing.T) {
	dir := t.TempDir()
	acknowledged := map[int]string{} // pair to value
	var revision uint64
	writes := 0
	for round := range crashRounds {
		lines := crashRound(t, dir)
		for _, l := range lines {
			f := strings.Fields(l)
			seen, err := strconv.ParseUint(f[len(f)-1], 10, 64)
			if err != nil {
				t.Fatalf("line %q: %v", l, err)
			}
			if f[0] == "started" && seen < revision {
				t.Fatalf("round %d: revision after the crash = %d, was %d", round, seen, revision)
			}
			revision = max(revision, seen)
			if f[0] == "w" {
				pair, err := strconv.Atoi(f[1])
				if err != nil {
					t.Fatalf("line %q: %v", l, err)
				}
				acknowledged[pair] = f[2]
				writes++
			}
		}
		s, err := store.Open(store.Options{Path: filepath.Join(dir, "db")})
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if got := s.Revision(); got < revision {
			t.Errorf("round %d: revision = %d, want at least %d", round, got, revision)
		}
		checkPairs(t, s, acknowledged)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if t.Failed() {
			t.Fatalf("failed in round %d", round)
		}
	}
	if writes == 0 {
		t.Fatal("no write was ever acknowledged")
	}
	t.Logf("%d acknowledged writes survived %d kills", writes, crashRounds)
}

// checkPairs compares the state with what was acknowledged. A later write that
// was not acknowledged before the kill may be there instead: its value sorts
// after, for it starts with a later revision.
func checkPairs(t *testing.T, s *store.Store, acknowledged map[int]string) {
	t.Helper()
	got := values(s)
	for i := range crashPairs {
		left, right := got[fmt.Sprintf("left-%d", i)], got[fmt.Sprintf("right-%d", i)]
		if left != right {
			t.Errorf("pair %d: %q and %q, want equal: the transaction was torn", i, left, right)
		}
		checkLog(t, s, i, left)
		want, ok := acknowledged[i]
		if !ok {
			continue
		}
		switch {
		case left == "" && want == "-" || left == want:
		case left == "": // an unacknowledged removal follows six writes
		case want == "-": // an unacknowledged write follows a removal
		case !newer(t, left, want):
			t.Errorf("pair %d: value %q, but %q was acknowledged", i, left, want)
		}
		if left != "" {
			acknowledged[i] = left
		} else {
			acknowledged[i] = "-"
		}
	}
}

// checkLog finds the record that was appended in the transaction that wrote
// value to pair.
func checkLog(t *testing.T, s *store.Store, pair int, value string) {
	t.Helper()
	_, number, _ := strings.Cut(value, ".")
	n, err := strconv.Atoi(number)
	if err != nil || n%3 != 0 || pair%4 == 3 {
		return
	}
	last, err := s.Records(fmt.Sprint("log-", pair), -1, 1)
	if err != nil {
		t.Fatal(err)
	}
	if len(last) != 1 || string(last[0]) != value {
		t.Errorf("pair %d: value %q, but the last record is %q: the transaction was torn", pair, value, last)
	}
}

func newer(t *testing.T, a, b string) bool {
	t.Helper()
	var ra, na, rb, nb uint64
	if _, err := fmt.Sscanf(a+" "+b, "%d.%d %d.%d", &ra, &na, &rb, &nb); err != nil {
		t.Fatalf("values %q, %q: %v", a, b, err)
	}
	return ra > rb || ra == rb && na > nb
}

// crashRound runs a child, kills it after a random time and returns its whole
// lines.
func crashRound(t *testing.T, dir string) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), crashDirEnv+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(out)
	first, err := r.ReadString('\n')
	if err != nil {
		t.Fatalf("child did not start: %v", err)
	}
	lines := []string{strings.TrimSpace(first)}
	kill := time.AfterFunc(time.Duration(rand.IntN(60_000))*time.Microsecond, func() { _ = cmd.Process.Kill() })
	defer kill.Stop()
	rest, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("read from the child: %v", err)
	}
	for l := range strings.Lines(string(rest)) {
		if strings.HasSuffix(l, "\n") {
			lines = append(lines, strings.TrimSpace(l))
		}
	}
	if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Fatalf("child ended with %v, want killed", err)
	}
	return lines
}

var _ object.Reader = (*store.Store)(nil)
