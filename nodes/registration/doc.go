// Package registration makes the Node, keeps its status and its lease, and knows what
// the API has of it.
package registration
