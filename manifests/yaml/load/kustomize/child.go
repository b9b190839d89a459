package kustomize

import (
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// childName is the name, in place of the program's, that a child is started by.
const childName = "headway-render"

var called atomic.Bool

// isolated reports whether builds run in processes of their own.
func isolated() bool { return called.Load() }

// Main must be called first thing by a program that builds. In a child it does
// not return.
func Main() {
	if os.Args[0] != childName {
		called.Store(true)
		return
	}
	if err := confine(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "confine the build:", err)
		os.Exit(1)
	}
	if err := serve(os.Stdin, os.Stdout); err != nil {
		os.Exit(1)
	}
	os.Exit(0)
}

// serve makes one build for the process at the other ends of the pipes.
func serve(in io.Reader, out io.Writer) error {
	r := &remoteFS{send: gob.NewEncoder(out), answers: make(chan answer), known: map[string]answer{}}
	go func() { // ends with the process, also while it builds
		receive := gob.NewDecoder(in)
		for {
			var a answer
			if err := receive.Decode(&a); err != nil {
				os.Exit(0)
			}
			r.answers <- a
		}
	}()
	task := <-r.answers
	list, err := build(r, task.Dir)
	done := question{Ask: tellDone, Resources: list}
	if err != nil {
		done.Resources, done.Err = nil, err.Error()
	}
	return r.send.Encode(done)
}

func build(r *remoteFS, dir string) (list []Resource, err error) {
	defer func() {
		if p := recover(); p != nil { // what it says may hold contents
			list, err = nil, errors.New("kustomize panics")
		}
	}()
	return render(readOnly{r}, dir, func() bool { return r.ask(askKeep, "").Yes })
}

// remoteFS asks the parent: for each thing once, as nothing changes meanwhile,
// but for contents again and again. The parent counts what is read.
type remoteFS struct {
	send    *gob.Encoder
	answers chan answer
	known   map[string]answer
}

func (r *remoteFS) ask(what, path string) answer {
	known, ok := r.known[what+" "+path]
	if ok {
		return known
	}
	if err := r.send.Encode(question{Ask: what, Path: path}); err != nil {
		os.Exit(1)
	}
	a := <-r.answers
	if what != askRead {
		r.known[what+" "+path] = a
	}
	return a
}

func (a answer) err() error {
	if a.Err == "" {
		return nil
	}
	return errors.New(a.Err)
}

// CleanedAbs implements FS.
func (r *remoteFS) CleanedAbs(name string) (filesys.ConfirmedDir, string, error) {
	a := r.ask(askClean, name)
	return filesys.ConfirmedDir(a.Dir), a.Name, a.err()
}

// ReadFile implements FS.
func (r *remoteFS) ReadFile(name string) ([]byte, error) {
	a := r.ask(askRead, name)
	return a.Data, a.err()
}

// IsDir implements FS.
func (r *remoteFS) IsDir(name string) bool { return r.ask(askIsDir, name).Yes }

// Exists implements FS.
func (r *remoteFS) Exists(name string) bool { return r.ask(askExists, name).Yes }
