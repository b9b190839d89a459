// Package runtime has the words between the agent and the machine it runs pods
// on: what a sandbox and a container are to be, what is known of those there
// are, and [Interface], what the agent asks for. It does nothing itself: the
// pure core of the agent depends on it. Room containerd implements it.
package runtime
