package crash_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What seccomp_unotify(2) exchanges.
type (
	notification struct {
		id         uint64
		pid, flags uint32
		data       struct {
			number  int32
			arch    uint32
			pointer uint64
			args    [6]uint64
		}
	}
	response struct {
		id    uint64
		value int64
		errno int32
		flags uint32
	}
)

// run runs the program, which lets it be known before each change of a file,
// and kills it before change number at of those below dir; 0 is none. It
// returns the change at which it was killed, or how many there were.
func run(ctx context.Context, at int, dir string, args ...string) (change string, changes int, err error) {
	err = watch(ctx, func(asked notification) (kill bool) {
		what := describe(asked, dir)
		if what == "" {
			return false
		}
		if changes++; changes == at {
			change = what
		}
		return changes == at
	}, args...)
	return change, changes, err
}

// watch runs the program and has see look at each of its calls that change or
// flush a file, before it is made. The program is killed there if see says so,
// and has to succeed otherwise.
func watch(ctx context.Context, see func(notification) (kill bool), args ...string) (err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "gate"), os.NewFile(uintptr(pair[1]), "gate")
	defer ours.Close()
	var output bytes.Buffer
	cmd := exec.CommandContext(ctx, args[0], append(args[1:], "--gated")...)
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = &output, &output, []*os.File{theirs}
	err = cmd.Start()
	theirs.Close()
	if err != nil {
		return err
	}
	killed := false
	defer func() {
		_ = cmd.Wait() // how it ended is in its state
		status, _ := cmd.ProcessState.Sys().(syscall.WaitStatus)
		asWanted := status == 0
		if killed {
			asWanted = status.Signaled() && status.Signal() == unix.SIGKILL
		}
		if err == nil && !asWanted {
			err = fmt.Errorf("the program ended with %s: %s", cmd.ProcessState, &output)
		}
	}()
	listener, err := receive(ours)
	if err != nil {
		_ = cmd.Process.Kill()
		return err
	}
	defer listener.Close()
	for {
		asked, ok, err := next(listener)
		if err != nil || !ok {
			if err != nil {
				_ = cmd.Process.Kill()
			}
			return err
		}
		if see(asked) {
			killed = true
			return cmd.Process.Kill()
		}
		answer := response{id: asked.id, flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}
		if err := ioctl(listener, unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&answer)); err != nil && !errors.Is(err, unix.ENOENT) {
			_ = cmd.Process.Kill()
			return fmt.Errorf("answer: %w", err)
		}
	}
}

// receive takes the listener from the program.
func receive(socket *os.File) (*os.File, error) {
	rights := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(int(socket.Fd()), make([]byte, 1), rights, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("receive the listener: %w", err)
	}
	messages, err := unix.ParseSocketControlMessage(rights[:n])
	if err != nil || len(messages) != 1 {
		return nil, fmt.Errorf("the program ended before it sent its listener: %w", err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return nil, fmt.Errorf("receive the listener: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), "listener"), nil
}

// next waits for a call to answer; there is none after the program's end.
func next(listener *os.File) (asked notification, ok bool, err error) {
	for {
		poll := []unix.PollFd{{Fd: int32(listener.Fd()), Events: unix.POLLIN}}
		if _, err := unix.Poll(poll, -1); err != nil {
			if errors.Is(err, unix.EINTR) {
				continue
			}
			return asked, false, fmt.Errorf("wait for a call: %w", err)
		}
		if poll[0].Revents&unix.POLLIN == 0 {
			return asked, false, nil
		}
		switch err := ioctl(listener, unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Pointer(&asked)); {
		case err == nil:
			return asked, true, nil
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.ENOENT): // the caller has ended
		default:
			return asked, false, fmt.Errorf("read a call: %w", err)
		}
		asked = notification{}
	}
}

func ioctl(f *os.File, request uintptr, arg unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), request, uintptr(arg)); errno != 0 {
		return errno
	}
	return nil
}

// onPath are calls that are given the path of what they change: the program
// changes nothing outside of dir by path.
var onPath = map[int32]string{
	unix.SYS_OPENAT: "openat", unix.SYS_RENAMEAT: "renameat", unix.SYS_RENAMEAT2: "renameat2", unix.SYS_UNLINKAT: "unlinkat",
	unix.SYS_MKDIRAT: "mkdirat", unix.SYS_LINKAT: "linkat", unix.SYS_SYMLINKAT: "symlinkat",
}

// onDescriptor are calls whose first argument is what they change.
var onDescriptor = map[int32]string{
	unix.SYS_WRITE: "write", unix.SYS_PWRITE64: "pwrite64", unix.SYS_WRITEV: "writev", unix.SYS_PWRITEV: "pwritev", unix.SYS_PWRITEV2: "pwritev2",
	unix.SYS_FTRUNCATE: "ftruncate", unix.SYS_FALLOCATE: "fallocate", unix.SYS_SENDFILE: "sendfile", unix.SYS_FCHMOD: "fchmod",
}

// flushes make what was changed outlive a power cut.
var flushes = []int32{unix.SYS_FSYNC, unix.SYS_FDATASYNC}

// describe names a call that changes something below dir; the others, flushes
// and those to sockets and pipes, are "".
func describe(call notification, dir string) string {
	if slices.Contains(flushes, call.data.number) {
		return ""
	}
	if name, ok := onPath[call.data.number]; ok {
		return name
	}
	name, ok := onDescriptor[call.data.number]
	if !ok {
		return fmt.Sprintf("system call %d", call.data.number)
	}
	file, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", call.pid, call.data.args[0]))
	if err != nil || !strings.HasPrefix(file, dir+"/") {
		return ""
	}
	below, err := filepath.Rel(dir, file)
	if err != nil {
		return ""
	}
	return name + " to " + below
}
