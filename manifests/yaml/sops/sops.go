package sops

import (
	"errors"
	"fmt"
)

// MaxFile bounds one encrypted file, in bytes, as Flux does.
const MaxFile = 5 << 20

// File is a decrypted file.
type File struct {
	Plain []byte
	// Placeholder is Plain with something else of the same type in place of
	// each value that was encrypted.
	Placeholder []byte
}

// Decrypt decrypts a file, or a stream of YAML documents of which some are
// encrypted, and verifies its MAC. The name distinguishes JSON from binary
// files.
func (k *Keys) Decrypt(name string, data []byte) (File, error) {
	return open(name, data, func(m *metadata) ([]byte, error) { return k.dataKey(m) })
}

// Placeholder returns the file with placeholders for what is encrypted, for
// callers that have no keys.
func Placeholder(name string, data []byte) ([]byte, error) {
	f, err := open(name, data, nil)
	return f.Placeholder, err
}

// Placeholders returns the file with two different placeholders for each
// encrypted value, for callers that may not use the keys: results that differ
// between the two depend on such a value.
func Placeholders(name string, data []byte) (File, error) {
	f, err := open(name, data, nil)
	if err != nil {
		return File{}, err
	}
	other, err := open(name, data, func(*metadata) ([]byte, error) { return nil, nil })
	return File{Plain: other.Placeholder, Placeholder: f.Placeholder}, err
}

// open reads a file of any format. Without dataKey there is no Plain.
func open(name string, data []byte, dataKey func(*metadata) ([]byte, error)) (File, error) {
	if len(data) > MaxFile {
		return File{}, fmt.Errorf("an encrypted file may have %d bytes at most", MaxFile)
	}
	switch format, _ := Detect(name, data); format {
	case YAML:
		return openYAML(data, dataKey)
	case JSON, Binary:
		return openJSON(data, format == Binary, dataKey)
	case Dotenv:
		return openDotenv(data, dataKey)
	case INI:
		return openINI(data, dataKey)
	}
	return File{}, errors.New("is not encrypted with SOPS")
}

// opened decrypts or stands in for the values of one file.
type opened struct {
	meta *metadata
	key  []byte // nil: placeholders only
	// other says that they are the second ones of Placeholders.
	other bool
	seal  *seal
}

func begin(m *metadata, dataKey func(*metadata) ([]byte, error)) (*opened, error) {
	o := &opened{meta: m}
	if err := m.check(); err != nil {
		return nil, err
	}
	if dataKey == nil {
		return o, nil
	}
	key, err := dataKey(m)
	if err != nil {
		return nil, err
	}
	if key == nil {
		o.other = true
		return o, nil
	}
	o.key, o.seal = key, newSeal(m.MACOnlyEncrypted)
	return o, nil
}

// leaf opens the value at a path: what it is, and what stands for it. Values
// that are not encrypted stay what they are.
func (o *opened) leaf(path []string, v value) (plain, placeholder value, err error) {
	if v.kind == kindNull { // neither encrypted nor sealed
		return v, v, nil
	}
	encrypted := o.meta.encrypted(path, v)
	if !encrypted || v.kind == kindString && v.text == "" {
		o.seal.add(v, encrypted)
		return v, v, nil
	}
	if v.kind != kindString {
		return v, v, fmt.Errorf("%s: expected an encrypted value", where(path))
	}
	c, err := parseCipher(v.text)
	if err != nil {
		return v, v, fmt.Errorf("%s: %w", where(path), err)
	}
	switch {
	case o.key == nil && o.other:
		return v, c.otherPlaceholder(), nil
	case o.key == nil:
		return v, c.placeholder(), nil
	}
	if plain, err = c.open(o.key, aad(path)); err != nil {
		return v, v, fmt.Errorf("%s: %w", where(path), err)
	}
	if plain.kind != kindComment {
		o.seal.add(plain, true)
	}
	placeholder = c.placeholder()
	if plain == placeholder && plain.kind == kindBool {
		placeholder.text = "False"
	}
	return plain, placeholder, nil
}

// finish verifies the MAC.
func (o *opened) finish() error {
	if o.key == nil {
		return nil
	}
	c, err := parseCipher(o.meta.MAC)
	if err != nil {
		return fmt.Errorf("sops.mac: %w", err)
	}
	mac, err := c.open(o.key, o.meta.lastModified)
	if err != nil {
		return fmt.Errorf("sops.mac: %w", err)
	}
	if !o.seal.matches(mac.text) {
		return errors.New("MAC mismatch: the file was changed after it was encrypted; edit it with the sops program")
	}
	return nil
}
