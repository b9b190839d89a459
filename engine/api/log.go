package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
)

// libraryLog is log for the libraries: what they take for an error although a
// client merely went away, or read too slowly, is told at the debug level.
func libraryLog(log *slog.Logger) *slog.Logger { return slog.New(quietHandler{log.Handler()}) }

type quietHandler struct{ slog.Handler }

// Handle implements slog.Handler.
func (h quietHandler) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelWarn && clientGone(r) {
		if r.Level = slog.LevelDebug; !h.Enabled(ctx, r.Level) {
			return nil
		}
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h quietHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return quietHandler{h.Handler.WithAttrs(attrs)}
}

// WithGroup implements slog.Handler.
func (h quietHandler) WithGroup(name string) slog.Handler {
	return quietHandler{h.Handler.WithGroup(name)}
}

// onlyClients are the words of errors that nothing but a client causes which is
// gone, or was cut off at its deadline. answering are the beginnings of what the
// library says when it cannot write an answer, unwritten the words for why. The
// library passes most errors on as text.
var (
	onlyClients = []string{context.Canceled.Error(), http.ErrHandlerTimeout.Error(), "http2: stream closed", "client disconnected"}
	answering   = []string{
		"apiserver was unable to write ", "apiserver was unable to close cleanly the response writer",
		"apiserver received an error that is not an metav1.Status: &tls.permanentError", // of the connection to the client
		"Failed to encode watch event", "Failed to flush watch response", "Failed to close watch response writer",
		"Error on socket receive", "Error on socket send", "Error proxying data from ", // exec, attach, port-forward
	}
	unwritten = []string{"broken pipe", "connection reset by peer", "closed pipe", "use of closed network connection", "i/o timeout", "aborted the request"}
)

// clientGone reports whether all that is wrong is that a client did not wait
// for its answer.
func clientGone(r slog.Record) bool {
	text, cancelled := r.Message, false
	r.Attrs(func(a slog.Attr) bool {
		if err, ok := a.Value.Any().(error); ok {
			cancelled = cancelled || errors.Is(err, context.Canceled)
			text += "\n" + err.Error()
		} else if a.Key == "err" {
			text += "\n" + fmt.Sprint(a.Value)
		}
		return true
	})
	has := func(s string) bool { return strings.Contains(text, s) }
	switch {
	case has("panicked: true") || has("Observed a panic"):
		return false
	case cancelled || slices.ContainsFunc(onlyClients, has):
		return true
	case has("FinishRequest: post-timeout activity - "):
		return true // how the work ended that a request left behind
	}
	return slices.ContainsFunc(answering, has) && slices.ContainsFunc(unwritten, has)
}
