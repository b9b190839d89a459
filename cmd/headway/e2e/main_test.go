package e2e_test

import (
	"context"
	"fmt"
	"os"
	"testing"

	"headway.dev/cmd/headway/e2e"
)

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "these tests start containers and change networks: run them as root (make test)")
		return 1
	}
	cleanup, err := e2e.Build(context.Background())
	if err != nil {
		fmt.Fprintln(os.Stderr, "build what is tested:", err)
		return 1
	}
	defer cleanup()
	return m.Run()
}
