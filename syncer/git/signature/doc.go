// Package signature makes and checks the signatures of commits and tags, by
// OpenPGP and SSH keys.
//
// Key types: [Keys] (whose signatures are trusted), [Signer] (whose signature
// was found good) and [SigningKey] (what signs the commits written here).
// What is checked are the bytes that an object's name is the hash of.
package signature
