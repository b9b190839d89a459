// Package render turns a head and a Kustomization's spec into objects, once for
// each content: a [Renderer] for each Kustomization. What cannot be rendered is
// searched for what it names ([ReferencesIn]).
package render
