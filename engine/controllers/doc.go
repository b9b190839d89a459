// Package controllers runs the controllers of the cluster, in the process of
// the server and on its store.
//
// Controllers makes and runs them; package control is the frame that they
// stand in, package history keeps what some of them wrote before, and every
// controller is a package of its own beside it, with a pure core where there is
// something to decide:
//
//	bootstrap       system namespaces and priority classes, default StorageClass and IngressClass, Service default/kubernetes
//	serviceaccount  ServiceAccount "default"; tokens in Secrets
//	rootca          ConfigMap "kube-root-ca.crt"
//	bootstraptoken  expiry of bootstrap tokens; signatures of ConfigMap "cluster-info"
//	deployment      Deployment ─▶ ReplicaSets
//	daemonset       DaemonSet ─▶ Pods, one on each node; ControllerRevisions
//	statefulset     StatefulSet ─▶ Pods with names, in their order; ControllerRevisions
//	replicaset      ReplicaSet, ReplicationController ─▶ Pods
//	disruption      Pods ─▶ what PodDisruptionBudgets allow
//	job             Job ─▶ Pods, until enough have succeeded; removal of Jobs that have finished
//	cronjob         CronJob ─▶ Jobs, when their time has come
//	volume          PersistentVolumeClaim ─▶ PersistentVolume; claims that pods have of their own; finalizers of what is in use
//	resourcequota   what is used of ResourceQuotas, where that depends on the time
//	endpoints       Service + Pods ─▶ EndpointSlices, Endpoints
//	ingress         nodes ─▶ addresses in the status of Ingresses
//	gateway         definitions and class of the Gateway API; what is served ─▶ statuses of Gateways and routes
//	loadbalancer    addresses of Services of type LoadBalancer, and which node answers for each
//	gc              owner references
//	namespace       deletion of namespaces
//	node            heartbeats, taints, eviction, pod CIDRs, leftover pods
//	eventttl        expiry of Events
//	aggregation     rules of ClusterRoles that gather others
//	certificates    approval, signing and expiry of CertificateSigningRequests
//	migration       StorageVersionMigration ─▶ objects stored in the version of today
//	podautoscaler   metrics ─▶ scale of what HorizontalPodAutoscalers name
//	policystatus    expressions of ValidatingAdmissionPolicies that do not fit what they match
//
// CONTRIBUTING.md says how to add one.
package controllers
