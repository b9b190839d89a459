// Package certificates holds the kinds of certificates.k8s.io/v1, each in a file of its name.
package certificates

import (
	certificatesv1 "k8s.io/api/certificates/v1"

	"headway.dev/manifests/model/kind"
)

// Group is the kinds of certificates.k8s.io/v1.
var Group = kind.Group{
	AddToScheme: certificatesv1.AddToScheme,
	Kinds:       []*kind.Kind{signingRequest},
}
