// Package netns creates the namespaces that the containers of a pod share and
// holds them by bind mounts, so that no process has to stay in them.
package netns
