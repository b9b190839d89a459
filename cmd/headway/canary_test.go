package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	agekey "filippo.io/age"
	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"golang.org/x/crypto/ssh"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/cmd/headway/headwaytest"
	"headway.dev/cmd/headway/up"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/yaml/sops/sopstest"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/forge"
	"headway.dev/syncer/forge/forgetest"
	"headway.dev/syncer/wire"
)

// canaries are the secrets of the run, by what they are.
type canaries map[string]string

// add makes a secret word.
func (c canaries) add(name string) string {
	c[name] = "cnry" + strings.ToLower(rand.Text())
	return c[name]
}

// forms are the ways in which a secret could show.
func forms(secret string) []string {
	list := []string{secret, strings.ToUpper(secret), url.QueryEscape(secret)}
	// In base64 it looks another way behind one or two other bytes; what
	// depends on those, at both ends, is left out.
	for pad, skip := range []int{0, 2, 3} {
		text := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", pad) + secret))
		list = append(list, text[skip:len(text)-4])
	}
	return list
}

// shows is how a text tells a secret, or empty if it does not.
func (c canaries) shows(text string) (name, form string) {
	for name, secret := range c {
		for _, f := range forms(secret) {
			if strings.Contains(text, f) {
				return name, f
			}
		}
	}
	return "", ""
}

// newIdentity is an age key.
func newIdentity(t *testing.T) *agekey.X25519Identity {
	t.Helper()
	id, err := agekey.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// leaky are a cluster's secrets, and everything that is wrong around them.
type leaky struct {
	*story
	secrets canaries
	forge   *forgetest.Server
	git     string // URL of the Git server
	echo    string // URL of a server that answers with what it is given
	own     *agekey.X25519Identity
	other   *agekey.X25519Identity
}

const forgeProject = forgetest.Project + ".git"

func (l *leaky) secret(name string, data map[string]string) *corev1.Secret {
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: wire.SystemNamespace, Name: name}, Data: map[string][]byte{}}
	for k, v := range data {
		s.Data[k] = []byte(v)
	}
	return s
}

