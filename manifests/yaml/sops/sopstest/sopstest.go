// Package sopstest encrypts files for tests as the sops program does.
package sopstest

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"filippo.io/age"
	"filippo.io/age/armor"
	"github.com/ProtonMail/go-crypto/openpgp"
	pgparmor "github.com/ProtonMail/go-crypto/openpgp/armor"
	"go.yaml.in/yaml/v3"
)

const lastModified = "2026-01-02T03:04:05Z"

// File encrypts one file under a data key of its own.
type File struct {
	tb   testing.TB
	key  []byte
	sops map[string]any // metadata
}

// New returns a file for the recipients, which may be of age, of SSH keys, or
// PGP entities.
func New(tb testing.TB, recipients ...any) *File {
	tb.Helper()
	f := &File{tb: tb, key: make([]byte, 32), sops: map[string]any{"lastmodified": lastModified, "version": "3.11.0"}}
	f.must(rand.Read(f.key))
	var ages, pgps []any
	for _, r := range recipients {
		var out bytes.Buffer
		switch r := r.(type) {
		case age.Recipient:
			w := armor.NewWriter(&out)
			enc, err := age.Encrypt(w, r)
			f.must(0, err)
			f.must(enc.Write(f.key))
			f.must(0, enc.Close())
			f.must(0, w.Close())
			ages = append(ages, map[string]any{"recipient": fmt.Sprint(r), "enc": out.String()})
		case *openpgp.Entity:
			w, err := pgparmor.Encode(&out, "PGP MESSAGE", nil)
			f.must(0, err)
			enc, err := openpgp.Encrypt(w, []*openpgp.Entity{r}, nil, nil, nil)
			f.must(0, err)
			f.must(enc.Write(f.key))
			f.must(0, enc.Close())
			f.must(0, w.Close())
			pgps = append(pgps, map[string]any{"fp": fmt.Sprintf("%X", r.PrimaryKey.Fingerprint), "enc": out.String(), "created_at": lastModified})
		default:
			tb.Fatalf("no recipient: %T", r)
		}
	}
	f.sops["age"], f.sops["pgp"] = ages, pgps
	return f
}

func (f *File) must(_ int, err error) {
	f.tb.Helper()
	if err != nil {
		f.tb.Fatal(err)
	}
}

// Set sets a field of the metadata, such as encrypted_regex.
func (f *File) Set(name string, value any) *File {
	f.sops[name] = value
	return f
}

// YAML encrypts the documents of a text of YAML: the leaves for which encrypt
// is true, given the keys above them.
func (f *File) YAML(text string, encrypt func(path []string) bool) []byte {
	f.tb.Helper()
	var docs []*yaml.Node
	var sealed bytes.Buffer
	dec := yaml.NewDecoder(strings.NewReader(text))
	for {
		doc := &yaml.Node{}
		if err := dec.Decode(doc); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			f.tb.Fatal(err)
		}
		f.node(doc.Content[0], nil, encrypt, &sealed)
		docs = append(docs, doc)
	}
	f.seal(sealed.Bytes())
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	for _, doc := range docs {
		meta := &yaml.Node{}
		f.must(0, meta.Encode(f.sops))
		root := doc.Content[0]
		root.Content = append(root.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: "sops"}, meta)
		f.must(0, enc.Encode(doc))
	}
	f.must(0, enc.Close())
	return out.Bytes()
}

func (f *File) node(n *yaml.Node, path []string, encrypt func([]string) bool, sealed *bytes.Buffer) {
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i < len(n.Content); i += 2 {
			f.node(n.Content[i+1], append(slices.Clip(path), n.Content[i].Value), encrypt, sealed)
		}
	case yaml.SequenceNode:
		for _, c := range n.Content {
			f.node(c, path, encrypt, sealed)
		}
	default:
		text, typ := n.Value, map[string]string{"!!str": "str", "!!int": "int", "!!bool": "bool", "!!float": "float"}[n.ShortTag()]
		if typ == "bool" { // as Python writes it
			text = strings.ToUpper(text[:1]) + text[1:]
		}
		if typ == "" {
			return // null
		}
		sealed.WriteString(text)
		if encrypt(path) && text != "" {
			n.SetString(f.Encrypt(text, typ, strings.Join(path, ":")+":"))
			n.Style = 0
		}
	}
}

// Lines encrypts values by their keys, one a line (dotenv).
func (f *File) Lines(pairs ...string) []byte {
	f.tb.Helper()
	var out, sealed bytes.Buffer
	for i := 0; i+1 < len(pairs); i += 2 {
		sealed.WriteString(pairs[i+1])
		fmt.Fprintf(&out, "%s=%s\n", pairs[i], f.Encrypt(pairs[i+1], "str", pairs[i]+":"))
	}
	f.seal(sealed.Bytes())
	for name, v := range f.flat() {
		fmt.Fprintf(&out, "sops_%s=%s\n", name, v)
	}
	return out.Bytes()
}

// INI encrypts values by their keys in one section.
func (f *File) INI(section string, pairs ...string) []byte {
	f.tb.Helper()
	var out, sealed bytes.Buffer
	fmt.Fprintf(&out, "[%s]\n", section)
	for i := 0; i+1 < len(pairs); i += 2 {
		sealed.WriteString(pairs[i+1])
		fmt.Fprintf(&out, "%s = %s\n", pairs[i], f.Encrypt(pairs[i+1], "str", section+":"+pairs[i]+":"))
	}
	f.seal(sealed.Bytes())
	out.WriteString("\n[sops]\n")
	for name, v := range f.flat() {
		fmt.Fprintf(&out, "%s = %s\n", name, v)
	}
	return out.Bytes()
}

// flat is the metadata for formats without structure.
func (f *File) flat() map[string]string {
	out := map[string]string{}
	for name, v := range f.sops {
		list, ok := v.([]any)
		if !ok {
			out[name] = fmt.Sprint(v)
			continue
		}
		for i, r := range list {
			fields, _ := r.(map[string]any)
			for k, v := range fields {
				out[fmt.Sprintf("%s__list_%d__map_%s", name, i, k)] = strings.ReplaceAll(fmt.Sprint(v), "\n", `\n`)
			}
		}
	}
	return out
}

// Encrypt encrypts one value; aad are the keys above it, each with a colon.
func (f *File) Encrypt(text, typ, aad string) string {
	f.tb.Helper()
	block, err := aes.NewCipher(f.key)
	f.must(0, err)
	gcm, err := cipher.NewGCMWithNonceSize(block, 32)
	f.must(0, err)
	iv := make([]byte, 32)
	f.must(rand.Read(iv))
	sealed := gcm.Seal(nil, iv, []byte(text), []byte(aad))
	at := len(sealed) - gcm.Overhead()
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("ENC[AES256_GCM,data:%s,iv:%s,tag:%s,type:%s]", b64(sealed[:at]), b64(iv), b64(sealed[at:]), typ)
}

func (f *File) seal(all []byte) {
	f.sops["mac"] = f.Encrypt(fmt.Sprintf("%X", sha512.Sum512(all)), "str", lastModified)
}

// Secret is an encrypted manifest of a Secret in stringData.
func Secret(tb testing.TB, name string, values map[string]string, recipients ...any) []byte {
	tb.Helper()
	text, err := yaml.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"name": name, "namespace": "default"}, "stringData": values,
	})
	if err != nil {
		tb.Fatal(err)
	}
	return New(tb, recipients...).Set("encrypted_regex", "^(data|stringData)$").YAML(string(text), func(path []string) bool {
		return path[0] == "stringData" || path[0] == "data"
	})
}
