package signature

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/go-git/go-git/v5/plumbing"

	"headway.dev/syncer/git"
)

// maxSigned bounds a commit or tag object whose signature is checked, in bytes.
const maxSigned = 1 << 20

// signed is a commit or a tag: what was signed, byte for byte, and the
// armoured signature (empty if there is none).
type signed struct {
	payload, signature []byte
}

var errTwoSignatures = errors.New("more than one signature header")

// splitCommit takes the signature out of a commit. It works on the bytes that
// the commit's name is the hash of: a commit that was decoded and encoded
// again may have lost headers that nobody signed.
func splitCommit(raw []byte) (signed, error) {
	headers, body, found := bytes.Cut(raw, []byte("\n\n"))
	if !found {
		headers, body = bytes.TrimSuffix(raw, []byte("\n")), nil
	}
	var out signed
	var seen, inSignature, dropping bool
	payload := bytes.NewBuffer(make([]byte, 0, len(raw)))
	var signature bytes.Buffer
	for line := range bytes.SplitSeq(headers, []byte("\n")) {
		if len(line) > 0 && line[0] == ' ' { // continues the header before
			switch {
			case inSignature:
				signature.Write(line[1:])
				signature.WriteByte('\n')
			case !dropping:
				payload.Write(line)
				payload.WriteByte('\n')
			}
			continue
		}
		name, value, _ := bytes.Cut(line, []byte(" "))
		inSignature = string(name) == "gpgsig"
		dropping = inSignature || string(name) == "gpgsig-sha256"
		switch {
		case inSignature && seen:
			return signed{}, errTwoSignatures
		case inSignature:
			seen = true
			signature.Write(value)
			signature.WriteByte('\n')
		case !dropping:
			payload.Write(line)
			payload.WriteByte('\n')
		}
	}
	if found {
		payload.WriteByte('\n')
		payload.Write(body)
	}
	out.payload = payload.Bytes()
	if seen {
		out.signature = signature.Bytes()
	}
	return out, nil
}

// beginnings are the first lines of the signatures that a tag ends in.
var beginnings = [][]byte{
	[]byte(pgpSignature), []byte("-----BEGIN PGP MESSAGE-----"), []byte(sshSignature), []byte("-----BEGIN SIGNED MESSAGE-----"),
}

const (
	pgpSignature = "-----BEGIN PGP SIGNATURE-----"
	sshSignature = "-----BEGIN SSH SIGNATURE-----"
)

// splitTag takes the signature off a tag object: all from the last line on
// that begins one.
func splitTag(raw []byte) signed {
	at, match := 0, len(raw)
	for line := range bytes.Lines(raw) {
		for _, b := range beginnings {
			if bytes.HasPrefix(line, b) {
				match = at
			}
		}
		at += len(line)
	}
	return signed{payload: raw[:match], signature: raw[match:]}
}

// tagName is the name that a tag object gives itself, which is signed with it.
func tagName(raw []byte) string {
	headers, _, _ := bytes.Cut(raw, []byte("\n\n"))
	for line := range bytes.SplitSeq(headers, []byte("\n")) {
		if name, found := bytes.CutPrefix(line, []byte("tag ")); found {
			return string(name)
		}
	}
	return ""
}

// raw reads an object's bytes.
func raw(repo *git.Repository, kind plumbing.ObjectType, sha string) ([]byte, error) {
	var data []byte
	err := repo.Read(func(s *git.Storage) error {
		obj, err := s.EncodedObject(kind, plumbing.NewHash(sha))
		if err != nil {
			return err
		}
		if obj.Size() > maxSigned {
			return fmt.Errorf("its %d bytes are more than %d", obj.Size(), maxSigned)
		}
		in, err := obj.Reader()
		if err != nil {
			return err
		}
		defer in.Close()
		data, err = io.ReadAll(io.LimitReader(in, maxSigned))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read %s %s: %w", kind, sha, err)
	}
	return data, nil
}
