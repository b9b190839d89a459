package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
	"unsafe"
)

// size prints the terminal's size, and again after each change of it, until it
// has been printed changes more times.
func size(changes int) error {
	resized := make(chan os.Signal, 8)
	signal.Notify(resized, syscall.SIGWINCH)
	last := [2]uint16{1, 1} // no size a terminal starts with
	deadline := time.After(30 * time.Second)
	for printed := 0; ; {
		now, err := terminalSize()
		if err != nil {
			return err
		}
		if now != last {
			fmt.Printf("size %dx%d\n", now[1], now[0])
			last = now
			if printed++; printed > changes {
				return nil
			}
		}
		select {
		case <-resized:
		case <-deadline:
			return fmt.Errorf("the size did not change")
		}
	}
}

// terminalSize returns rows and columns.
func terminalSize() ([2]uint16, error) {
	var ws [4]uint16
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, os.Stdin.Fd(), syscall.TIOCGWINSZ, uintptr(unsafe.Pointer(&ws)))
	if errno != 0 {
		return [2]uint16{}, errno
	}
	return [2]uint16{ws[0], ws[1]}, nil
}
