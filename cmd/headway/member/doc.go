// Package member is what runs on every machine of a cluster, whether the server is in the
// same process (`headway up`) or elsewhere (`headway agent`): the agent with containerd
// and the pods' network, and the service proxy.
package member
