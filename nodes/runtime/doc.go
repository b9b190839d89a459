// Package runtime defines the interface between the agent and the machine on
// which it runs pods: what a sandbox and a container should be, what is known
// of the existing ones, and [Interface], the operations. It does nothing
// itself, so that the pure core of the agent can depend on it. Package
// containerd implements it.
package runtime
