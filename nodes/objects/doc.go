// Package objects follows the objects of the API that the pods of a node need:
// ConfigMaps, Secrets, Services and tokens of service accounts.
package objects
