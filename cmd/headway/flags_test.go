package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/client-go/tools/clientcmd"

	"headway.dev/cmd/headway/cli"
)

// The flag is nearer than the environment.
func TestDataDirWinsOverEnvironment(t *testing.T) {
	t.Setenv(clientcmd.RecommendedConfigPathEnvVar, "/elsewhere/kubeconfig")
	for _, c := range []struct{ args, want string }{
		{"--data-dir /here status", "/here/kubeconfig"},
		{"status --data-dir /here", "/here/kubeconfig"},
		{"status --data-dir /here --kubeconfig /there", "/there"},
		{"kubectl --data-dir /here get pods", "/here/kubeconfig"},
		{"status", "/elsewhere/kubeconfig"},
	} {
		args := append([]string{"headway"}, strings.Fields(c.args)...)
		if args[1] == "kubectl" {
			root := newRoot(strings.NewReader(""), os.Stdout, os.Stderr)
			command, rest, err := root.Find(args[1:])
			if err != nil {
				t.Fatal(err)
			}
			if rest, err = headwayFlags(command, rest); err != nil || strings.Join(rest, " ") != "get pods" {
				t.Errorf("%s: kubectl gets %q: %v", c.args, rest, err)
			}
			if !root.PersistentFlags().Changed("data-dir") {
				t.Errorf("%s: --data-dir is not seen", c.args)
			}
			continue
		}
		code, _, errOut := headway(t, args[1:]...)
		if code != cli.ExitFailed || !strings.Contains(errOut, "no kubeconfig at "+c.want+":") {
			t.Errorf("%s: exit code %d, want a word about %s: %s", c.args, code, c.want, errOut)
		}
	}
}

// What cannot be meant is refused at once, with the flag's name.
func TestUpRefusesFlags(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ flags, want string }{
		{"--node-name=Foo_Bar", `--node-name "Foo_Bar" cannot name a node: a lowercase RFC 1123 subdomain`},
		{"--node-name=" + strings.Repeat("a", 64), "must be no more than 63"},
		{"--branch=", "--branch: it is empty"},
		{"--listen=127.0.0.1:30443", "--listen 127.0.0.1:30443: the ports 30000 to 32767 are the Services' node ports"},
		{"--branch=a..b", "--branch: no name of a branch in Git"},
		{"--images-dir=" + dir + "/none", "--images-dir: stat " + dir + "/none: no such file or directory"},
		{"--scheduler-config=" + dir + "/none", "--scheduler-config: stat " + dir + "/none: no such file or directory"},
		{"--scheduler-config=" + file, "--scheduler-config: " + file + `: it is a "" of "", and not a KubeSchedulerConfiguration of kubescheduler.config.k8s.io/v1`},
		{"--images-dir=" + file, "--images-dir: " + file + " is not a directory"},
	} {
		code, _, errOut := headway(t, "up", "--data-dir", filepath.Join(dir, "data"), c.flags)
		if code != cli.ExitFailed || !strings.Contains(errOut, c.want) {
			t.Errorf("up %s: exit code %d, want %q: %s", c.flags, code, c.want, errOut)
		}
	}
}

func TestDidYouMean(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"stauts", "did you mean status?"},
		{"rolback", "did you mean rollback?"},
		{"image imprt", "did you mean import?"},
		{"plan --sourc x", "unknown flag: --sourc: did you mean --source?"},
		{"sync --wait=false", "did you mean --no-wait?"},
		{"xyzzy", "unknown command \"xyzzy\" for \"headway\"; see `headway --help`"},
		{"status --xyzzy", "unknown flag: --xyzzy; see `headway status --help`"},
	} {
		code, _, errOut := headway(t, strings.Fields(c.args)...)
		if code != cli.ExitFailed || !strings.Contains(errOut, c.want) {
			t.Errorf("%s: exit code %d, want %q: %s", c.args, code, c.want, errOut)
		}
	}
}

// An answer that a command has read is no aborted one.
func TestCommandsReadAnswersToTheEnd(t *testing.T) {
	s := newStory(t, map[string]string{"settings.yaml": coloured("red")}, nil)
	s.deployed(s.repo.Git(s.repo.Work, "rev-parse", "HEAD"))
	for range 30 {
		s.must(cli.ExitOK, "log")
	}
	s.must(cli.ExitOK, "sync")
	if log := s.Log.String(); strings.Contains(log, "Timeout or abort") {
		t.Errorf("the server logs aborted requests:\n%s", log)
	}
}
