// Package objects follows what the pods of a node need of the API: ConfigMaps,
// Secrets, Services and tokens of service accounts.
package objects
