package kustomize

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// confine takes from this process all that a build does not need.
func confine(args []string) error {
	if len(args) != 2 {
		return errors.New("two arguments are expected")
	}
	cpu, err := strconv.ParseUint(args[0], 10, 32)
	if err != nil {
		return err
	}
	memory, err := strconv.ParseUint(args[1], 10, 63)
	if err != nil {
		return err
	}
	// The kernel shall rather kill a build than the cluster, and run it later.
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("1000"), 0)
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, t := range tasks {
		if tid, err := strconv.Atoi(t.Name()); err == nil {
			_ = unix.Setpriority(unix.PRIO_PROCESS, tid, 5) // a hint
		}
	}
	if os.Geteuid() == 0 {
		const nobody = 65534
		if err := errors.Join(syscall.Setgroups(nil), syscall.Setresgid(nobody, nobody, nobody), syscall.Setresuid(nobody, nobody, nobody)); err != nil {
			return fmt.Errorf("become nobody: %w", err)
		}
	}
	for what, limit := range map[int]uint64{unix.RLIMIT_CPU: cpu, unix.RLIMIT_DATA: memory, unix.RLIMIT_CORE: 0, unix.RLIMIT_FSIZE: 0} {
		if err := unix.Setrlimit(what, &unix.Rlimit{Cur: limit, Max: limit}); err != nil {
			return fmt.Errorf("limit %d: %w", what, err)
		}
	}
	return filter()
}

// needed are the system calls of a Go program that computes, and reads and
// writes what is open already.
var needed = []uint32{
	unix.SYS_READ, unix.SYS_WRITE, unix.SYS_CLOSE, unix.SYS_FCNTL, unix.SYS_PPOLL,
	unix.SYS_MMAP, unix.SYS_MUNMAP, unix.SYS_MPROTECT, unix.SYS_MADVISE, unix.SYS_MREMAP, unix.SYS_MINCORE, unix.SYS_BRK,
	unix.SYS_CLONE, unix.SYS_FUTEX, unix.SYS_EXIT, unix.SYS_EXIT_GROUP, unix.SYS_SET_ROBUST_LIST, unix.SYS_RSEQ, unix.SYS_MEMBARRIER,
	unix.SYS_RT_SIGACTION, unix.SYS_RT_SIGPROCMASK, unix.SYS_RT_SIGRETURN, unix.SYS_SIGALTSTACK, unix.SYS_TGKILL, unix.SYS_RESTART_SYSCALL,
	unix.SYS_SCHED_YIELD, unix.SYS_SCHED_GETAFFINITY, unix.SYS_GETPID, unix.SYS_GETTID,
	unix.SYS_NANOSLEEP, unix.SYS_CLOCK_NANOSLEEP, unix.SYS_CLOCK_GETTIME, unix.SYS_GETTIMEOFDAY,
	unix.SYS_EPOLL_CREATE1, unix.SYS_EPOLL_CTL, unix.SYS_EPOLL_PWAIT, unix.SYS_EVENTFD2, unix.SYS_PIPE2, unix.SYS_GETRANDOM,
	unix.SYS_TIMER_CREATE, unix.SYS_TIMER_SETTIME, unix.SYS_TIMER_DELETE,
}

var architectures = map[string]uint32{"amd64": unix.AUDIT_ARCH_X86_64, "arm64": unix.AUDIT_ARCH_AARCH64}

// filter has every other system call fail with EPERM: there are no files, no
// sockets and no programs for what runs here.
func filter() error {
	arch, ok := architectures[runtime.GOARCH]
	if !ok {
		return fmt.Errorf("no filter of system calls for %s", runtime.GOARCH)
	}
	const (
		load, equal, ret = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, unix.BPF_RET | unix.BPF_K
		number, machine  = 0, 4 // offsets in seccomp_data
	)
	refuse, missing := uint32(unix.SECCOMP_RET_ERRNO)|uint32(unix.EPERM), uint32(unix.SECCOMP_RET_ERRNO)|uint32(unix.ENOSYS)
	prog := []unix.SockFilter{
		{Code: load, K: machine},
		{Code: equal, Jt: 1, K: arch},
		{Code: ret, K: unix.SECCOMP_RET_KILL_PROCESS},
		{Code: load, K: number},
	}
	for i, nr := range needed {
		prog = append(prog, unix.SockFilter{Code: equal, Jt: uint8(len(needed) - i + 2), K: nr}) //nolint:gosec // fewer than 256
	}
	// The flags of clone3 cannot be looked at; the C library, which starts the
	// threads of a program that is linked with it, takes clone where it is missing.
	prog = append(prog, unix.SockFilter{Code: equal, Jf: 1, K: unix.SYS_CLONE3}, unix.SockFilter{Code: ret, K: missing},
		unix.SockFilter{Code: ret, K: refuse}, unix.SockFilter{Code: ret, K: unix.SECCOMP_RET_ALLOW})
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("give up new privileges: %w", err)
	}
	rules := unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]} //nolint:gosec // fewer than 256
	// For all threads that the runtime has, at once.
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&rules))); errno != 0 {
		return fmt.Errorf("filter system calls: %w", errno)
	}
	return nil
}