// manifests are the directories of the repository: good, which is applied, and
// those that are broken in ways that come near their secrets.
func (l *leaky) manifests(t *testing.T) map[string]string {
	t.Helper()
	c := l.secrets
	plain := func(name, value string) string {
		return "apiVersion: v1\nkind: Secret\nmetadata: {name: " + name + ", namespace: default}\nstringData: {password: " + value + "}\n"
	}
	return map[string]string{
		"good/plain.yaml":      plain("plain", c.add("plain Secret")),
		"good/sealed.yaml":     string(sopstest.Secret(t, "sealed", map[string]string{"password": c.add("encrypted Secret")}, l.own.Recipient())),
		"good/substitute.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings, namespace: default}\ndata: {dsn: 'postgres://${password}@db', colour: red}\n",

		"type/a.yaml":    "apiVersion: v1\nkind: Secret\nmetadata: {name: a, namespace: default}\nstringData: {password: [" + c.add("value of the wrong type") + "]}\n",
		"base64/a.yaml":  "apiVersion: v1\nkind: Secret\nmetadata: {name: a, namespace: default}\ndata: {password: " + c.add("data that is not base64") + "!}\n",
		"field/a.yaml":   plain("a", c.add("Secret with an unknown field")) + "colour: red\n",
		"yaml/a.yaml":    plain("a", c.add("Secret in broken YAML")) + " x: : [\n",
		"twice/a.yaml":   plain("a", c.add("Secret that is there twice")),
		"twice/b.yaml":   plain("a", c.add("Secret that is there a second time")),
		"tls/a.yaml":     "apiVersion: v1\nkind: Secret\ntype: kubernetes.io/tls\nmetadata: {name: a, namespace: default}\nstringData: {tls.key: " + c.add("incomplete TLS Secret") + "}\n",
		"foreign/a.yaml": string(sopstest.Secret(t, "a", map[string]string{"password": c.add("Secret that nobody can decrypt")}, l.other.Recipient())),
		"tampered/a.yaml": strings.Replace(string(sopstest.Secret(t, "a", map[string]string{"password": c.add("encrypted Secret that was changed")}, l.own.Recipient())),
			"name: a\n", "name: b\n", 1) + "extra: 1\n",

		"generator/kustomization.yaml": "secretGenerator:\n- name: a\n  namespace: default\n  literals: [password=" + c.add("generated literal") + ", " + c.add("literal without a name") + "]\n",
		"env/kustomization.yaml":       "secretGenerator:\n- name: a\n  namespace: default\n  envs: [a.env]\n",
		"env/a.env":                    "password=" + c.add("generated from a file") + "\nbad key!=" + c.add("value of a key with a bad name") + "\n",
		"patch/kustomization.yaml":     "resources: [a.yaml]\npatches:\n- target: {kind: Secret}\n  patch: |-\n    - {op: test, path: /stringData/password, value: " + c.add("value of a patch") + "}\n",
		"patch/a.yaml":                 plain("a", c.add("patched Secret")),
		"merge/kustomization.yaml":     "resources: [a.yaml]\npatches:\n- patch: '{kind: Secret, metadata: {name: b}, stringData: {a: " + c.add("patch without a target") + "}}'\n",
		"merge/a.yaml":                 plain("a", "x"),
		"replace/kustomization.yaml":   "resources: [a.yaml]\nreplacements:\n- source: {kind: Secret, name: a, fieldPath: stringData.password}\n  targets:\n  - select: {kind: Secret, name: a}\n    fieldPaths: [stringData.none.deep]\n",
		"replace/a.yaml":               plain("a", c.add("replaced Secret")),

		"vars/a.yaml":  "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: default}\ndata:\n  dsn: ${broken}\n",
		"vars2/a.yaml": "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a, namespace: default}\nspec:\n  replicas: ${password}\n  selector: {matchLabels: {a: b}}\n  template: {metadata: {labels: {a: b}}, spec: {containers: [{name: a, image: a}]}}\n",
		"vars3/a.yaml": "apiVersion: v1\nkind: Service\nmetadata: {name: '${password}_', namespace: default}\nspec: {ports: [{port: 1}]}\n",
	}
}

