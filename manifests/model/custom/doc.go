// Package custom holds objects of kinds that have no Go type against the
// CustomResourceDefinition that defines them: which of their fields are unknown,
// which defaults they have, what is wrong with them, and how they merge.
//
//	definition ─▶ New ─▶ Definition ─▶ Version ─▶ Unknown, Complete, Create, Update
//
// All of it is done by k8s.io/apiextensions-apiserver, as when the API serves the
// same resources. Nothing is built before it is asked for, nor kept for long after it
// was: at rest a definition is [Packed]. A Definition does not change and is safe for
// concurrent use.
package custom
