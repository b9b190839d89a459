package odb_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"headway.dev/syncer/git/odb"
	"headway.dev/syncer/internal/gitserver"
)

// run runs the git program.
func run(tb testing.TB, dir, stdin string, args ...string) string {
	tb.Helper()
	cmd := exec.CommandContext(context.Background(), "git", append([]string{"-c", "user.name=Ada", "-c", "user.email=ada@example.com"}, args...)...)
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(stdin)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null")
	out, err := cmd.Output()
	if err != nil {
		tb.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

func hash(tb testing.TB, sha string) (h odb.Hash) {
	tb.Helper()
	raw, err := hex.DecodeString(sha)
	if err != nil || copy(h[:], raw) != len(h) {
		tb.Fatalf("%q is no hash: %v", sha, err)
	}
	return h
}

var generous = odb.Limits{Bytes: 1 << 28, Objects: 1 << 20}

// noise is the same random bytes each time.
func noise(seed uint64, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}).Read(b)
	return b
}

// history is a repository whose pack has deltas of both kinds, deep chains,
// and an object too large to keep in memory as a base.
func history(tb testing.TB) (bare string, objects []string) {
	tb.Helper()
	bare = filepath.Join(tb.TempDir(), "repo.git")
	run(tb, "", "", "init", "-q", "--bare", "-b", "main", bare)
	var in strings.Builder
	text := strings.Repeat("a line of the file\n", 200)
	large := noise(1, 9<<20)
	for i := range 60 {
		text += fmt.Sprintf("line %d\n", i)
		fmt.Fprintf(&in, "commit refs/heads/main\ncommitter Ada <ada@example.com> %d +0000\ndata 5\ntext\n", 1700000000+i)
		fmt.Fprintf(&in, "M 644 inline dir/%d.yaml\ndata %d\n%s\nM 644 inline same.yaml\ndata %d\n%s\n", i, len(text), text, len(text), text)
		if i%20 == 0 {
			large[i] ^= 1
			fmt.Fprintf(&in, "M 644 inline large\ndata %d\n%s\n", len(large), large)
		}
	}
	run(tb, bare, in.String(), "fast-import", "--quiet")
	run(tb, bare, "", "tag", "-a", "-m", "tag", "v1", "main")
	run(tb, bare, "", "repack", "-q", "-adf", "--depth=50", "--window=20")
	for line := range strings.Lines(run(tb, bare, "", "cat-file", "--batch-all-objects", "--batch-check=%(objectname)")) {
		objects = append(objects, strings.TrimSpace(line))
	}
	return bare, objects
}

// packOf is what a server would send: all objects in one pack.
func packOf(tb testing.TB, bare string, args ...string) []byte {
	tb.Helper()
	cmd := exec.CommandContext(context.Background(), "git", append([]string{"pack-objects", "--all", "--stdout", "-q"}, args...)...)
	cmd.Dir = bare
	cmd.Stdin = strings.NewReader("")
	out, err := cmd.Output()
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

// What Git packed is indexed exactly as Git does, and reads the same.
func TestReceive(t *testing.T) {
	bare, objects := history(t)
	for name, args := range map[string][]string{"ofs-delta": {"--delta-base-offset"}, "ref-delta": nil} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "objects", "pack")
			if err := odb.Receive(t.Context(), dir, bytes.NewReader(packOf(t, bare, args...)), generous); err != nil {
				t.Fatal(err)
			}
			files, err := filepath.Glob(dir + "/*.idx")
			if err != nil || len(files) != 1 {
				t.Fatalf("left: %v, %v", files, err)
			}
			want := filepath.Join(t.TempDir(), "want.idx")
			run(t, bare, "", "index-pack", "-o", want, strings.TrimSuffix(files[0], ".idx")+".pack")
			got, _ := os.ReadFile(files[0])
			if wanted, _ := os.ReadFile(want); !bytes.Equal(got, wanted) {
				t.Error("the index differs from Git's")
			}
			db := odb.Open(filepath.Dir(dir))
			defer db.Close()
			for _, sha := range objects {
				kind, data, err := db.Read(hash(t, sha), 16<<20)
				if err != nil {
					t.Fatalf("%s: %v", sha, err)
				}
				if gitserver.Hash(kind.String(), data) != sha {
					t.Errorf("%s reads as another object", sha)
				}
				if k, size, err := db.Stat(hash(t, sha)); err != nil || k != kind || size != int64(len(data)) {
					t.Errorf("Stat(%s) = %s, %d, %v, want %s, %d", sha, k, size, err, kind, len(data))
				}
			}
			if _, _, err := db.Read(odb.Hash{1}, 1); !errors.Is(err, odb.ErrNotFound) {
				t.Errorf("an object that is not there: %v", err)
			}
		})
	}
}

