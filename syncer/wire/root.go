package wire

// The namespace and name of the source and the Kustomization that `headway up`
// makes, and that requests are about which name none.
const (
	SystemNamespace = "headway-system"
	RootName        = "cluster"
)
