// Package cgroup creates and removes the cgroups of pods and containers, sets
// their limits and reads their usage, in every hierarchy of cgroup v1 or in the
// one of v2.
package cgroup
