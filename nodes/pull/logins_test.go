package pull_test

import (
	"encoding/base64"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"headway.dev/nodes/pull"
)

// TestLogins: all logins of a secret that match an image are tried, the more specific
// ones first.
func TestLogins(t *testing.T) {
	logins := ""
	for i, registry := range []string{
		"registry.test", "registry.test/team", "registry.test/team/web", "registry.test/other", "*.test", "https://registry.test/v2/",
		"registry.test:5000", "https://index.docker.io/v1/", "docker.io/library/web",
	} {
		if i > 0 {
			logins += ","
		}
		logins += fmt.Sprintf("%q:{\"auth\":%q}", registry, base64.StdEncoding.EncodeToString([]byte(registry+":password")))
	}
	// The part of the name before the colon is the user.
	for image, want := range map[string][]string{
		"registry.test/team/web:v1":   {"registry.test/team/web", "registry.test/team", "registry.test", "https", "*.test"},
		"registry.test/teams/web":     {"registry.test", "https", "*.test"},
		"registry.test:5000/team/web": {"registry.test"},
		"web":                         {"https", "docker.io/library/web"},
		"elsewhere.example/web":       nil,
	} {
		for key, data := range map[string]string{
			corev1.DockerConfigJsonKey: `{"auths":{` + logins + `}}`,
			corev1.DockerConfigKey:     `{` + logins + `}`,
		} {
			got, err := pull.Logins(&corev1.Secret{Data: map[string][]byte{key: []byte(data)}}, image)
			if err != nil {
				t.Fatal(err)
			}
			var users []string
			for _, login := range got {
				users = append(users, login.Username)
			}
			if diff := cmp.Diff(want, users); diff != "" {
				t.Errorf("%s, %s: %s", image, key, diff)
			}
		}
	}
}
