// Package render turns a head and a Kustomization's spec into objects, once for
// each content, with a [Renderer] for each Kustomization. Files that cannot be
// rendered are searched for the objects that they name ([ReferencesIn]).
package render
