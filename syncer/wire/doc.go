// Package wire contains the types of the syncer's HTTP API under /headway/v1/,
// for the server and its clients.
package wire
