package kustomize_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"headway.dev/manifests/yaml/load/kustomize"
)

// What runs in a child can open neither a file nor a socket, nor start a
// program, nor raise its limits.
func TestConfined(t *testing.T) {
	if os.Getenv("CONFINED") != "" {
		if err := kustomize.Confine("60", "1073741824"); err != nil {
			t.Fatal(err)
		}
		for name, call := range map[string]func() error{
			"open":    func() error { _, err := syscall.Open("/etc/hostname", syscall.O_RDONLY, 0); return err },
			"socket":  func() error { _, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0); return err },
			"execve":  func() error { return syscall.Exec("/bin/true", []string{"true"}, nil) },
			"rlimit":  func() error { return syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{Cur: 1, Max: 1}) },
			"kill":    func() error { return syscall.Kill(os.Getppid(), 0) },
			"ptrace":  func() error { return syscall.PtraceAttach(os.Getppid()) },
			"unshare": func() error { return syscall.Unshare(syscall.CLONE_NEWUSER) },
		} {
			if err := call(); err == nil {
				fmt.Println(name + " is allowed")
			}
		}
		fmt.Println("tried")
		os.Exit(0)
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^TestConfined$")
	cmd.Env = append(os.Environ(), "CONFINED=1")
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("tried")) || strings.Contains(string(out), "is allowed") {
		t.Errorf("%v\n%s", err, out)
	}
}
