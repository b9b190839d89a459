// Package change describes writes to the store: the content of a transaction,
// and the rules of the API's verbs (create, update, status, delete) that
// writers inside the process follow when they bypass the API server.
package change

import (
	"headway.dev/manifests/model/object"
)

// Durability determines when a transaction is acknowledged.
type Durability uint8

const (
	// Wait acknowledges, and shows the change to readers and watchers, after it
	// is on disk: nothing that anybody has seen is ever undone.
	Wait Durability = iota
	// Behind acknowledges once the change can be read, and writes it soon
	// after, only the newest state of a key. It is only for Events: a crash
	// could undo other changes from which somebody has already drawn a
	// conclusion, and their resource versions would run backwards.
	Behind
)

// Change is one object's part of a transaction.
type Change struct {
	Key object.Key
	// Mutate gets the stored state (nil if there is none) and returns the
	// state to store; nil deletes. Returning current itself changes nothing.
	// It must not modify current. It runs while the transaction holds the
	// store, so it must be quick and must not call the store; an error aborts
	// the whole transaction and is returned as it is.
	Mutate func(current object.Object) (object.Object, error)
	// Subresource is the part of the object that is written, as requests name it
	// ("status", "binding"); empty for the object itself. Admission goes by it.
	Subresource string
	// By is the user in whose name admission judges the change; nil is the user
	// of whoever commits.
	By *User
	// Always has what goes along with another change (store.Options.Along) written
	// even if the transaction changes the object itself.
	Always bool
}

// User identifies who makes a change.
type User struct {
	Name   string
	Groups []string
}

// Account returns the user that a ServiceAccount is.
func Account(namespace, name string) User {
	return User{
		Name:   "system:serviceaccount:" + namespace + ":" + name,
		Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + namespace, "system:authenticated"},
	}
}

// Record is an entry for one of the store's append-only logs, such as the
// syncer's journal.
type Record struct {
	Log  string
	Data []byte
	// Keep, if positive, removes all entries of the log except the newest Keep
	// in the same transaction. The others keep their indexes.
	Keep int64
}

// Tx is a transaction: it is written whole or not at all.
type Tx struct {
	Durability Durability
	Changes    []Change
	Append     []Record
}
