package main

import (
	goruntime "runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"headway.dev/cmd/headway/cli"
	"headway.dev/cmd/headway/headwaytest"
)

// What a newcomer gets wrong is answered with what to do, in words that are not
// those of a library.
func TestMistakesAreExplained(t *testing.T) {
	s := newStory(t, map[string]string{"settings.yaml": settingsFile("zero")}, nil)
	s.deployed(s.repo.Git(s.repo.Work, "rev-parse", "HEAD"))
	for _, mistake := range []struct {
		args []string
		want string
	}{
		{[]string{"stauts"}, `did you mean status?; see ` + "`headway --help`"},
		{[]string{"status", "--hepl"}, "did you mean --help?"},
		{[]string{"status", "extra"}, "unexpected argument \"extra\": the usage is `headway status [flags]`; see `headway status --help`"},
		{[]string{"diff"}, "an argument is missing: the usage is `headway diff [COMMIT] COMMIT [flags]`"},
		{[]string{"validate"}, "an argument is missing: the usage is `headway validate PATH [flags]`"},
		{[]string{"plan", "nosuch"}, `unknown revision "nosuch": the repository has no branch, tag or commit of that name; is it pushed?`},
		{[]string{"rollback", "nosuch"}, "is it pushed?"},
		{[]string{"sync", "--source", "nope"}, "GitRepository \"nope\" not found: `headway status` names those there are"},
		{[]string{"up", "--node-ip", "nope"}, `--node-ip: "nope" is not an IPv4 address`},
	} {
		if code, out, errOut := s.headway(mistake.args...); code != cli.ExitFailed || !strings.Contains(errOut, mistake.want) {
			t.Errorf("headway %s: exit code %d\n%s%s\nwant %s", strings.Join(mistake.args, " "), code, out, errOut, mistake.want)
		}
	}
	// What is empty, or needs nothing, is said to be.
	for _, quiet := range []struct {
		args []string
		want string
	}{
		{[]string{"log", "deploy/nothere"}, "the journal has no entry of deploy/nothere\n"},
		{[]string{"sync"}, "nothing new: all is applied and healthy ("},
		{[]string{"sync", "--no-wait"}, "asked for; `headway status` says what becomes of it\n"},
	} {
		headwaytest.Shows(t, strings.Join(quiet.args, " "), s.must(cli.ExitOK, quiet.args...), quiet.want)
	}
	if out := s.must(cli.ExitOK, "sync", "--no-wait", "-o", "json"); out != "" {
		t.Errorf("a program that does not wait is told %q", out)
	}
	// A fault is told on lines of their own, the time on the last of them.
	s.push(map[string]string{"settings.yaml": "a: [\n"})
	if out := s.must(cli.ExitFailed, "sync"); strings.Contains(out, "\n (") {
		t.Errorf("the time stands alone:\n%s", out)
	}
}

// Who is not root is told so, and not what the kernel says.
func TestNotRoot(t *testing.T) {
	s := newStory(t, map[string]string{"settings.yaml": settingsFile("zero")}, nil)
	results := make(chan string, 8)
	go func() {
		defer close(results)
		// The thread ends with the goroutine, and its user with it.
		goruntime.LockOSThread()
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, ^uintptr(0), 65534, ^uintptr(0)); errno != 0 {
			results <- errno.Error()
			return
		}
		for _, args := range [][]string{{"status"}, {"image", "import", "x.tar"}, {"kubeconfig", "--user", "ada", "--server", "https://127.0.0.1:1"}, {"cleanup"}, {"up"}} {
			_, _, errOut := s.headway(args...)
			results <- errOut
		}
	}()
	for _, want := range []string{"headway kubeconfig --user NAME", "image import needs root", "kubeconfig needs root", "cleanup needs root", "up needs root"} {
		if got := <-results; !strings.Contains(got, want) {
			t.Errorf("it says %q, want %q", got, want)
		}
	}
}
