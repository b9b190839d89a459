package kernel

import (
	"fmt"
	"os"
	"strings"
)

const routeLocalnet = "/proc/sys/net/ipv4/conf/all/route_localnet"

// opened is the value of route_localnet that means "on, and it was off before".
// To the kernel every number but 0 is on, so that the kernel itself remembers what
// was there, exactly as long as it matters: until the machine starts again.
const opened = "77"

// OpenLoopback lets node ports on 127.0.0.1 lead to pods. It also lets neighbours
// send to 127.0.0.0/8 (CVE-2020-8558): the rules that keep them off have to be
// there before.
func OpenLoopback() error {
	have, err := os.ReadFile(routeLocalnet)
	if err != nil {
		return fmt.Errorf("read sysctl route_localnet: %w", err)
	}
	if strings.TrimSpace(string(have)) != "0" {
		return nil
	}
	if err := os.WriteFile(routeLocalnet, []byte(opened), 0o644); err != nil {
		return fmt.Errorf("set sysctl route_localnet: %w", err)
	}
	return nil
}

// CloseLoopback undoes OpenLoopback. What others opened stays open.
func CloseLoopback() error {
	have, err := os.ReadFile(routeLocalnet)
	if err != nil {
		return fmt.Errorf("read sysctl route_localnet: %w", err)
	}
	if strings.TrimSpace(string(have)) != opened {
		return nil
	}
	if err := os.WriteFile(routeLocalnet, []byte("0"), 0o644); err != nil {
		return fmt.Errorf("set sysctl route_localnet: %w", err)
	}
	return nil
}
