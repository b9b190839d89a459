// Web is the example repository's program alone; the headway program has it,
// too, so that the example runs without anything else.
package main

import (
	"log/slog"
	"os"

	"headway.dev/examples/web/serve"
)

// version is set at build time.
var version = "dev"

func main() {
	if err := serve.Run(version); err != nil {
		slog.Error("serve", "error", err)
		os.Exit(1)
	}
}
