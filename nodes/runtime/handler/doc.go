// Package handler has the handlers of RuntimeClasses: by which runtime of containerd
// the containers of a pod run.
package handler
