package git_test

import (
	"bufio"
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"headway.dev/syncer/git"
	"headway.dev/syncer/git/remote"
	"headway.dev/syncer/internal/gitserver"
	"headway.dev/syncer/internal/gittest"
)

const gigabyte = 1 << 30

// zeroBlobs are Git's names of blobs of zeros, by their length.
var zeroBlobs = map[int]string{gigabyte: "4fce05a4e4ed8cefef2d99f32c519b2fd7841b74", 64 << 20: "51c513d36451ab389b5b3e9bca9b478b84a2e2ce"}

// zeros are as many zeros, whole megabytes, compressed with zlib: a megabyte
// that is repeated.
func zeros(tb testing.TB, length int) []byte {
	tb.Helper()
	var buf bytes.Buffer
	w, err := flate.NewWriter(&buf, flate.BestCompression)
	if err != nil {
		tb.Fatal(err)
	}
	mega := make([]byte, 1<<20)
	chunk := func() []byte {
		buf.Reset()
		if _, err := w.Write(mega); err != nil {
			tb.Fatal(err)
		}
		if err := w.Flush(); err != nil {
			tb.Fatal(err)
		}
		return bytes.Clone(buf.Bytes())
	}
	out := append([]byte{0x78, 0x9c}, chunk()...)
	out = append(out, bytes.Repeat(chunk(), length/len(mega)-1)...)
	buf.Reset()
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	out = append(out, buf.Bytes()...)
	// Adler-32: the sum of no bytes but its start, and of that for each byte.
	return binary.BigEndian.AppendUint32(out, uint32(length)%65521<<16|1)
}

// zeroPack is a pack with a commit of a blob of zeros and a small file. claimed
// is the length that the blob's header tells.
func zeroPack(tb testing.TB, length int, claimed uint64) (pack []byte, sha string) {
	tb.Helper()
	small := []byte("small\n")
	tree := append(gitserver.TreeEntry("100644", "big.yaml", zeroBlobs[length]), gitserver.TreeEntry("100644", "small.yaml", gitserver.Hash("blob", small))...)
	commit := gitserver.CommitData(gitserver.Hash("tree", tree), "a gigabyte\n")
	return gitserver.Pack(
		gitserver.Plain(gitserver.Commit, commit), gitserver.Plain(gitserver.Tree, tree), gitserver.Plain(gitserver.Blob, small),
		gitserver.Entry{Type: gitserver.Blob, Size: claimed, Packed: zeros(tb, length)},
	), gitserver.Hash("commit", commit)
}

// diskUse is the size of all files below a directory.
func diskUse(tb testing.TB, dir string) int64 {
	tb.Helper()
	var sum int64
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && d.Type().IsRegular() {
			sum += info.Size()
		}
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	return sum
}

// A huge blob in a pack of a megabyte costs neither memory nor disk. Where it
// is within the limits it is mirrored, and only reading it fails. Another
// source is fetched while it comes.
func TestHugeBlobIsMirrored(t *testing.T) {
	pack, sha := zeroPack(t, mirroredBlob, mirroredBlob)
	answer := gitserver.PackAnswer(pack, "")
	bare, work := gittest.Repository(t)
	other := gittest.Push(t, work, "other", map[string]string{"a": "1"})
	good := gittest.Serve(t, filepath.Dir(bare), "", "")
	srv := gittest.Serve(t, t.TempDir(), "", "")
	refs := gitserver.Refs(sha, "refs/heads/main")
	srv.Fail(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if strings.HasSuffix(r.URL.Path, "/info/refs") {
			gitserver.Answer(refs)(w, r, next)
			return
		}
		w.Header().Set("Content-Type", "application/x-git-upload-pack-result")
		_, _ = w.Write(answer[:len(answer)/2])
		_ = http.NewResponseController(w).Flush()
		// In the middle of the fetch of this, that of the other is whole.
		if h := gittest.Fetch(t, gittest.Mirror(t, good.URL+"/repo.git"), git.Ref{Branch: "main"}, nil); h.Commit != other {
			t.Errorf("the other source is at %s, want %s", h.Commit, other)
		}
		_, _ = w.Write(answer[len(answer)/2:])
	})
	dir := t.TempDir()
	f := tryInChild(t, srv.URL+"/repo.git", dir)
	if want := fmt.Sprintf("blob of %d is larger than the limit of 33554432", mirroredBlob); !strings.Contains(f.Error, want) {
		t.Errorf("reading the file fails with %q, want %q", f.Error, want)
	}
	if used := diskUse(t, dir); f.PeakMB-f.BeforeMB > mostMB || used > 16<<20 || used < int64(len(pack)) {
		t.Errorf("mirroring it took %.0f MB of memory and %d bytes of disk, want some for a pack of %d bytes", f.PeakMB-f.BeforeMB, used, len(pack))
	}
	t.Logf("mirrored %d bytes with %.0f MB and %.1f CPU-seconds", mirroredBlob, f.PeakMB-f.BeforeMB, f.CPU)
}

