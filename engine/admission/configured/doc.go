// Package configured has the admission plugins of which users say what they do,
// by objects of admissionregistration.k8s.io: webhooks and policies. The plugins
// are k8s.io/apiserver's own; here they get what they read.
//
//	store ──Observe──▶ Configurations ──▶ one set of plugins for each state of them
//	                                           │ reads namespaces and parameters of what it judges
//	                                           ▼
//	                                      admission.View
//
// [Configurations] follows the store in the order of its commits, before anybody
// can read what was stored. So a webhook or a policy is in force for the next
// write after the one that stored it, and no longer once it is deleted.
// Kubernetes gets there within seconds. What is written together with it, in one
// transaction, comes before it.
//
// Nothing is cached besides that, and nothing runs in the background. Configurations
// themselves are no matter for webhooks and policies, as in Kubernetes: a broken
// one can always be deleted.
//
// # Webhooks that mean harm
//
// An answer is read up to a limit, no redirect is followed, and addresses are not
// dialled that the egress policy denies, whatever name or Service led there. How
// long a call lasts is bounded by its webhook's timeoutSeconds.
//
// # Concurrency
//
// Everything is safe for concurrent use.
package configured
