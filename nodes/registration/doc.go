// Package registration creates the Node, maintains its status and its lease,
// and knows the API's state of it.
package registration
