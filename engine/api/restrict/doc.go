// Package restrict refuses what depends on who asks and cannot be told from a
// request's path, as Kubernetes' admission plugins NodeRestriction,
// CertificateApproval and CertificateSigning do. Nothing in it has state.
package restrict
