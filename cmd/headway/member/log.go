package member

import (
	"io"
	"log/slog"

	"github.com/sirupsen/logrus"
	"k8s.io/klog/v2" //nolint:depguard // what Kubernetes' libraries log with
)

// NewLog is the log of a program that runs until it is stopped.
func NewLog(out io.Writer, verbose bool) *slog.Logger {
	// What a person should know is reported as progress; the log repeats it.
	level := slog.LevelError
	if verbose {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: level}))
	// Libraries that log by themselves follow suit, or stay silent: their
	// lines would stand between those of the progress.
	slog.SetDefault(log.With("part", "library"))
	logrus.SetOutput(io.Discard)
	return log
}

// Libraries has Kubernetes' libraries log as all else. It is for the start of a program:
// nothing may log meanwhile.
func Libraries(log *slog.Logger) { klog.SetSlogLogger(log.With("part", "library")) }