// objects are what an administrator made: sources and their credentials, keys,
// and a Kustomization for each directory.
func (l *leaky) objects(t *testing.T, dirs []string) []object.Object {
	t.Helper()
	c := l.secrets
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	identity := string(pem.EncodeToMemory(block))
	c["SSH key"] = strings.Split(identity, "\n")[3]
	c["age key"], c["forge token"] = l.own.String(), forgetest.Token
	list := []object.Object{
		l.secret("keys", map[string]string{"own.agekey": l.own.String()}),
		l.secret("bad-keys", map[string]string{"own.agekey": "AGE-SECRET-KEY-1" + strings.ToUpper(c.add("malformed age key")), "own.asc": "-----BEGIN PGP PRIVATE KEY BLOCK-----\n\n" + c.add("malformed PGP key") + "\n-----END PGP PRIVATE KEY BLOCK-----\n"}),
		l.secret("values", map[string]string{"password": c.add("substituted value"), "broken": "a: [" + c.add("substituted value that breaks the YAML")}),
		l.secret("bad-values", map[string]string{"a-b": c.add("variable with a bad name")}),
		l.secret("hook", map[string]string{"token": c.add("webhook token")}),
		l.secret("forge", map[string]string{"token": forgetest.Token, "address": l.forge.URL + "/api/v1"}),
		l.secret("echo-forge", map[string]string{"token": c.add("token of a forge that repeats it"), "address": l.echo}),
		l.secret("wrong", map[string]string{"username": "ada", "password": c.add("wrong password")}),
		l.secret("echo-basic", map[string]string{"username": "ada", "password": c.add("password that the server repeats")}),
		l.secret("echo-bearer", map[string]string{"bearerToken": c.add("token that the server repeats")}),
		l.secret("ssh", map[string]string{"identity": identity, "known_hosts": "127.0.0.1 " + string(ssh.MarshalAuthorizedKey(mustPublic(t, private)))}),
		l.secret("bad-ssh", map[string]string{"identity": "-----BEGIN OPENSSH PRIVATE KEY-----\n" + c.add("malformed SSH key") + "\n-----END OPENSSH PRIVATE KEY-----\n", "known_hosts": "127.0.0.1 " + string(ssh.MarshalAuthorizedKey(mustPublic(t, private)))}),
		l.secret("tls", map[string]string{"tls.crt": "x", "tls.key": c.add("malformed TLS key"), "ca.crt": "x"}),
		l.secret("proxy", map[string]string{"address": "http://127.0.0.1:1", "username": "ada", "password": c.add("proxy password")}),
		l.secret("app", map[string]string{"githubAppID": "1", "githubAppInstallationID": "2", "githubAppPrivateKey": c.add("malformed key of a GitHub App")}),
	}
	source := func(name, url, secret string, edit func(*sourcev1.GitRepository)) {
		src := &sourcev1.GitRepository{ObjectMeta: metav1.ObjectMeta{Namespace: wire.SystemNamespace, Name: name}, Spec: sourcev1.GitRepositorySpec{
			URL: url, Interval: metav1.Duration{Duration: time.Hour}, Reference: &sourcev1.GitRepositoryRef{Branch: "main"},
		}}
		if secret != "" {
			src.Spec.SecretRef = &meta.LocalObjectReference{Name: secret}
		}
		if edit != nil {
			edit(src)
		}
		list = append(list, src)
	}
	source("wrong", l.git+"/"+forgeProject, "wrong", nil)
	source("in-url", strings.Replace(l.git, "://", "://ada:"+c.add("password in a URL")+"@", 1)+"/"+forgeProject, "", nil)
	source("bad-url", "https://ada:"+c.add("password in a malformed URL")+"@example.com:port/x", "", nil)
	source("echo-basic", l.echo+"/x.git", "echo-basic", nil)
	source("echo-bearer", l.echo+"/x.git", "echo-bearer", nil)
	source("ssh", "ssh://git@127.0.0.1:1/x.git", "ssh", nil)
	source("bad-ssh", "ssh://git@127.0.0.1:1/x.git", "bad-ssh", nil)
	source("tls", "https://127.0.0.1:1/x.git", "tls", nil)
	source("proxy", "http://127.0.0.1:2/x.git", "", func(s *sourcev1.GitRepository) { s.Spec.ProxySecretRef = &meta.LocalObjectReference{Name: "proxy"} })
	source("app", "https://127.0.0.1:1/x.git", "app", func(s *sourcev1.GitRepository) { s.Spec.Provider = sourcev1.GitProviderGitHub })
	source("bad-verify", l.git+"/"+forgeProject, "", func(s *sourcev1.GitRepository) {
		s.Spec.Verification = &sourcev1.GitRepositoryVerification{Mode: sourcev1.ModeGitHEAD, SecretRef: meta.LocalObjectReference{Name: "bad-keys"}}
	})
	// The forge of this one repeats the token that it does not take.
	source("told", l.git+"/"+forgeProject, "source", func(s *sourcev1.GitRepository) {
		s.Annotations = map[string]string{flux.CommitStatus: "gitea", flux.ForgeSecret: "echo-forge"}
	})
	for _, dir := range append(dirs, "told") {
		ks := &kustomizev1.Kustomization{ObjectMeta: metav1.ObjectMeta{Namespace: wire.SystemNamespace, Name: dir}, Spec: kustomizev1.KustomizationSpec{
			Interval: metav1.Duration{Duration: time.Hour}, Path: "./" + dir, Prune: true,
			SourceRef:  kustomizev1.CrossNamespaceSourceReference{Kind: sourcev1.GitRepositoryKind, Name: wire.RootName},
			Decryption: &kustomizev1.Decryption{Provider: "sops", SecretRef: &meta.LocalObjectReference{Name: "keys"}},
			PostBuild:  &kustomizev1.PostBuild{SubstituteFrom: []kustomizev1.SubstituteReference{{Kind: "Secret", Name: "values"}}},
		}}
		switch dir {
		case "no-keys":
			ks.Spec.Path, ks.Spec.Decryption.SecretRef.Name = "./good", "bad-keys"
		case "told":
			ks.Spec.Path, ks.Spec.SourceRef.Name = "./type", "told"
		case "no-values":
			ks.Spec.Path, ks.Spec.PostBuild.SubstituteFrom[0].Name = "./good", "bad-values"
		}
		list = append(list, ks)
	}
	// The viewer may see everything but Secrets, as the role view has it.
	for role, user := range map[string]string{"view": "viewer", "headway:plan": "viewer"} {
		list = append(list, &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: "viewer-" + strings.ReplaceAll(role, ":", "-")}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
			Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user}},
		})
	}
	return list
}

