package wire

// The namespace and name of the source and the Kustomization that `headway up`
// creates, and that a request is about if it names none.
const (
	SystemNamespace = "headway-system"
	RootName        = "cluster"
	// Root is both, as requests and annotations name an object.
	Root = SystemNamespace + "/" + RootName
)
