// Package flux has the words in which users talk to the syncer on objects:
// annotations and what specs mean where they leave something open.
package flux
