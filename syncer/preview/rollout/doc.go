// Package rollout tells what a plan does to pods: which come, which go, and in
// what order.
package rollout
