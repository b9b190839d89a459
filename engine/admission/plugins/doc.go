// Package plugins has the admission plugins of the cluster, under Kubernetes'
// names, in its order and with its messages. [New] makes all of them.
package plugins
