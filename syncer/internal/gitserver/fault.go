package gitserver

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"time"
)

// Fault answers a request instead of the repository, which next does.
type Fault func(w http.ResponseWriter, r *http.Request, next http.Handler)

// Serve serves a made-up repository: what Refs and PackAnswer return.
func Serve(refs, pack []byte) Fault {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		OnRefs(Answer(refs))(w, r, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { Answer(pack)(w, r, nil) }))
	}
}

// OnPack limits a fault to the requests for a pack.
func OnPack(f Fault) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if strings.HasSuffix(r.URL.Path, "/git-upload-pack") {
			f(w, r, next)
			return
		}
		next.ServeHTTP(w, r)
	}
}

// OnRefs limits a fault to the requests for the list of references.
func OnRefs(f Fault) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if strings.HasSuffix(r.URL.Path, "/info/refs") {
			f(w, r, next)
			return
		}
		next.ServeHTTP(w, r)
	}
}

// Change changes the answer's body with edit.
func Change(edit func([]byte) []byte) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		rec := &recorder{header: w.Header(), code: http.StatusOK}
		next.ServeHTTP(rec, r)
		w.Header().Del("Content-Length")
		w.WriteHeader(rec.code)
		_, _ = w.Write(edit(rec.body.Bytes()))
	}
}

// Truncate cuts every answer in the middle.
func Truncate() Fault {
	return Change(func(b []byte) []byte { return b[:len(b)/2] })
}

// Corrupt flips a bit in the middle of every answer.
func Corrupt() Fault {
	return Change(func(b []byte) []byte {
		b[len(b)/2] ^= 0x10
		return b
	})
}

// Dribble sends the answer byte by byte, and waits between the bytes.
func Dribble(wait time.Duration) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		rec := &recorder{header: w.Header(), code: http.StatusOK}
		next.ServeHTTP(rec, r)
		w.Header().Del("Content-Length")
		w.WriteHeader(rec.code)
		for _, b := range rec.body.Bytes() {
			_, _ = w.Write([]byte{b})
			_ = http.NewResponseController(w).Flush()
			select {
			case <-r.Context().Done():
				return
			case <-time.After(wait):
			}
		}
	}
}

// Hang never answers.
func Hang() Fault {
	return func(_ http.ResponseWriter, r *http.Request, _ http.Handler) {
		// The context ends with the connection only once the request is read.
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	}
}

// Status answers with a status code and a text.
func Status(code int, text string) Fault {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { http.Error(w, text, code) }
}

// Redirect redirects every request to the same path below another URL.
func Redirect(to string) Fault {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		w.Header().Set("Location", to+r.URL.RequestURI())
		w.WriteHeader(http.StatusFound)
	}
}

// Answer answers with a body of Git's protocol for the requested service.
func Answer(body []byte) Fault {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		kind := "application/x-git-upload-pack-result"
		if strings.HasSuffix(r.URL.Path, "/info/refs") {
			kind = "application/x-git-upload-pack-advertisement"
		}
		w.Header().Set("Content-Type", kind)
		_, _ = w.Write(body)
	}
}

// recorder keeps an answer.
type recorder struct {
	header http.Header
	code   int
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(code int)        { r.code = code }
func (r *recorder) Write(p []byte) (int, error) { return r.body.Write(p) }
