// Command rotate encrypts the Secrets of a data directory with a new key, for the
// tests of package crash, which kill it. With a socket as file descriptor 3 every
// change of a file waits for the leave of who has the other end.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"

	"headway.dev/cmd/headway/crash/gated"
	"headway.dev/engine"
)

func main() {
	dir := flag.String("data-dir", "", "the `directory` of the store and the key file")
	ask := flag.Bool("gated", false, "let the process at the other end of descriptor 3 allow each change of a file")
	flag.Parse()
	if *ask {
		if err := gated.Start(3); err != nil {
			fmt.Fprintln(os.Stderr, "gate:", err)
			os.Exit(1)
		}
	}
	if err := run(*dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(dir string) error {
	var last engine.Rotation
	err := engine.RotateOffline(context.Background(), dir, "", slog.New(slog.DiscardHandler), func(p engine.Rotation) { last = p })
	if err == nil && !last.Finished {
		err = errors.New(last.Error)
	}
	return err
}
