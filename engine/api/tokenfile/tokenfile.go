// Package tokenfile knows users by the bearer tokens of a file in the format of
// Kubernetes' static token file: lines of comma-separated values,
//
//	token,user,uid,"group1,group2"
//
// of which the groups may be missing. The file is read again when it changes.
// A [File] is safe for concurrent use.
package tokenfile

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync"

	"k8s.io/apiserver/pkg/authentication/user"
)

// maxSize bounds what is read, in bytes.
const maxSize = 1 << 20

// File is a token file.
type File struct {
	path string
	log  *slog.Logger

	mu sync.Mutex
	// read is the file as it was read last, whether that succeeded or not.
	read   fs.FileInfo
	tokens []entry
}

// entry is a token, as its hash: comparing what has the same length in constant
// time tells nothing about a token, not even its length.
type entry struct {
	hash [sha256.Size]byte
	user *user.DefaultInfo
}

// Open reads the file. It fails if anyone but its owner may read or write it.
func Open(path string, log *slog.Logger) (*File, error) {
	f := &File{path: path, log: log}
	if err := f.refresh(); err != nil {
		return nil, err
	}
	return f, nil
}

// User returns the user of a token; ok is false if the file does not contain
// the token. While a changed file cannot be read, the previous tokens stay
// valid, and the log tells why.
func (f *File) User(token string) (info user.Info, ok bool) {
	f.mu.Lock()
	if err := f.refresh(); err != nil {
		f.log.Error("Token file not read, the tokens from before stay valid", "error", err)
	}
	tokens := f.tokens
	f.mu.Unlock()
	hash := sha256.Sum256([]byte(token))
	for _, e := range tokens {
		if subtle.ConstantTimeCompare(hash[:], e.hash[:]) == 1 {
			info, ok = e.user, true
		}
	}
	return info, ok
}

// refresh reads the file if it is another than was read last. It reports each
// fault of a file once. The caller holds mu.
func (f *File) refresh() error {
	now, err := os.Stat(f.path)
	if err != nil {
		if f.read == nil && f.tokens != nil {
			return nil // reported before
		}
		f.read = nil
		return fmt.Errorf("token file: %w", err)
	}
	if f.read != nil && os.SameFile(now, f.read) && now.ModTime().Equal(f.read.ModTime()) && now.Size() == f.read.Size() && now.Mode() == f.read.Mode() {
		return nil
	}
	f.read = now
	tokens, err := f.load()
	if err != nil {
		return fmt.Errorf("token file %s: %w", f.path, err)
	}
	f.tokens = tokens
	return nil
}

func (f *File) load() ([]entry, error) {
	file, err := os.Open(f.path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is no regular file")
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("its mode is %#o, so others than its owner can read or change it: chmod 600 it", mode)
	}
	content, err := io.ReadAll(io.LimitReader(file, maxSize+1))
	if err != nil {
		return nil, err
	}
	if len(content) > maxSize {
		return nil, fmt.Errorf("it is larger than %d bytes", maxSize)
	}
	return f.parse(content)
}

// parse decodes the lines. As for Kubernetes, a line without a token is left
// out, and of two lines with the same token the later one holds.
func (f *File) parse(content []byte) ([]entry, error) {
	reader := csv.NewReader(bytes.NewReader(content))
	reader.FieldsPerRecord = -1
	tokens := []entry{}
	index := map[[sha256.Size]byte]int{}
	for {
		record, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return tokens, nil
		}
		if err != nil {
			return nil, err
		}
		line, _ := reader.FieldPos(0)
		if len(record) < 3 {
			return nil, fmt.Errorf("line %d must have at least 3 columns (token, user name, user uid), found %d", line, len(record))
		}
		if record[0] == "" {
			f.log.Warn("A line of the token file has no token", "file", f.path, "line", line)
			continue
		}
		if record[1] == "" {
			return nil, fmt.Errorf("line %d has no user name", line)
		}
		e := entry{sha256.Sum256([]byte(record[0])), &user.DefaultInfo{Name: record[1], UID: record[2]}}
		if len(record) > 3 {
			e.user.Groups = groups(record[3])
		}
		if i, twice := index[e.hash]; twice {
			f.log.Warn("A token is twice in the token file, the later line holds", "file", f.path, "line", line)
			tokens[i] = e
			continue
		}
		index[e.hash] = len(tokens)
		tokens = append(tokens, e)
	}
}

func groups(list string) []string {
	var found []string
	for group := range strings.SplitSeq(list, ",") {
		if group = strings.TrimSpace(group); group != "" {
			found = append(found, group)
		}
	}
	return found
}
