package sops_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"strings"
	"testing"

	"filippo.io/age"
	"filippo.io/age/agessh"
	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"go.yaml.in/yaml/v3"
	"golang.org/x/crypto/ssh"

	"headway.dev/manifests/yaml/sops"
	"headway.dev/manifests/yaml/sops/sopstest"
)

const canary = "canary-4f1c"

func ageKey(t *testing.T) *age.X25519Identity {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func pgpKey(t *testing.T, passphrase string) (*openpgp.Entity, []byte) {
	t.Helper()
	e, err := openpgp.NewEntity("test", "", "test@example.com", nil)
	if err != nil {
		t.Fatal(err)
	}
	if passphrase != "" {
		if err := e.EncryptPrivateKeys([]byte(passphrase), nil); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	w, err := armor.Encode(&out, openpgp.PrivateKeyType, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.SerializePrivateWithoutSigning(w, nil); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return e, out.Bytes()
}

func keys(t *testing.T, entries map[string][]byte) *sops.Keys {
	t.Helper()
	k, err := sops.ParseKeys(entries)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

const secret = `apiVersion: v1
kind: Secret
metadata:
    name: s
stringData:
    password: canary-4f1c
    port: 5432
    on: true
    ratio: 1.5
    list:
        - a
        - b
    empty: ""
    nothing: null
`

func inData(path []string) bool { return path[0] == "stringData" }

func TestYAML(t *testing.T) {
	id := ageKey(t)
	k := keys(t, map[string][]byte{"age.agekey": []byte("# created\n" + id.String() + "\n"), "other": []byte("x")})
	for name, want := range map[string]string{"one": secret, "two documents": secret + "---\n" + strings.Replace(secret, "name: s", "name: t", 1)} {
		data := sopstest.New(t, id.Recipient()).Set("encrypted_regex", "^(data|stringData)$").YAML(want, inData)
		if bytes.Contains(data, []byte(canary)) {
			t.Fatalf("%s: is not encrypted", name)
		}
		got, err := k.Decrypt("s.yaml", data)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if string(got.Plain) != want {
			t.Errorf("%s: got\n%s\nwant\n%s", name, got.Plain, want)
		}
		without, err := sops.Placeholder("s.yaml", data)
		if err != nil || bytes.Contains(without, []byte(canary)) || !bytes.Contains(without, []byte("password:")) || bytes.Contains(without, []byte("sops:")) {
			t.Errorf("%s: with placeholders: %v\n%s", name, err, without)
		}
	}
}

// Streams are put together of files that were encrypted one by one, and of
// some that were not.
func TestMixedStream(t *testing.T) {
	a, b := ageKey(t), ageKey(t)
	k := keys(t, map[string][]byte{"a.agekey": []byte(a.String()), "b.agekey": []byte(b.String())})
	stream := string(sopstest.Secret(t, "a", map[string]string{"x": "one"}, a.Recipient())) + "---\nkind: ConfigMap\n---\n" +
		string(sopstest.Secret(t, "b", map[string]string{"x": "two"}, b.Recipient()))
	got, err := k.Decrypt("all.yaml", []byte(stream))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"x: one", "x: two", "kind: ConfigMap"} {
		if !bytes.Contains(got.Plain, []byte(want)) {
			t.Errorf("%q is missing:\n%s", want, got.Plain)
		}
	}
}

func TestFormats(t *testing.T) {
	id := ageKey(t)
	k := keys(t, map[string][]byte{"age.agekey": []byte(id.String())})
	jsonOf := func(text string) []byte {
		// The same metadata in JSON, which is YAML to the encryptor.
		data := sopstest.New(t, id.Recipient()).YAML(text, func([]string) bool { return true })
		return yamlToJSON(t, data)
	}
	for _, c := range []struct {
		name   string
		data   []byte
		format sops.Format
		want   string
	}{
		{"a.json", jsonOf(`{"user": "canary-4f1c", "n": 3}`), sops.JSON, "{\n\t\"user\": \"canary-4f1c\",\n\t\"n\": 3\n}\n"},
		{"a.txt", jsonOf(`{"data": "canary-4f1c\nline <two>\n"}`), sops.Binary, "canary-4f1c\nline <two>\n"},
		{"a.env", sopstest.New(t, id.Recipient()).Lines("USER", "ada", "PASSWORD", "canary-4f1c=="), sops.Dotenv, "USER=ada\nPASSWORD=canary-4f1c==\n"},
		{"a.ini", sopstest.New(t, id.Recipient()).INI("db", "user", "ada", "password", "canary-4f1c"), sops.INI, "[db]\nuser     = ada\npassword = canary-4f1c\n"},
	} {
		if format, ok := sops.Detect(c.name, c.data); !ok || format != c.format {
			t.Errorf("Detect(%s) = %q, %v; want %q", c.name, format, ok, c.format)
		}
		got, err := k.Decrypt(c.name, c.data)
		if err != nil || string(got.Plain) != c.want {
			t.Errorf("%s: %v, got %q, want %q", c.name, err, got.Plain, c.want)
		}
		if bytes.Contains(got.Placeholder, []byte(canary)) || len(got.Placeholder) == 0 {
			t.Errorf("%s: placeholders: %q", c.name, got.Placeholder)
		}
	}
}

func TestKeys(t *testing.T) {
	entity, armored := pgpKey(t, "")
	_, locked := pgpKey(t, "passphrase")
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sshPub, err := ssh.NewPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	sshRecipient, err := agessh.NewEd25519Recipient(sshPub)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(priv, "")
	if err != nil {
		t.Fatal(err)
	}
	sshKey := pem.EncodeToMemory(block)
	for name, c := range map[string]struct {
		entries   map[string][]byte
		recipient any
	}{
		"PGP": {map[string][]byte{"key.asc": armored}, entity},
		"SSH": {map[string][]byte{"id.agekey": sshKey}, sshRecipient},
	} {
		k := keys(t, c.entries)
		got, err := k.Decrypt("s.yaml", sopstest.Secret(t, "s", map[string]string{"password": canary}, c.recipient))
		if err != nil || !bytes.Contains(got.Plain, []byte(canary)) {
			t.Errorf("%s: %v\n%s", name, err, got.Plain)
		}
	}
	for name, c := range map[string]struct {
		entries map[string][]byte
		want    string
	}{
		"passphrase": {map[string][]byte{"key.asc": locked}, "key.asc: the private key is locked by a passphrase: export it without one"},
		"no PGP":     {map[string][]byte{"key.asc": []byte(canary)}, "key.asc: is not an armored PGP private key"},
		"no age":     {map[string][]byte{"x.agekey": []byte(canary)}, "x.agekey: is not an age identity file"},
		"plugin":     {map[string][]byte{"x.agekey": []byte("AGE-PLUGIN-YUBIKEY-1QQ")}, "x.agekey: age plugins are not run"},
	} {
		if _, err := sops.ParseKeys(c.entries); err == nil || err.Error() != c.want {
			t.Errorf("%s: got %v, want %s", name, err, c.want)
		}
	}
}

// A file says how often its data key is to be decrypted: not without end.
func TestRecipientsAreBounded(t *testing.T) {
	id := ageKey(t)
	k := keys(t, map[string][]byte{"x.agekey": []byte(id.String())})
	for n, want := range map[int]string{100: "", 101: "sops: the data key is encrypted 101 times, more than 100"} {
		var recipients []any
		for range n - 1 {
			recipients = append(recipients, ageKey(t).Recipient())
		}
		got, err := k.Decrypt("s.yaml", sopstest.Secret(t, "s", map[string]string{"password": canary}, append(recipients, id.Recipient())...))
		if want == "" && (err != nil || !bytes.Contains(got.Plain, []byte(canary))) || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%d recipients: %v, want %q", n, err, want)
		}
	}
}

// What was changed or moved, and what the keys are not for, is not decrypted,
// and errors hold neither values nor keys.
func TestTampering(t *testing.T) {
	id, other := ageKey(t), ageKey(t)
	k := keys(t, map[string][]byte{"age.agekey": []byte(id.String())})
	encrypt := func(text string, recipient any) string {
		return string(sopstest.New(t, recipient).Set("encrypted_regex", "^(data|stringData)$").YAML(text, inData))
	}
	good := encrypt(secret, id.Recipient())
	line := func(key string) string {
		for l := range strings.Lines(good) {
			if strings.HasPrefix(strings.TrimSpace(l), key+":") {
				return l
			}
		}
		t.Fatalf("no line %s", key)
		return ""
	}
	value := func(key string) string { _, v, _ := strings.Cut(strings.TrimSpace(line(key)), ": "); return v }
	for name, c := range map[string]struct{ data, want string }{
		"unencrypted value changed": {strings.Replace(good, "name: s", "name: t", 1), "MAC mismatch"},
		"value replaced":            {strings.Replace(good, value("password"), "plain", 1), "stringData.password: expected an encrypted value"},
		"value removed":             {strings.Replace(good, line("port"), "", 1), "MAC mismatch"},
		"value moved":               {strings.Replace(good, value("password"), value("port"), 1), "stringData.password: the value cannot be decrypted"},
		"type changed":              {strings.Replace(good, "type:int", "type:str", 1), ""},
		"MAC removed":               {strings.Replace(good, value("mac"), `""`, 1), "sops.mac"},
		"time changed":              {strings.Replace(good, "2026-01-02T03:04:05Z", "2027-01-02T03:04:05Z", 1), "sops.mac"},
		"bad pattern":               {strings.Replace(good, "^(data|stringData)$", "^(((", 1), "the pattern for what is encrypted is not valid"},
		"another rule":              {strings.Replace(good, "encrypted_regex: ", "unencrypted_regex: ", 1), "expected an encrypted value"},
		"two rules":                 {good + "    encrypted_suffix: x\n", "only one of the rules"},
		"alias":                     {strings.Replace(good, "name: s", "name: &n s\n    namespace: *n", 1), "cannot have aliases"},
		"another's":                 {encrypt(secret, other.Recipient()), "cannot get sops data key: none of the decryption keys is of its recipients (age " + other.Recipient().String() + ")"},
		"broken":                    {good + "\t: x\n", "not valid YAML"},
	} {
		f, err := k.Decrypt("s.yaml", []byte(c.data))
		if c.want == "" { // the same bytes, as a string: what is sealed is the same
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %s", name, err, c.want)
		} else if strings.Contains(err.Error(), canary) || strings.Contains(err.Error(), id.String()) || f.Plain != nil {
			t.Errorf("%s: the error or result holds a secret: %v", name, err)
		}
	}
	if _, err := (*sops.Keys)(nil).Decrypt("s.yaml", []byte(good)); err == nil || !strings.Contains(err.Error(), id.Recipient().String()) {
		t.Errorf("without keys: %v", err)
	}
	kms := strings.Replace(good, "age:", "kms:", 1)
	if _, err := k.Decrypt("s.yaml", []byte(kms)); err == nil || !strings.Contains(err.Error(), "other key services are not supported") {
		t.Errorf("for a key service: %v", err)
	}
	groups := strings.Replace(good, "sops:\n", "sops:\n    key_groups: [{age: []}, {pgp: []}]\n", 1)
	if _, err := k.Decrypt("s.yaml", []byte(groups)); err == nil || !strings.Contains(err.Error(), "key groups are not supported") {
		t.Errorf("key groups: %v", err)
	}
}

func FuzzPlaceholder(f *testing.F) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		f.Fatal(err)
	}
	f.Add("s.yaml", sopstest.Secret(f, "s", map[string]string{"a": "b"}, id.Recipient()))
	f.Add("s.env", sopstest.New(f, id.Recipient()).Lines("a", "b"))
	f.Add("s.ini", sopstest.New(f, id.Recipient()).INI("s", "a", "b"))
	f.Fuzz(func(t *testing.T, name string, data []byte) {
		out, err := sops.Placeholder(name, data)
		if err != nil && out != nil {
			t.Errorf("both %q and %v", out, err)
		}
	})
}

// yamlToJSON keeps the order of the keys, which is sealed.
func yamlToJSON(t *testing.T, data []byte) []byte {
	t.Helper()
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	var write func(n *yaml.Node)
	write = func(n *yaml.Node) {
		if n.Kind == yaml.ScalarNode {
			var v any
			if err := n.Decode(&v); err != nil {
				t.Fatal(err)
			}
			raw, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			out.Write(raw)
			return
		}
		open, end := "[", "]"
		if n.Kind == yaml.MappingNode {
			open, end = "{", "}"
		}
		out.WriteString(open)
		for i, c := range n.Content {
			switch {
			case n.Kind == yaml.MappingNode && i%2 == 1:
				out.WriteString(":")
			case i > 0:
				out.WriteString(",")
			}
			write(c)
		}
		out.WriteString(end)
	}
	write(doc.Content[0])
	if !json.Valid(out.Bytes()) {
		t.Fatalf("not JSON: %s", out.Bytes())
	}
	return out.Bytes()
}