// delta makes a delta that copies all of a base of the size, times over.
func delta(base, times int) []byte {
	d := binary.AppendUvarint(nil, uint64(base))
	d = binary.AppendUvarint(d, uint64(base*times))
	for range times {
		d = append(d, 0x80|0x10|0x20|0x40, byte(base), byte(base>>8), byte(base>>16))
	}
	return d
}

func onto(kind int, base []byte, d []byte) gitserver.Entry {
	return gitserver.Entry{Type: kind, Size: uint64(len(d)), Base: base, Packed: gitserver.Deflate(d)}
}

// Of a pack that is not as it should be nothing is taken, and nothing left.
func TestHostilePacks(t *testing.T) {
	blob := gitserver.Plain(gitserver.Blob, noise(2, 1000))
	good := gitserver.Pack(blob)
	ref := func(b byte) []byte { return bytes.Repeat([]byte{b}, 20) }
	hugeHeader := gitserver.Entry{Type: gitserver.Blob, Size: 1 << 40, Packed: gitserver.Deflate([]byte("small"))}
	bomb := gitserver.Entry{Type: gitserver.Blob, Size: 10, Packed: gitserver.Deflate(make([]byte, 10<<20))}
	short := gitserver.Entry{Type: gitserver.Blob, Size: 100, Packed: gitserver.Deflate([]byte("short"))}
	many := gitserver.Pack(blob)
	binary.BigEndian.PutUint32(many[8:], 0xffffffff)
	flipped := bytes.Clone(good)
	flipped[len(flipped)/2] ^= 4
	plain := noise(2, 1000)
	for name, c := range map[string]struct {
		pack []byte
		want string
	}{
		"nothing":                     {nil, "unexpected EOF"},
		"not a pack":                  {[]byte(strings.Repeat("hello ", 100)), "not a pack"},
		"cut short":                   {good[:len(good)-200], "check the fetched pack"},
		"cut by its checksum":         {good[:len(good)-20], "check the fetched pack"},
		"a flipped bit":               {flipped, "check the fetched pack"},
		"more after the end":          {append(bytes.Clone(good), good...), "corrupt"},
		"four billion objects":        {many, "number of objects in the pack of 4294967295 is larger"},
		"a header of a terabyte":      {gitserver.Pack(hugeHeader), "larger than the limit"},
		"a compressed bomb":           {gitserver.Pack(bomb), "longer than its header says"},
		"an object that ends early":   {gitserver.Pack(short), "ends 95 bytes early"},
		"an unknown type":             {gitserver.Pack(gitserver.Entry{Type: 5, Packed: gitserver.Deflate(nil)}), "unknown object type"},
		"not compressed":              {gitserver.Pack(gitserver.Entry{Type: 3, Size: 5, Packed: []byte("hello, this is not zlib")}), "corrupt"},
		"a delta on itself":           {gitserver.Pack(blob, onto(gitserver.OfsDelta, []byte{0}, delta(1000, 1))), "its own base"},
		"a base before the pack":      {gitserver.Pack(blob, onto(gitserver.OfsDelta, []byte{0xff, 0xff, 0x7f}, delta(1000, 1))), "base is not in the pack"},
		"a base between objects":      {gitserver.Pack(blob, onto(gitserver.OfsDelta, []byte{3}, delta(1000, 1))), "base is not in the pack"},
		"a base nobody has":           {gitserver.Pack(blob, onto(gitserver.RefDelta, ref(7), delta(1000, 1))), "1 deltas have no base"},
		"deltas on each other":        {gitserver.Pack(blob, onto(gitserver.RefDelta, ref(7), delta(1000, 1)), onto(gitserver.RefDelta, ref(8), delta(1000, 1))), "2 deltas have no base"},
		"a delta that makes its base": {gitserver.Pack(gitserver.Plain(3, plain), onto(gitserver.RefDelta, must20(t, plain), delta(1000, 1))), "an object is in the pack twice"},
		"a delta for another base":    {gitserver.Pack(gitserver.Plain(3, plain), onto(gitserver.OfsDelta, back(gitserver.Plain(3, plain)), delta(999, 1))), "is for a base of 999 bytes"},
		"a delta that makes too much": {gitserver.Pack(gitserver.Plain(3, plain), onto(gitserver.OfsDelta, back(gitserver.Plain(3, plain)), append([]byte{0xe8, 7, 10}, delta(1000, 1)[4:]...))), "makes more than it says"},
		"a delta bomb":                {gitserver.Pack(gitserver.Plain(3, plain), onto(gitserver.OfsDelta, back(gitserver.Plain(3, plain)), delta(1000, 1<<19))), "larger than the limit"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			err := odb.Receive(t.Context(), dir, bytes.NewReader(c.pack), generous)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Receive = %v, want an error with %q", err, c.want)
			}
			if left, _ := os.ReadDir(dir); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
	if err := odb.Receive(t.Context(), t.TempDir(), bytes.NewReader(good), odb.Limits{Bytes: 500, Objects: 10}); err == nil || !strings.Contains(err.Error(), "the fetched pack is larger") {
		t.Errorf("a pack over the limit: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := odb.Receive(ctx, t.TempDir(), bytes.NewReader(good), generous); !errors.Is(err, context.Canceled) {
		t.Errorf("after its context ended: %v", err)
	}
}

// must20 is the name of a blob, as a delta has it.
func must20(tb testing.TB, blob []byte) []byte {
	tb.Helper()
	h := hash(tb, gitserver.Hash("blob", blob))
	return h[:]
}

// back is the offset of the entry before, as a pack has it.
func back(e gitserver.Entry) []byte {
	n := len(gitserver.Pack(e)) - 12 - 20
	out := []byte{byte(n & 127)}
	for n >>= 7; n > 0; n >>= 7 {
		n--
		out = append([]byte{byte(n&127) | 0x80}, out...)
	}
	return out
}

// A chain of deltas may be long, and wide at each step, without all of it
// being in memory.
func TestDeepAndWideDeltas(t *testing.T) {
	entries := []gitserver.Entry{gitserver.Plain(gitserver.Blob, noise(3, 1<<20))}
	size := 1 << 20
	base := gitserver.Hash("blob", noise(3, 1<<20))
	data := noise(3, 1<<20)
	// tail is a delta that puts other bytes at the end.
	tail := func(bytes ...byte) []byte {
		d := binary.AppendUvarint(nil, uint64(size))
		d = binary.AppendUvarint(d, uint64(size))
		return append(append(d, 0x80|0x10|0x20|0x40, 0xfc, 0xff, 0x0f, 4), bytes...)
	}
	for i := range 80 {
		raw, _ := hex.DecodeString(base)
		// Two deltas on each, so that no base can be let go early.
		entries = append(entries, onto(gitserver.RefDelta, raw, tail(byte(i), 9, 9, 9)), onto(gitserver.RefDelta, raw, tail(byte(i), 1, 2, 3)))
		data = append(bytes.Clone(data[:size-4]), byte(i), 1, 2, 3)
		base = gitserver.Hash("blob", data)
	}
	dir := t.TempDir()
	if err := odb.Receive(t.Context(), filepath.Join(dir, "pack"), bytes.NewReader(gitserver.Pack(entries...)), generous); err != nil {
		t.Fatal(err)
	}
	db := odb.Open(dir)
	defer db.Close()
	if _, got, err := db.Read(hash(t, base), 1<<21); err != nil || !bytes.Equal(got, data) {
		t.Errorf("the last object: %d bytes, %v", len(got), err)
	}
	if _, _, err := db.Read(hash(t, base), 1<<10); err == nil || !strings.Contains(err.Error(), "larger than the limit of 1024") {
		t.Errorf("over the limit of the reader: %v", err)
	}
}

// Packs pile up with fetches: some are joined, and every object stays.
func TestConsolidate(t *testing.T) {
	bare, objects := history(t)
	dir := filepath.Join(t.TempDir(), "objects")
	pack := filepath.Join(dir, "pack")
	if err := odb.Receive(t.Context(), pack, bytes.NewReader(packOf(t, bare, "--delta-base-offset")), generous); err != nil {
		t.Fatal(err)
	}
	db := odb.Open(dir)
	defer db.Close()
	most := 0
	for i := range 40 {
		blob := noise(uint64(1000+i), 300)
		objects = append(objects, gitserver.Hash("blob", blob))
		if err := odb.Receive(t.Context(), pack, bytes.NewReader(gitserver.Pack(gitserver.Plain(gitserver.Blob, blob))), generous); err != nil {
			t.Fatal(err)
		}
		if err := db.Consolidate(t.Context()); err != nil {
			t.Fatal(err)
		}
		files, _ := filepath.Glob(pack + "/*.pack")
		most = max(most, len(files))
	}
	if most > 16 {
		t.Errorf("there were %d packs at a time, want at most 16", most)
	}
	for _, sha := range objects {
		kind, data, err := db.Read(hash(t, sha), 16<<20)
		if err != nil || gitserver.Hash(kind.String(), data) != sha {
			t.Fatalf("%s: %v", sha, err)
		}
	}
	// Git finds nothing wrong with what was joined.
	repo := filepath.Dir(dir)
	run(t, "", "", "init", "-q", "--bare", repo)
	for _, file := range must(filepath.Glob(pack + "/*.idx")) {
		run(t, repo, "", "verify-pack", file)
	}
}

func must(list []string, err error) []string {
	if err != nil {
		panic(err)
	}
	return list
}

// A crash leaves temporary files, which do not stay.
func TestClean(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"tmp_headway_1", "tmp_pack_2", "pack-1.keep"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := odb.Clean(dir); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 || left[0].Name() != "pack-1.keep" {
		t.Errorf("left: %v", left)
	}
}

// Whatever a server sends, receiving ends, without a panic; and what was taken
// can be read.
func FuzzReceive(f *testing.F) {
	blob := noise(2, 100)
	f.Add(gitserver.Pack(gitserver.Plain(gitserver.Blob, blob)))
	f.Add(gitserver.Pack(gitserver.Plain(gitserver.Blob, blob), onto(gitserver.OfsDelta, back(gitserver.Plain(3, blob)), delta(100, 3))))
	f.Add(gitserver.Pack(gitserver.Entry{Type: 5}))
	f.Fuzz(func(t *testing.T, pack []byte) {
		dir := t.TempDir()
		// A right checksum, or nothing behind it is ever reached.
		if len(pack) > 32 {
			pack = gitserver.Seal(pack[:len(pack)-20])
		}
		limits := odb.Limits{Bytes: 1 << 20, Objects: 1000}
		if err := odb.Receive(t.Context(), filepath.Join(dir, "pack"), bytes.NewReader(pack), limits); err != nil {
			return
		}
		db := odb.Open(dir)
		defer db.Close()
		if _, err := db.Prefix("0000", 10); err != nil {
			t.Errorf("what was taken cannot be read: %v", err)
		}
	})
}
