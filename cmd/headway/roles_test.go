package main

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/cmd/headway/cli"
	"headway.dev/engine/rbac"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer/wire"
)

// Who has the role headway:sync or headway:rollback syncs and rolls back, and
// has no way to change what is followed, with which rights.
func TestSyncAndRollbackAreNoRightToDeploy(t *testing.T) {
	s := newStory(t, map[string]string{"settings.yaml": settingsFile("zero")}, nil)
	s.deployed(s.repo.Git(s.repo.Work, "rev-parse", "HEAD"))
	s.deployed(s.push(map[string]string{"settings.yaml": settingsFile("one")}))
	store := s.Engine.Store()
	// The roles as an older version left them, with what an administrator added.
	old := []string{"get", "patch"}
	added := rbacv1.PolicyRule{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"events"}}
	for _, role := range []string{"headway:sync", "headway:rollback"} {
		key := object.Key{Name: role}
		key.Group, key.Kind = rbacv1.GroupName, "ClusterRole"
		if _, err := store.Commit(t.Context(), change.Tx{Changes: []change.Change{change.Patch(key, func(o object.Object) bool {
			o.(*rbacv1.ClusterRole).Rules = []rbacv1.PolicyRule{
				{Verbs: old, APIGroups: []string{"source.toolkit.fluxcd.io"}, Resources: []string{"gitrepositories"}},
				{Verbs: old, APIGroups: []string{"kustomize.toolkit.fluxcd.io"}, Resources: []string{"kustomizations"}},
				added,
			}
			return true
		})}}); err != nil {
			t.Fatal(err)
		}
		if err := rbac.Reconcile(t.Context(), store, time.Now()); err != nil {
			t.Fatal(err)
		}
		if rules := store.Get(key).(*rbacv1.ClusterRole).Rules; len(rules) == 0 || rules[0].Resources == nil || rules[0].Resources[0] != "events" {
			t.Errorf("%s lost what an administrator added: %+v", role, rules)
		}
	}
	files := map[string]string{}
	for user, role := range map[string]string{"ada": "headway:sync", "bob": "headway:rollback", "eve": "headway:plan"} {
		files[user] = filepath.Join(t.TempDir(), user)
		s.must(cli.ExitOK, "kubeconfig", "--user", user, "-f", files[user])
		s.create(&rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: user}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
			Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: user}},
		})
	}
	as := func(user string, want int, words string, args ...string) {
		t.Helper()
		code, out, errOut := headway(t, append([]string{"--kubeconfig", files[user]}, args...)...)
		if code != want || !strings.Contains(out+errOut, words) {
			t.Errorf("headway %s as %s: %d, want %d with %q\n%s%s", strings.Join(args, " "), user, code, want, words, out, errOut)
		}
	}
	s.eventually("the roles hold", func() bool {
		code, _, _ := headway(t, "--kubeconfig", files["bob"], "status")
		return code == cli.ExitOK
	})
	as("ada", cli.ExitOK, "", "sync")
	as("ada", cli.ExitFailed, `User "ada" cannot post path`, "rollback")
	as("eve", cli.ExitFailed, `User "eve" cannot post path`, "sync")
	as("bob", cli.ExitOK, "reverts", "rollback")
	as("bob", cli.ExitOK, "", "sync")
	for _, user := range []string{"ada", "bob"} {
		as(user, cli.ExitFailed, `User "`+user+`" cannot patch`, "suspend")
		as(user, cli.ExitFailed, `User "`+user+`" cannot patch`, "suspend", "gitrepo/cluster")
		for resource, patch := range map[string]string{
			"kustomization/cluster": `{"spec":{"serviceAccountName":null}}`,
			"gitrepository/cluster": `{"spec":{"url":"https://git.example.com/other"}}`,
		} {
			out, err := exec.CommandContext(t.Context(), "kubectl", "--kubeconfig", files[user], "-n", wire.SystemNamespace, "patch", resource, "--type=merge", "-p", patch).CombinedOutput()
			if err == nil || !strings.Contains(string(out), "(Forbidden)") || !strings.Contains(string(out), `User "`+user+`" cannot patch`) {
				t.Errorf("kubectl patch %s as %s: %v\n%s", resource, user, err, out)
			}
		}
	}
	// The path alone is no right to a source, and the error names the verb.
	s.create(&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "path"}, Rules: []rbacv1.PolicyRule{
		{Verbs: []string{"get", "post"}, NonResourceURLs: []string{"/headway/v1/*"}},
	}}, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "path"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "path"},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: "eve"}, {APIGroup: rbacv1.GroupName, Kind: "User", Name: "ada"}},
	})
	s.eventually("the path is granted", func() bool {
		_, _, errOut := headway(t, "--kubeconfig", files["eve"], "sync")
		return strings.Contains(errOut, `User "eve" cannot sync resource "gitrepositories"`)
	})
	as("ada", cli.ExitFailed, `User "ada" cannot rollback resource "gitrepositories"`, "rollback")
}
