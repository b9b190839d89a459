// Package origin tells where the fields of a rendered object come from: the
// file, the line, and by what means (the manifest itself, a patch, the images
// of a kustomization, …). It is computed for one object when somebody asks, by
// reading again what the build read; a build pays nothing for it.
//
//	tree + spec + load.Item ── Of ──▶ *Trace ── Field("spec.replicas") ──▶ Origin
//
// A Trace has the object's manifest and, in the order in which kustomize
// applied them, the kustomizations above it, the spec of the Flux Kustomization
// last. The answer for a field is the last of them that sets it to the value
// that was rendered. That is how kustomize works for everything with a value of
// its own; where a value is computed (a replacement, a reference to a name with
// a hash, a transformer plugin), the answer is the file that asks for it, and
// Exact is false.
package origin
