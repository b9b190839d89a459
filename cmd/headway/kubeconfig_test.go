package main

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"

	"headway.dev/cmd/headway/cli"
	"headway.dev/cmd/headway/headwaytest"
	"headway.dev/cmd/headway/up"
)

// A teammate's kubeconfig lets the real kubectl do what is bound to the user and
// the group, and nothing else, for as long as was asked.
func TestKubeconfigOfATeammate(t *testing.T) {
	s := newStory(t, map[string]string{"settings.yaml": settingsFile("zero")}, nil)
	s.deployed(s.repo.Git(s.repo.Work, "rev-parse", "HEAD"))
	file := filepath.Join(t.TempDir(), "ada.kubeconfig")
	s.must(cli.ExitOK, "kubeconfig", "--user", "ada", "--group", "web-team", "--lifetime", "48h", "-n", "default", "-f", file)
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file: %v, %v", info, err)
	}
	kubectl := func(args ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), "kubectl", append([]string{"--kubeconfig", file}, args...)...)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := kubectl("auth", "whoami", "-o", "jsonpath={.status.userInfo.username} {.status.userInfo.groups}"); err != nil || out != `ada ["web-team","system:authenticated"]` {
		t.Errorf("whoami: %q %v", out, err)
	}
	forbidden := func(args ...string) {
		t.Helper()
		if out, err := kubectl(args...); err == nil || !strings.Contains(out, `User "ada" cannot`) {
			t.Errorf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	forbidden("get", "configmap", "settings") // by itself it allows nothing
	ref := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "view"}
	s.create(&rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "team"}, RoleRef: ref,
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "Group", Name: "web-team"}},
	})
	s.eventually("the group's rights hold", func() bool {
		out, err := kubectl("get", "configmap", "settings", "-o", "name")
		return err == nil && out == "configmap/settings\n"
	})
	forbidden("delete", "configmap", "settings")
	forbidden("get", "secrets")
	forbidden("get", "configmaps", "-n", "kube-system")
	forbidden("get", "nodes")
	ref.Name = "edit"
	s.create(&rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "ada"}, RoleRef: ref,
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: "ada"}},
	})
	s.eventually("the user's rights hold", func() bool { _, err := kubectl("create", "configmap", "mine"); return err == nil })
	forbidden("create", "rolebinding", "more", "--clusterrole=cluster-admin", "--user=ada")
	forbidden("create", "namespace", "mine")

	config, err := clientcmd.LoadFromFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(config.AuthInfos["ada"].ClientCertificateData, config.AuthInfos["ada"].ClientKeyData)
	if err != nil {
		t.Fatal(err)
	}
	if left := time.Until(pair.Leaf.NotAfter); left > 48*time.Hour || left < 47*time.Hour || pair.Leaf.IsCA || len(pair.Leaf.ExtKeyUsage) != 1 || pair.Leaf.ExtKeyUsage[0] != x509.ExtKeyUsageClientAuth {
		t.Errorf("the certificate is valid for %s, CA %t, for %v", left, pair.Leaf.IsCA, pair.Leaf.ExtKeyUsage)
	}
}

// What would be more than a person, or could not work, is refused with what to
// do; nothing is made of a directory without a cluster.
func TestKubeconfigRefusals(t *testing.T) {
	s := newStory(t, map[string]string{"settings.yaml": settingsFile("zero")}, func(_ *story, up *up.Options) { up.TLSSANs = []string{"cluster.example.com"} })
	for want, args := range map[string][]string{
		"--user is missing": {},
		"the cluster's own": {"--user", "ada", "--group", "system:masters"},
		"is a name of":      {"--user", "system:node:node-1"},
		"8760h":             {"--user", "ada", "--lifetime", "9000h"},
		"is not a URL":      {"--user", "ada", "--server", "http://cluster.example.com"},
		"--tls-san other":   {"--user", "ada", "--server", "https://other:6443"},
	} {
		headwaytest.Shows(t, "refusal", s.must(cli.ExitFailed, append([]string{"kubeconfig"}, args...)...), want)
	}
	headwaytest.Shows(t, "kubeconfig", s.must(cli.ExitOK, "kubeconfig", "--user", "ada", "--server", "https://cluster.example.com:7443"), "server: https://cluster.example.com:7443")
	// What is no file is not replaced; - is standard output.
	link := filepath.Join(t.TempDir(), "stdout")
	if err := os.Symlink("/dev/null", link); err != nil {
		t.Fatal(err)
	}
	headwaytest.Shows(t, "a device", s.must(cli.ExitFailed, "kubeconfig", "--user", "ada", "-f", link), link+" is not a regular file")
	if to, err := os.Readlink(link); err != nil || to != "/dev/null" {
		t.Errorf("the link was replaced: %q %v", to, err)
	}
	t.Chdir(t.TempDir())
	const local = "is an address of this machine only: give --server"
	code, out, errOut := s.headway("kubeconfig", "--user", "ada", "-f", "-")
	if code != cli.ExitOK || !strings.Contains(out, "server: https://127.0.0.1:") || !strings.Contains(errOut, local) {
		t.Errorf("-f -: %d\n%s%s", code, out, errOut)
	}
	if _, err := os.Lstat("-"); err == nil {
		t.Error("-f - made a file")
	}
	if _, _, errOut := s.headway("kubeconfig", "--user", "ada", "--server", "https://cluster.example.com:7443"); errOut != "" {
		t.Errorf("with --server: %s", errOut)
	}
	empty := t.TempDir()
	if code, _, errOut := headway(t, "--data-dir", empty, "kubeconfig", "--user", "ada"); code != cli.ExitFailed || !strings.Contains(errOut, "no cluster in "+empty) {
		t.Errorf("without a cluster: %d %s", code, errOut)
	}
	if left, _ := os.ReadDir(empty); len(left) > 0 {
		t.Errorf("it made %v", left)
	}
}
