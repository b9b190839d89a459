// Package fairness decides which requests are served now and which wait, by the
// FlowSchemas and PriorityLevelConfigurations of the cluster, as kube-apiserver
// does and with the same library.
//
// https://kubernetes.io/docs/concepts/cluster-administration/flow-control/
package fairness
