package sops

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// recipient is one encryption of the data key.
type recipient struct {
	Recipient   string `json:"recipient" yaml:"recipient"` // of age
	Fingerprint string `json:"fp"        yaml:"fp"`        // of PGP
	Encrypted   string `json:"enc"       yaml:"enc"`
}

type keyGroup struct {
	Age []recipient `json:"age" yaml:"age"`
	PGP []recipient `json:"pgp" yaml:"pgp"`
}

// metadata is what stands below the key sops of a file.
type metadata struct {
	keyGroup `yaml:",inline"`

	KeyGroups    []keyGroup `json:"key_groups"        yaml:"key_groups"`
	LastModified string     `json:"lastmodified"      yaml:"lastmodified"`
	MAC          string     `json:"mac"               yaml:"mac"`

	UnencryptedSuffix       string `json:"unencrypted_suffix"        yaml:"unencrypted_suffix"`
	EncryptedSuffix         string `json:"encrypted_suffix"          yaml:"encrypted_suffix"`
	UnencryptedRegex        string `json:"unencrypted_regex"         yaml:"unencrypted_regex"`
	EncryptedRegex          string `json:"encrypted_regex"           yaml:"encrypted_regex"`
	UnencryptedCommentRegex string `json:"unencrypted_comment_regex" yaml:"unencrypted_comment_regex"`
	EncryptedCommentRegex   string `json:"encrypted_comment_regex"   yaml:"encrypted_comment_regex"`
	MACOnlyEncrypted        bool   `json:"mac_only_encrypted"        yaml:"mac_only_encrypted"`

	lastModified string // as the MAC is bound to it
	pattern      *regexp.Regexp
}

// check completes the metadata, and refuses what cannot be followed.
func (m *metadata) check() error {
	modified, err := time.Parse(time.RFC3339, m.LastModified)
	if err != nil {
		return errors.New("sops.lastmodified: is not a time")
	}
	m.lastModified = modified.Format(time.RFC3339)
	rules := 0
	for _, r := range []string{m.UnencryptedSuffix, m.EncryptedSuffix, m.UnencryptedRegex, m.EncryptedRegex, m.UnencryptedCommentRegex, m.EncryptedCommentRegex} {
		if r != "" {
			rules++
		}
	}
	switch {
	case rules > 1:
		return errors.New("sops: only one of the rules for what is encrypted may be set")
	case rules == 0:
		m.UnencryptedSuffix = "_unencrypted"
	}
	if expr := cmp.Or(m.UnencryptedRegex, m.EncryptedRegex); expr != "" {
		if m.pattern, err = regexp.Compile(expr); err != nil {
			return errors.New("sops: the pattern for what is encrypted is not valid")
		}
	}
	return nil
}

// encrypted reports whether the leaf at a path is encrypted by the file's rule.
func (m *metadata) encrypted(path []string, v value) bool {
	anyKey := func(match func(string) bool) bool { return slices.ContainsFunc(path, match) }
	switch {
	case m.UnencryptedSuffix != "":
		return !anyKey(func(k string) bool { return strings.HasSuffix(k, m.UnencryptedSuffix) })
	case m.EncryptedSuffix != "":
		return anyKey(func(k string) bool { return strings.HasSuffix(k, m.EncryptedSuffix) })
	case m.UnencryptedRegex != "":
		return !anyKey(m.pattern.MatchString)
	case m.EncryptedRegex != "":
		return anyKey(m.pattern.MatchString)
	}
	// By comments: what is encrypted shows it. The MAC tells if one was replaced.
	_, err := parseCipher(v.text)
	return err == nil
}

// groups are the key groups; a single one stands beside the other fields.
func (m *metadata) groups() []keyGroup {
	if len(m.KeyGroups) > 0 {
		return m.KeyGroups
	}
	return []keyGroup{m.keyGroup}
}

var flatRecipient = regexp.MustCompile(`^(?:key_groups__list_(\d{1,2})__map_)?(age|pgp)__list_(\d{1,3})__map_(\w+)$`)

// unflatten reads metadata of the formats that know no structure, where names
// give the place (age__list_0__map_enc).
func unflatten(flat map[string]string) (*metadata, error) {
	type place struct {
		group int
		kind  string
		at    int
	}
	fields := map[string]any{}
	recipients := map[place]map[string]string{}
	for name, text := range flat {
		text = strings.ReplaceAll(text, `\n`, "\n")
		m := flatRecipient.FindStringSubmatch(name)
		switch {
		case m != nil:
			p := place{group: -1, kind: m[2]}
			p.at, _ = strconv.Atoi(m[3])
			if m[1] != "" {
				p.group, _ = strconv.Atoi(m[1])
			}
			if recipients[p] == nil {
				recipients[p] = map[string]string{}
			}
			recipients[p][m[4]] = text
		case name == "mac_only_encrypted":
			fields[name] = text == "true"
		case !strings.Contains(name, "__"):
			fields[name] = text
		}
	}
	raw, err := json.Marshal(fields)
	meta := &metadata{}
	if err == nil {
		err = json.Unmarshal(raw, meta)
	}
	if err != nil {
		return nil, errors.New("sops: the metadata cannot be read")
	}
	for p, r := range recipients {
		g := &meta.keyGroup
		if p.group >= 0 {
			for len(meta.KeyGroups) <= p.group {
				meta.KeyGroups = append(meta.KeyGroups, keyGroup{})
			}
			g = &meta.KeyGroups[p.group]
		}
		one := recipient{Recipient: r["recipient"], Fingerprint: r["fp"], Encrypted: r["enc"]}
		if p.kind == "age" {
			g.Age = append(g.Age, one)
		} else {
			g.PGP = append(g.PGP, one)
		}
	}
	return meta, nil
}

// describe names the recipients, for errors.
func (g keyGroup) describe() string {
	var names []string
	for _, r := range g.Age {
		names = append(names, "age "+r.Recipient)
	}
	for _, r := range g.PGP {
		names = append(names, "PGP "+r.Fingerprint)
	}
	if len(names) == 0 {
		return "no age or PGP key: other key services are not supported"
	}
	return fmt.Sprintf("%.300s", strings.Join(names, ", "))
}
