// Package gated makes a process ask before each change of a file, for the tests
// that kill it there.
package gated

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// changes are the system calls that change what a later process finds in the
// files of this one, and flushes, which change what is found after a power cut:
// a process that is killed takes nothing with it that it has written. openat is
// one if it creates or truncates.
var changes = []uintptr{
	unix.SYS_FSYNC, unix.SYS_FDATASYNC,
	unix.SYS_WRITE, unix.SYS_PWRITE64, unix.SYS_WRITEV, unix.SYS_PWRITEV, unix.SYS_PWRITEV2,
	unix.SYS_FTRUNCATE, unix.SYS_TRUNCATE, unix.SYS_FALLOCATE,
	unix.SYS_COPY_FILE_RANGE, unix.SYS_SENDFILE, unix.SYS_SPLICE,
	unix.SYS_RENAMEAT, unix.SYS_RENAMEAT2, unix.SYS_UNLINKAT, unix.SYS_MKDIRAT, unix.SYS_LINKAT, unix.SYS_SYMLINKAT,
	unix.SYS_FCHMODAT, unix.SYS_FCHMOD, unix.SYS_UTIMENSAT,
}

// Where seccomp_data has the number of the call and the low half of its third
// argument, on machines that store the low half first.
const (
	offsetNumber = 0
	offsetThird  = 16 + 2*8
)

// Start makes each of these calls of this process, in every thread, wait for an answer by
// seccomp's notification, and sends its descriptor over the socket:
// seccomp_unotify(2).
func Start(socket int) error {
	program := filter()
	prog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("give up privileges: %w", err)
	}
	const flags = unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | unix.SECCOMP_FILTER_FLAG_TSYNC | unix.SECCOMP_FILTER_FLAG_TSYNC_ESRCH
	listener, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&prog)))
	if errno != 0 {
		return fmt.Errorf("install the filter: %w", errno)
	}
	if err := unix.Sendmsg(socket, []byte{0}, unix.UnixRights(int(listener)), nil, 0); err != nil {
		return fmt.Errorf("pass the listener: %w", err)
	}
	// The other end has the only one left.
	return errors.Join(unix.Close(socket), unix.Close(int(listener)))
}

func filter() []unix.SockFilter {
	load := func(offset uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
	}
	answer := func(action uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: action}
	}
	equal := func(value uintptr, yes, no int) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: uint32(value), Jt: uint8(yes), Jf: uint8(no)}
	}
	program := []unix.SockFilter{load(offsetNumber)}
	for i, call := range changes {
		// Over the rest of these and the four lines about openat.
		program = append(program, equal(call, len(changes)-1-i+4, 0))
	}
	return append(program,
		equal(unix.SYS_OPENAT, 0, 2),
		load(offsetThird),
		unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: unix.O_CREAT | unix.O_TRUNC, Jt: 1, Jf: 0},
		answer(unix.SECCOMP_RET_ALLOW),
		answer(unix.SECCOMP_RET_USER_NOTIF),
	)
}
