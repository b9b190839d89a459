package resolv

import (
	"os"
	"slices"
)

// Own stands for the file that names the machine's own name servers.
const Own = "own"

const (
	etc = "/etc/resolv.conf"
	// What systemd-resolved writes: etc names stub then, which pods cannot reach, and
	// resolved the servers behind it.
	stub     = "127.0.0.53"
	resolved = "/run/systemd/resolve/resolv.conf"
)

// File returns the file to read: of [Own] the one that is right now, as systemd-resolved
// may come and go, and of all others themselves.
func File(file string) string {
	if file != Own {
		return file
	}
	return choose(etc, resolved)
}

// choose returns etc, or resolved if etc names only the stub.
func choose(etc, resolved string) string {
	data, err := os.ReadFile(etc)
	if err != nil {
		return etc
	}
	servers := parse(string(data))["nameserver"]
	if len(servers) == 0 || slices.ContainsFunc(servers, func(s string) bool { return s != stub }) {
		return etc
	}
	if _, err := os.Stat(resolved); err != nil {
		return etc
	}
	return resolved
}