func mustPublic(t *testing.T, key ed25519.PrivateKey) ssh.PublicKey {
	t.Helper()
	public, err := ssh.NewPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return public
}

// newLeaky runs it.
func newLeaky(t *testing.T) *leaky {
	t.Helper()
	l := &leaky{secrets: canaries{}, own: newIdentity(t), other: newIdentity(t), forge: forgetest.New(t, forge.Gitea)}
	password := l.secrets.add("password of the source")
	// A proxy or a debugging server shows what it was sent.
	echo := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusBadGateway)
		_ = r.Header.Write(w)
		if _, pass, ok := r.BasicAuth(); ok {
			_, _ = w.Write([]byte("password " + pass + "\n"))
		}
	}))
	t.Cleanup(echo.Close)
	l.echo = echo.URL
	files := l.manifests(t)
	dirs := []string{"no-keys", "no-values"}
	for name := range files {
		if dir, _, _ := strings.Cut(name, "/"); dir != "good" && !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	l.story = newStory(t, files, func(s *story, up *up.Options) {
		root := t.TempDir()
		s.repo.Git("", "clone", "-q", "--mirror", s.repo.Bare, root+"/"+forgeProject)
		s.repo.Bare = root + "/" + forgeProject
		s.repo.Git(s.repo.Work, "remote", "set-url", "origin", s.repo.Bare)
		l.git = headwaytest.ServeGit(t, root, func(r *http.Request) bool {
			_, pass, _ := r.BasicAuth()
			return pass == password
		})
		up.Repo, up.Path = l.git+"/"+forgeProject, "good"
	})
	l.create(l.objects(t, dirs)...)
	l.create(l.secret("source", map[string]string{"username": "ada", "password": password}))
	l.patch("GitRepository", func(o object.Object) {
		src := o.(*sourcev1.GitRepository)
		src.Spec.SecretRef = &meta.LocalObjectReference{Name: "source"}
		src.Annotations = map[string]string{flux.CommitStatus: "gitea", flux.ForgeSecret: "forge", flux.WebhookSecret: "hook"}
	})
	l.patch("Kustomization", func(o object.Object) {
		ks := o.(*kustomizev1.Kustomization)
		ks.Spec.Decryption = &kustomizev1.Decryption{Provider: "sops", SecretRef: &meta.LocalObjectReference{Name: "keys"}}
		ks.Spec.PostBuild = &kustomizev1.PostBuild{SubstituteFrom: []kustomizev1.SubstituteReference{{Kind: "Secret", Name: "values"}}}
	})
	return l
}

// rootKey is the object of the kind that the command line made.
func rootKey(kind string) object.Key {
	group := sourcev1.GroupVersion.Group
	if kind == "Kustomization" {
		group = kustomizev1.GroupVersion.Group
	}
	return object.Key{GroupKind: schema.GroupKind{Group: group, Kind: kind}, Namespace: wire.SystemNamespace, Name: wire.RootName}
}
