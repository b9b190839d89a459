// Package api serves the syncer over HTTP, from what it stores and from what its
// loops say of themselves.
package api
