package up

import (
	"testing"

	"github.com/spf13/pflag"
)

// Git takes host:path for ssh; a GitRepository has URLs only.
func TestRepoOfSSH(t *testing.T) {
	for repo, want := range map[string]string{
		"git@git.example.com:team/deploy.git": "ssh://git@git.example.com/team/deploy.git",
		"git.example.com:/srv/deploy":         "ssh://git.example.com/srv/deploy",
		"ssh://git@git.example.com:22/deploy": "ssh://git@git.example.com:22/deploy",
		"https://git.example.com/team/deploy": "https://git.example.com/team/deploy",
		"/srv/a:b":                            "/srv/a:b",
		"./a:b":                               "./a:b",
		"file:///srv/deploy.git":              "file:///srv/deploy.git",
		"":                                    "",
	} {
		if got := sshURL(repo); got != want {
			t.Errorf("%s is %s, want %s", repo, got, want)
		}
	}
	up := &Options{DataDir: t.TempDir()}
	up.AddFlags(pflag.NewFlagSet("up", pflag.ContinueOnError))
	up.Repo = "git@git.example.com:team/deploy.git"
	source, err := openSource(&Config{Options: *up})
	if err != nil || source.url != "ssh://git@git.example.com/team/deploy.git" || source.dir != "" {
		t.Errorf("openSource: %+v, %v", source, err)
	}
}
