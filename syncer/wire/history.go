package wire

import "time"

// ObjectQuery names one object of the cluster, or of its past.
type ObjectQuery struct {
	// Kind is any name that kubectl takes. Namespace may be empty if only one
	// namespace has such an object.
	Kind, Namespace, Name string
	// Kustomization, as namespace/name, selects one if several declared the
	// object.
	Kustomization string
	// At is a commit (or branch or tag) or a time; empty means what is applied
	// now.
	At string
}

// Owner types.
const (
	OwnerGit           = "git"           // a line of a file in Git
	OwnerKustomization = "kustomization" // the Kustomization, for what it adds of its own
	OwnerManager       = "manager"       // whoever wrote the field: Name is the field manager
	OwnerController    = "controller"    // the object's controller, by its owner reference
	OwnerDefault       = "default"       // the API's default
	OwnerServer        = "server"        // set by the API server itself
)

// BlameField is one live field and what set it.
type BlameField struct {
	Path string `json:"path"`
	// Value is the value as in the object's JSON; values of Secrets are
	// "(hidden)".
	Value any    `json:"value"`
	Owner string `json:"owner"`
	// Name is the field manager, the controller's kind and name, or the
	// Kustomization.
	Name string `json:"name,omitempty"`
	// Time is when a manager wrote the field.
	Time time.Time `json:"time,omitzero"`
	// Commit is the newest commit that touched the lines of the value, File and
	// Line are where the value is written, and How is the way from there into
	// the object: manifest, patch, images, ….
	Commit string `json:"commit,omitempty"`
	File   string `json:"file,omitempty"`
	Line   int    `json:"line,omitempty"`
	How    string `json:"how,omitempty"`
	// Computed reports whether the value is not written there itself, but was
	// made by a kustomization from what is.
	Computed bool `json:"computed,omitempty"`
}

// Blame is what set each field of a live object.
type Blame struct {
	Group     string `json:"group,omitempty"`
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	// Kustomization and Revision are empty if the object is not from Git. Owner
	// is then the controller of the object, if it has one.
	Kustomization string       `json:"kustomization,omitempty"`
	Revision      string       `json:"revision,omitempty"`
	Owner         string       `json:"owner,omitempty"`
	Fields        []BlameField `json:"fields"`
	// Commits are the commits that the fields name, by their hash.
	Commits map[string]Commit `json:"commits,omitempty"`
}

// PastObject is an object as Git declared it at a commit.
type PastObject struct {
	Kustomization string  `json:"kustomization"`
	Revision      string  `json:"revision"`
	Commit        *Commit `json:"commit,omitempty"`
	File          string  `json:"file,omitempty"`
	Line          int     `json:"line,omitempty"`
	// Object is the rendered manifest, without defaults; the values of Secrets
	// are "(hidden)".
	Object map[string]any `json:"object"`
}

// DiffRequest asks what changed between two commits (or branches or tags).
type DiffRequest struct {
	Source        string `json:"source,omitempty"`
	Kustomization string `json:"kustomization,omitempty"`
	// From is empty for what is applied.
	From string `json:"from,omitempty"`
	To   string `json:"to"`
}

// Verification is the result of checking the journal's chain of hashes.
type Verification struct {
	// Entries is the number of sound entries, counted from the beginning.
	Entries int  `json:"entries"`
	OK      bool `json:"ok"`
	// Error describes what is wrong with the next entry.
	Error string `json:"error,omitempty"`
}
