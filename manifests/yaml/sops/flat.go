package sops

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"gopkg.in/ini.v1"
)

// openDotenv opens lines of KEY=value, in which a line break is written \n.
func openDotenv(data []byte, dataKey func(*metadata) ([]byte, error)) (File, error) {
	type entry struct{ key, text string } // without a key a comment
	var entries []entry
	flat := map[string]string{}
	for line := range bytes.Lines(data) {
		line = bytes.TrimSuffix(line, []byte("\n"))
		key, text, found := strings.Cut(string(line), "=")
		name, ours := strings.CutPrefix(key, "sops_")
		switch {
		case len(line) == 0:
		case line[0] == '#':
			entries = append(entries, entry{text: string(line[1:])})
		case !found:
			return File{}, errors.New("the encrypted dotenv file has a line without =")
		case ours:
			flat[name] = text
		default:
			entries = append(entries, entry{key: key, text: strings.ReplaceAll(text, `\n`, "\n")})
		}
	}
	o, err := beginFlat(flat, dataKey)
	if err != nil {
		return File{}, err
	}
	var plain, placeholder bytes.Buffer
	for _, e := range entries {
		if e.key == "" {
			if c, err := parseCipher(e.text); err == nil && o.key != nil {
				if v, err := c.open(o.key, aad(nil)); err == nil {
					e.text = v.text
				}
			}
			fmt.Fprintf(&plain, "#%s\n", e.text)
			continue
		}
		x, y, err := o.leaf([]string{e.key}, value{text: e.text})
		if err != nil {
			return File{}, err
		}
		fmt.Fprintf(&plain, "%s=%s\n", e.key, strings.ReplaceAll(x.text, "\n", `\n`))
		fmt.Fprintf(&placeholder, "%s=%s\n", e.key, strings.ReplaceAll(y.text, "\n", `\n`))
	}
	return o.file(plain.Bytes(), placeholder.Bytes())
}

// openINI opens sections of keys and values.
func openINI(data []byte, dataKey func(*metadata) ([]byte, error)) (File, error) {
	load := func() (*ini.File, error) {
		return ini.LoadSources(ini.LoadOptions{AllowNonUniqueSections: true}, data)
	}
	in, err := load()
	if err != nil {
		return File{}, errors.New("the encrypted file is not valid INI")
	}
	standIn, err := load()
	if err != nil {
		return File{}, errors.New("the encrypted file is not valid INI")
	}
	o, err := beginFlat(in.Section("sops").KeysHash(), dataKey)
	if err != nil {
		return File{}, err
	}
	others := standIn.Sections()
	for i, section := range in.Sections() {
		if section.Name() == "sops" {
			continue
		}
		section.Comment, others[i].Comment = o.iniComment(section.Comment, section.Name()), ""
		keys := others[i].Keys()
		for j, key := range section.Keys() {
			x, y, err := o.leaf([]string{section.Name(), key.Name()}, value{text: key.Value()})
			if err != nil {
				return File{}, err
			}
			key.SetValue(x.text)
			keys[j].SetValue(y.text)
			key.Comment, keys[j].Comment = o.iniComment(key.Comment, section.Name()), ""
		}
	}
	var plain, placeholder bytes.Buffer
	for out, f := range map[*bytes.Buffer]*ini.File{&plain: in, &placeholder: standIn} {
		f.DeleteSection("sops")
		if _, err := f.WriteTo(out); err != nil {
			return File{}, errors.New("the decrypted file cannot be written as INI")
		}
	}
	return o.file(plain.Bytes(), placeholder.Bytes())
}

// iniComment is a comment of a section as it was before it was encrypted.
func (o *opened) iniComment(comment, section string) string {
	c, err := parseCipher(strings.TrimLeft(comment, "#; "))
	if err != nil || o.key == nil {
		return comment
	}
	v, err := c.open(o.key, aad([]string{section}))
	if err != nil {
		return ""
	}
	return v.text
}

func beginFlat(flat map[string]string, dataKey func(*metadata) ([]byte, error)) (*opened, error) {
	meta, err := unflatten(flat)
	if err != nil {
		return nil, err
	}
	return begin(meta, dataKey)
}

// file verifies what was read.
func (o *opened) file(plain, placeholder []byte) (File, error) {
	if err := o.finish(); err != nil {
		return File{}, err
	}
	if o.key == nil {
		plain = nil
	}
	return File{Plain: plain, Placeholder: placeholder}, nil
}