// A blob of a gigabyte that is over the limit is refused, whoever brings it and
// whatever they say of it, and nothing of it is kept.
func TestGigabyteBlobIsRefused(t *testing.T) {
	pack, sha := zeroPack(t, gigabyte, gigabyte)
	lying, _ := zeroPack(t, gigabyte, 1000)
	srv := gittest.Serve(t, t.TempDir(), "", "")
	refs := gitserver.Refs(sha, "refs/heads/main")
	bare := filepath.Join(t.TempDir(), "big.git")
	gittest.Git(t, "", "init", "-q", "--bare", "-b", "main", bare)
	file := filepath.Join(bare, "objects", "pack", "pack-1.pack")
	if err := os.WriteFile(file, pack, 0o644); err != nil {
		t.Fatal(err)
	}
	gittest.Git(t, bare, "index-pack", file)
	gittest.Git(t, bare, "update-ref", "refs/heads/main", sha)
	const tooLarge = "an object in the pack of 1073741824 is larger than the limit of 536870912; see docs/gitops/sources.md for the limits"
	for name, c := range map[string]struct {
		fault gitserver.Fault
		url   string
		want  string
	}{
		"by Git":             {nil, gittest.Serve(t, filepath.Dir(bare), "", "").URL + "/big.git", tooLarge},
		"by hand":            {gitserver.Serve(refs, gitserver.PackAnswer(pack, "")), "", tooLarge},
		"under a false size": {gitserver.Serve(refs, gitserver.PackAnswer(lying, "")), "", "corrupt: an object is longer than its header says"},
	} {
		url := c.url
		if url == "" {
			srv.Fail(c.fault)
			url = srv.URL + "/repo.git"
		}
		kept := t.TempDir()
		r, err := git.Mirror(kept, url, git.MirrorOptions{MaxPack: gigabyte / 2})
		if err != nil {
			t.Fatal(err)
		}
		before := diskUse(t, kept)
		_, err = r.Fetch(t.Context(), git.Ref{Branch: "main"}, nil)
		if err == nil || !strings.Contains(err.Error(), c.want) || errors.Is(err, remote.ErrTooLarge) != (c.want == tooLarge) {
			t.Errorf("%s: %v, want it to say %q", name, err, c.want)
		}
		if after := diskUse(t, kept); after > before+4096 {
			t.Errorf("%s: %d bytes are kept of it", name, after-before)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}

// A pack without end is given up at the limit, and fills neither the memory
// nor the disk.
func TestEndlessPack(t *testing.T) {
	const limit = 32 << 20
	sha := strings.Repeat("1", 40)
	srv := gittest.Serve(t, t.TempDir(), "", "")
	dir := t.TempDir()
	noise := make([]byte, 60_000)
	source := rand.NewChaCha8([32]byte{1})
	most := int64(0)
	srv.Fail(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if strings.HasSuffix(r.URL.Path, "/info/refs") {
			gitserver.Answer(gitserver.Refs(sha, "refs/heads/main"))(w, r, next)
			return
		}
		w.Header().Set("Content-Type", "application/x-git-upload-pack-result")
		_, _ = fmt.Fprint(w, gitserver.PktLine("NAK\n"), gitserver.PktLine("\x01PACK\x00\x00\x00\x02\x00\x00\x00\x01"))
		for i := 0; r.Context().Err() == nil; i++ {
			_, _ = source.Read(noise)
			if _, err := fmt.Fprint(w, gitserver.PktLine("\x01"+string(noise))); err != nil {
				return
			}
			if i%50 == 0 {
				most = max(most, diskUse(t, dir))
			}
		}
	})
	r, err := git.Mirror(dir, srv.URL+"/repo.git", git.MirrorOptions{MaxPack: limit})
	if err != nil {
		t.Fatal(err)
	}
	before := diskUse(t, dir)
	_, err = r.Fetch(t.Context(), git.Ref{Branch: "main"}, nil)
	if !errors.Is(err, remote.ErrTooLarge) || !strings.Contains(err.Error(), "the fetched pack is larger than the limit of 33554432") {
		t.Errorf("Fetch = %v", err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if after := diskUse(t, dir); after > before {
		t.Errorf("%d bytes are kept", after-before)
	}
	if most > before+limit+1<<20 || most < limit/2 {
		t.Errorf("up to %d bytes were on the disk, want some and no more than the limit", most)
	}
}

// A million references are more than is read; fewer take bounded memory.
func TestMillionReferences(t *testing.T) {
	commit := gitserver.CommitData(gitserver.Hash("tree", nil), "made up\n")
	sha := gitserver.Hash("commit", commit)
	pack := gitserver.PackAnswer(gitserver.Pack(gitserver.Plain(gitserver.Commit, commit), gitserver.Plain(gitserver.Tree, nil)), "")
	srv := gittest.Serve(t, t.TempDir(), "", "")
	for _, c := range []struct {
		count int
		want  string
	}{
		{1_000_000, "the list of references is larger than 32 MiB"},
		{manyReferences, ""},
	} {
		srv.Fail(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if !strings.HasSuffix(r.URL.Path, "/info/refs") {
				gitserver.Answer(pack)(w, r, next)
				return
			}
			w.Header().Set("Content-Type", "application/x-git-upload-pack-advertisement")
			out := bufio.NewWriter(w)
			_, _ = out.WriteString(strings.TrimSuffix(string(gitserver.Refs(sha, "refs/heads/main")), "0000"))
			line := []byte(gitserver.PktLine(sha + " refs/heads/n0000000\n"))
			number := line[len(line)-8 : len(line)-1]
			for range c.count {
				_, _ = out.Write(line)
				for i := len(number) - 1; i >= 0; i-- {
					if number[i]++; number[i] <= '9' {
						break
					}
					number[i] = '0'
				}
			}
			_, _ = out.WriteString("0000")
			_ = out.Flush()
		})
		f := tryInChild(t, srv.URL+"/repo.git", t.TempDir())
		if f.Error != "" && c.want == "" || !strings.Contains(f.Error, c.want) {
			t.Errorf("%d references: %q, want %q", c.count, f.Error, c.want)
		}
		if f.PeakMB-f.BeforeMB > mostMB {
			t.Errorf("%d references took %.0f MB of memory", c.count, f.PeakMB-f.BeforeMB)
		}
		t.Logf("%d references: %.0f MB, %.1f CPU-seconds", c.count, f.PeakMB-f.BeforeMB, f.CPU)
	}
}
