// Package records answers questions about the names of a cluster, as Kubernetes'
// specification of DNS-based service discovery has them.
//
// [Zone] is an index of Services, EndpointSlices and the addresses of pods: it
// keeps of them what names need, and makes an [Answer] of that when it is asked.
// What it has not been told of does not exist: the caller waits until it has all.
//
//	service.ns.svc.ZONE                    A, AAAA: cluster IPs or ready endpoints; CNAME: an external name
//	host.service.ns.svc.ZONE               A, AAAA: the endpoints of that host name
//	_port._proto.service.ns.svc.ZONE       SRV
//	1-2-3-4.ns.pod.ZONE                    A, AAAA: a pod that is there
//	dns-version.ZONE                       TXT
//	4.3.2.1.in-addr.arpa                   PTR
//
// Concurrency: all methods may be called from many goroutines.
package records
