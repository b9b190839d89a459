package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"headway.dev/cmd/headway/cli"
	"headway.dev/cmd/headway/headwaytest"
	"headway.dev/cmd/headway/up"
	"headway.dev/cmd/headway/up/uptest"
	"headway.dev/engine"
)

// The key of Secrets is rotated by a running server, only for who has all rights,
// and without one in the data directory; in between the Secret is served as it
// was, and is nowhere below the data directory in clear.
func TestSecretsRotate(t *testing.T) {
	const text = "correct-horse-battery"
	dir := filepath.Join(t.TempDir(), "data")
	repo := headwaytest.NewRepository(t, map[string]string{"README": "nothing to apply"})
	rotate := func(code int, args ...string) (out, errOut string) {
		t.Helper()
		var o, e bytes.Buffer
		got := run(context.Background(), append([]string{"headway", "secrets", "rotate", "-o", "json", "--data-dir", dir}, args...), strings.NewReader(""), &o, &e)
		if got != code {
			t.Fatalf("secrets rotate %v: exit code %d, want %d\n%s%s", args, got, code, &o, &e)
		}
		return o.String(), e.String()
	}
	keys := map[string]bool{}
	rotated := func(offline bool, args ...string) {
		t.Helper()
		out, _ := rotate(cli.ExitOK, args...)
		var r struct {
			Key     string
			Records int
			Offline bool
		}
		if err := json.Unmarshal([]byte(out), &r); err != nil || r.Key == "" || keys[r.Key] || r.Records == 0 || r.Offline != offline {
			t.Errorf("rotate printed %s (%v), want a new key, offline %v", out, err, offline)
		}
		keys[r.Key] = true
		headwaytest.Shows(t, "the directory", strings.Join(filesWith(t, dir, "k8s:enc:headway:v1:"+r.Key), " "), engine.StoreFile)
		if found := filesWith(t, dir, text); len(found) > 0 {
			t.Errorf("in clear in %v", found)
		}
		for old := range keys {
			if old != r.Key && len(filesWith(t, dir, old)) > 0 {
				t.Errorf("the store still has something of the old key %s", old)
			}
		}
	}
	serve := func(t *testing.T, during func(kubernetes.Interface)) {
		t.Helper()
		s := uptest.Start(t, repo.Bare, uptest.Options{Flags: func(o *up.Options) { o.DataDir = dir }})
		if err := s.Engine.WriteKubeconfig(s.Cfg.KubeconfigPath()); err != nil {
			t.Fatal(err)
		}
		config, err := clientcmd.BuildConfigFromFlags("", s.Cfg.KubeconfigPath())
		if err != nil {
			t.Fatal(err)
		}
		during(kubernetes.NewForConfigOrDie(config))
	}
	wanted := func(client kubernetes.Interface) {
		got, err := client.CoreV1().Secrets("default").Get(t.Context(), "s", metav1.GetOptions{})
		if err != nil || string(got.Data["password"]) != text {
			t.Errorf("the Secret is %v, %v", got, err)
		}
	}
	t.Run("with a server", func(t *testing.T) {
		serve(t, func(client kubernetes.Interface) {
			secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s"}, Data: map[string][]byte{"password": []byte(text)}}
			if _, err := client.CoreV1().Secrets("default").Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			rotated(false)
			wanted(client)
			_, said := rotate(cli.ExitFailed, "--encryption-provider-config", "x.yaml")
			headwaytest.Shows(t, "the refusal", said, "a running one reads the file that it was started with")
			mine := filepath.Join(t.TempDir(), "kubeconfig")
			if code := run(t.Context(), []string{"headway", "kubeconfig", "--data-dir", dir, "--user", "ada", "-f", mine}, strings.NewReader(""), &bytes.Buffer{}, &bytes.Buffer{}); code != cli.ExitOK {
				t.Fatalf("kubeconfig: exit code %d", code)
			}
			_, said = rotate(cli.ExitFailed, "--kubeconfig", mine)
			headwaytest.Shows(t, "who may not", said, "forbidden")
		})
	})
	rotated(true)
	if info, err := os.Stat(engine.KeyFile(dir)); err != nil || info.Mode() != 0o600 {
		t.Errorf("the key file is %v, %v", info, err)
	}
	t.Run("the next start", func(t *testing.T) { serve(t, wanted) })
}

// filesWith are the files below dir that have a text in them.
func filesWith(t *testing.T, dir, text string) (found []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if bytes.Contains(data, []byte(text)) {
			found = append(found, filepath.Base(path))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
