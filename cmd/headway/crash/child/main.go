// Command child is what the tests of package crash kill: the syncer on the
// real store, until one commit is applied; or what a rollback does to a
// repository of this machine. With a socket as file descriptor 3 every change of
// a file waits for the leave of who has the other end.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/cmd/headway/crash/gated"
	"headway.dev/engine/store"
	"headway.dev/manifests/model/object"
	"headway.dev/syncer"
	"headway.dev/syncer/git"
	"headway.dev/syncer/git/write"
	"headway.dev/syncer/wire"
)

func main() {
	dir := flag.String("data-dir", "", "the `directory` of the store and the mirrors")
	commit := flag.String("commit", "", "the commit to `reach`")
	revert := flag.String("revert", "", "the `repository` whose newest commit to revert instead")
	ask := flag.Bool("gated", false, "let the process at the other end of descriptor 3 allow each change of a file")
	flag.Parse()
	if *ask {
		if err := gated.Start(3); err != nil {
			fmt.Fprintln(os.Stderr, "gate:", err)
			os.Exit(1)
		}
	}
	var err error
	if *revert != "" {
		err = rollback(*revert)
	} else {
		err = follow(*dir, "main@sha1:"+*commit, *ask)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// rollback reverts the newest commit of main.
func rollback(dir string) error {
	repo, err := git.Open(dir)
	if err != nil {
		return err
	}
	by := git.Signature{Name: "Ada", Email: "ada@example.com", When: time.Now()}
	_, err = write.Revert(context.Background(), repo, write.RevertOptions{Branch: "main", Author: by, Committer: by})
	return err
}

// follow runs the syncer until the revision is applied; with rest, until what it writes
// next, so that it may be killed in that, too.
func follow(dir, revision string, rest bool) (err error) {
	s, err := store.Open(store.Options{Path: filepath.Join(dir, "store.db")})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	done := make(chan error, 1)
	sync := syncer.New(syncer.Config{Store: s, DataDir: dir})
	go func() { done <- sync.Run(ctx) }()
	for applied(s) != revision && ctx.Err() == nil {
		<-time.After(time.Millisecond)
	}
	for at := s.Revision(); rest && s.Revision() == at && ctx.Err() == nil; {
		<-time.After(time.Millisecond)
	}
	cancel()
	if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	if got := applied(s); got != revision {
		return fmt.Errorf("applied is %q, want %q", got, revision)
	}
	return nil
}

func applied(s *store.Store) string {
	kind := schema.GroupKind{Group: kustomizev1.GroupVersion.Group, Kind: "Kustomization"}
	ks, ok := s.Get(object.Key{GroupKind: kind, Namespace: wire.SystemNamespace, Name: wire.RootName}).(*kustomizev1.Kustomization)
	if !ok {
		return ""
	}
	return ks.Status.LastAppliedRevision
}
