package reserve

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"time"

	"golang.org/x/sys/unix"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ReasonInsufficientStorage is the reason in the API's status for writes that
// the disk has no room for.
const ReasonInsufficientStorage metav1.StatusReason = "InsufficientStorage"

// retry is the time between two attempts to get the reserve back.
const retry = time.Second

// Reserve keeps blocks of the disk for the store's file, beyond what it uses:
// nobody else can take them, whoever fills the disk. When there is less than
// half of them left and no more to be had, the store takes no new objects; what
// is left is for deletions, statuses and the compaction, which makes room
// inside the file. One goroutine uses it, the store's writer.
type Reserve struct {
	file *os.File
	log  *slog.Logger
	// size is how much is to be kept; 0 is nothing.
	size int64
	// end is up to where the file has its blocks.
	end   int64
	low   bool
	tried time.Time
}

// Open opens the reserve of the file at path, of size bytes; with size 0 it
// keeps nothing and refuses nothing.
func Open(path string, size int64, log *slog.Logger) (*Reserve, error) {
	r := &Reserve{size: size, log: log}
	if size <= 0 {
		return r, nil
	}
	var err error
	r.file, err = os.OpenFile(path, os.O_RDWR, 0)
	return r, err
}

// Reopen follows a file of the same name that has taken the place of the one
// before.
func (r *Reserve) Reopen(path string) error {
	if r.file == nil {
		return nil
	}
	next, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	err = r.file.Close()
	r.file, r.end = next, 0
	return err
}

// Close releases the file, which keeps the blocks that it has.
func (r *Reserve) Close() error {
	if r.file == nil {
		return nil
	}
	return r.file.Close()
}

// Keep maintains the reserve behind the used part of the file.
func (r *Reserve) Keep(used int64) {
	if r.size <= 0 || used+r.size/2 <= r.end {
		return
	}
	r.tried = time.Now()
	err := unix.Fallocate(int(r.file.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, used+r.size)
	switch {
	case err == nil:
		if r.low {
			r.log.Info("there is space on the disk again: new objects are stored again")
		}
		r.end, r.low = used+r.size, false
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS):
		r.log.Warn("the file system cannot reserve space: a full disk will stop all writes", "err", err)
		r.size, r.low = 0, false
	default:
		if !r.low {
			r.log.Error("the disk is full: only deletions and changes are stored until there is space again", "err", err)
		}
		r.low = true
	}
}

// Refuses reports whether there is no room for new objects; used is the used
// part of the file.
func (r *Reserve) Refuses(used func() int64) bool {
	if r.low && time.Since(r.tried) >= retry {
		r.Keep(used())
	}
	return r.low
}

// Low reports whether the disk had no room for the reserve at the last attempt.
func (r *Reserve) Low() bool { return r.low }

// NoSpace returns the error for a write that the disk has no room for.
func NoSpace(path string, cause error) error {
	message := fmt.Sprintf("the disk of %s is full: objects can be changed and deleted, but none created, until there is space again; make room and try again", path)
	if cause != nil {
		message = fmt.Sprintf("the disk of %s is full; make room and try again: %v", path, cause)
	}
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusInsufficientStorage, Reason: ReasonInsufficientStorage, Message: message,
	}}
}

// IsFull reports whether err comes from a disk, or a quota, that is full.
func IsFull(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }
