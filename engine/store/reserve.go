package store

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

	"headway.dev/manifests/model/object"
)

// ReasonInsufficientStorage is the reason of the API's status with which
// writes are refused that the disk has no room for.
const ReasonInsufficientStorage metav1.StatusReason = "InsufficientStorage"

// reserveRetry is the time between two attempts to get the reserve back.
const reserveRetry = time.Second

// reserve keeps blocks of the disk for the store's file, beyond what it uses:
// nobody else can take them, whoever fills the disk. When there is less than
// half of them left and no more to be had, the store takes no new objects; what
// is left is for deletions, statuses and the compaction, which makes room
// inside the file. It belongs to the writer.
type reserve struct {
	file *os.File
	log  *slog.Logger
	// size is how much is to be kept; 0 is nothing.
	size int64
	// end is up to where the file has its blocks.
	end   int64
	low   bool
	tried time.Time
}

func openReserve(path string, size int64, log *slog.Logger) (*reserve, error) {
	r := &reserve{size: size, log: log}
	if size <= 0 {
		return r, nil
	}
	var err error
	r.file, err = os.OpenFile(path, os.O_RDWR, 0)
	return r, err
}

func (r *reserve) close() error {
	if r.file == nil {
		return nil
	}
	return r.file.Close()
}

// keep sees to the reserve behind the used part of the file.
func (r *reserve) keep(used int64) {
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

// refuses reports whether there is no room for new objects; used is the used
// part of the file.
func (r *reserve) refuses(used func() int64) bool {
	if r.low && time.Since(r.tried) >= reserveRetry {
		r.keep(used())
	}
	return r.low
}

// noSpace is what a write is refused with that the disk has no room for.
func noSpace(path string, cause error) error {
	message := fmt.Sprintf("the disk of %s is full: objects can be changed and deleted, but none created, until there is space again; make room and try again", path)
	if cause != nil {
		message = fmt.Sprintf("the disk of %s is full; make room and try again: %v", path, cause)
	}
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusInsufficientStorage, Reason: ReasonInsufficientStorage, Message: message,
	}}
}

func isFull(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

// makeRoom frees what is garbage in the file at once, for what is written next.
// It reports whether there was any.
func (w *writer) makeRoom() bool {
	if len(w.garbage) == 0 {
		return false
	}
	if err := w.compact(); err != nil {
		w.log.Error("cannot compact the store's file, which is full", "err", err)
		return false
	}
	return true
}

// mayStore refuses new objects while the disk is full.
func (w *writer) mayStore(next, current object.Object) error {
	if current == nil && next != nil && w.reserve.refuses(w.used) {
		return noSpace(w.store.path, nil)
	}
	return nil
}

// used is the length of the part of the file that holds something.
func (w *writer) used() (size int64) {
	tx, err := w.db.Begin(false)
	if err != nil {
		return 0
	}
	size = tx.Size()
	if err := tx.Rollback(); err != nil {
		w.log.Error("cannot end a read of the store's file", "err", err)
	}
	return size
}
