package render

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"

	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
	"headway.dev/manifests/yaml/load"
)

// fingerprints are the hashes of rendered objects. The builder hands out the
// same ones for what did not change, so a commit costs those that it touched.
type fingerprints map[object.Object][sha256.Size]byte

// digest identifies a set of rendered objects, in the form of Flux's history.
// Of what holds secrets only the name counts: whoever may read the status and
// knows the rest could try out short values.
func (f *fingerprints) digest(items []load.Item) string {
	next := make(fingerprints, len(items))
	all := sha256.New()
	for _, it := range items {
		sum, known := (*f)[it.Object]
		if !known {
			sum = fingerprint(it)
		}
		next[it.Object] = sum
		all.Write(sum[:])
	}
	*f = next
	return "sha256:" + hex.EncodeToString(all.Sum(nil))
}

func fingerprint(it load.Item) [sha256.Size]byte {
	key, err := scheme.KeyOf(it.Object)
	if err == nil && (key.Kind == "Secret" || it.HasSecrets()) {
		return sha256.Sum256([]byte(key.String()))
	}
	// It cannot fail: the object was decoded from YAML or JSON.
	data, _ := json.Marshal(it.Object)
	return sha256.Sum256(data)
}
