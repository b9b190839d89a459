package sops

import (
	"bytes"
	"encoding/json"
	"path"
)

// Format is the format of a file.
type Format string

// The formats of SOPS. A Binary file is any file in an envelope of JSON.
const (
	YAML   Format = "yaml"
	JSON   Format = "json"
	Binary Format = "binary"
	Dotenv Format = "dotenv"
	INI    Format = "ini"
)

// Detect reports whether a file contains something that SOPS encrypted, judging
// by its content, and in which format it is.
func Detect(name string, data []byte) (Format, bool) {
	if !bytes.Contains(data, []byte("ENC[AES256_GCM,")) {
		return "", false
	}
	if trimmed := bytes.TrimSpace(data); len(trimmed) > 0 && trimmed[0] == '{' {
		var top struct {
			SOPS struct{ MAC string }
		}
		var fields map[string]json.RawMessage
		if json.Unmarshal(trimmed, &top) == nil && json.Unmarshal(trimmed, &fields) == nil {
			if top.SOPS.MAC == "" {
				return "", false
			}
			if _, ok := fields["data"]; ok && len(fields) == 2 && path.Ext(name) != ".json" {
				return Binary, true
			}
			return JSON, true
		}
	}
	for line := range bytes.Lines(data) {
		line = bytes.TrimRight(line, " \t\r\n")
		switch {
		case bytes.HasPrefix(line, []byte("sops_mac=ENC[")):
			return Dotenv, true
		case bytes.Equal(line, []byte("[sops]")):
			return INI, true
		case bytes.Equal(line, []byte("sops:")):
			return YAML, true
		}
	}
	return "", false
}
