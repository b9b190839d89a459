// Package encryption encrypts Secrets, and what an EncryptionConfiguration names,
// before they reach the store's file. The cryptography is that of
// k8s.io/apiserver: this package keeps the keys and chooses among the providers.
//
// [Open] reads the key file, or prepares a new key, which [Cipher.Save] writes.
// A rotation is [Cipher.Rotate], the store's Reencrypt, [Cipher.Retire], in this
// order: at each moment the key file has the keys of all that is in the store, so
// a crash between any two steps loses nothing, and [Cipher.Unfinished] tells the
// next start of it.
package encryption
