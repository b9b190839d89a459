// Package cgroup makes and removes the cgroups of pods and containers, bounds
// them and reads what they use, in every hierarchy of cgroup v1 or in the one of
// v2.
package cgroup
