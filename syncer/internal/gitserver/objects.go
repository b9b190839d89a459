package gitserver

import (
	"bytes"
	"compress/zlib"
	"crypto/sha1"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Object types of Git's pack format.
const (
	Commit   = 1
	Tree     = 2
	Blob     = 3
	OfsDelta = 6
	RefDelta = 7
)

// Hash is the name of an object.
func Hash(kind string, data []byte) string {
	h := sha1.New()
	fmt.Fprintf(h, "%s %d\x00", kind, len(data))
	_, _ = h.Write(data)
	return hex.EncodeToString(h.Sum(nil))
}

// WriteObject puts an object of any content into a bare repository and
// returns its name.
func WriteObject(tb testing.TB, bare, kind string, data []byte) string {
	tb.Helper()
	sha := Hash(kind, data)
	path := filepath.Join(bare, "objects", sha[:2], sha[2:])
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		tb.Fatal(err)
	}
	header := fmt.Appendf(nil, "%s %d\x00", kind, len(data))
	if err := os.WriteFile(path, Deflate(append(header, data...)), 0o444); err != nil {
		tb.Fatal(err)
	}
	return sha
}

// TreeEntry is the content of one entry of a tree: its mode in octal, any
// name, and the hash it points at.
func TreeEntry(mode, name, sha string) []byte {
	raw, err := hex.DecodeString(sha)
	if err != nil {
		panic(err)
	}
	return append([]byte(mode+" "+name+"\x00"), raw...)
}

// CommitData is the content of a commit without parents.
func CommitData(tree, message string) []byte {
	return fmt.Appendf(nil, "tree %s\nauthor Ada <ada@example.com> 1700000000 +0000\ncommitter Ada <ada@example.com> 1700000000 +0000\n\n%s", tree, message)
}

// SetRef points a reference of a bare repository at an object.
func SetRef(tb testing.TB, bare, ref, sha string) {
	tb.Helper()
	path := filepath.Join(bare, ref)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		tb.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(sha+"\n"), 0o644); err != nil {
		tb.Fatal(err)
	}
}

// Deflate compresses with zlib.
func Deflate(data []byte) []byte {
	var buf bytes.Buffer
	w := zlib.NewWriter(&buf)
	_, _ = w.Write(data)
	_ = w.Close()
	return buf.Bytes()
}

// Entry is an object of a pack: its type, the length that its header claims,
// what the header has after that (the base of a delta), and its compressed
// data.
type Entry struct {
	Type   int
	Size   uint64
	Base   []byte
	Packed []byte
}

// Plain returns a well-formed entry of an object that is not a delta.
func Plain(kind int, data []byte) Entry {
	return Entry{Type: kind, Size: uint64(len(data)), Packed: Deflate(data)}
}

// Pack returns a pack of the entries, with a correct checksum.
func Pack(entries ...Entry) []byte {
	out := binary.BigEndian.AppendUint32([]byte("PACK\x00\x00\x00\x02"), uint32(len(entries)))
	for _, e := range entries {
		b, size := byte(e.Type)<<4|byte(e.Size&15), e.Size>>4
		for size > 0 {
			out = append(out, b|0x80)
			b, size = byte(size&127), size>>7
		}
		out = append(append(append(out, b), e.Base...), e.Packed...)
	}
	return Seal(out)
}

// Seal appends the checksum that a pack ends with.
func Seal(pack []byte) []byte {
	sum := sha1.Sum(pack)
	return append(slices.Clip(pack), sum[:]...)
}

// PktLine is a line of Git's protocol.
func PktLine(text string) string { return fmt.Sprintf("%04x%s", len(text)+4, text) }

// Refs is the answer that lists the references, in pairs of hash and name.
func Refs(pairs ...string) []byte {
	var out strings.Builder
	out.WriteString(PktLine("# service=git-upload-pack\n") + "0000")
	for i := 0; i+1 < len(pairs); i += 2 {
		line := pairs[i] + " " + pairs[i+1]
		if i == 0 {
			line += "\x00side-band-64k ofs-delta shallow no-progress agent=git/2.0"
		}
		out.WriteString(PktLine(line + "\n"))
	}
	return []byte(out.String() + "0000")
}

// PackAnswer is the answer that brings a pack; progress is what the server
// says before it.
func PackAnswer(pack []byte, progress string) []byte {
	out := []byte(PktLine("NAK\n"))
	if progress != "" {
		out = append(out, PktLine("\x02"+progress)...)
	}
	for len(pack) > 0 {
		n := min(len(pack), 65000)
		out = append(out, PktLine("\x01"+string(pack[:n]))...)
		pack = pack[n:]
	}
	return append(out, "0000"...)
}
