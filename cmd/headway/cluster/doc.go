// Package cluster has the commands that run clusters and their machines, let machines
// join, and remove what they leave.
package cluster
