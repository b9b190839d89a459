// Package sops decrypts files that SOPS encrypted for age or PGP keys, in
// process: it runs no gpg and no age plugin, asks no agent and no key service,
// and reads no file.
//
//	Detect ── is this a file of SOPS, and in which format?
//	ParseKeys ── the private keys of a Secret ─▶ Keys
//	Keys.Decrypt ── metadata ─▶ data key ─▶ values ─▶ MAC ─▶ File
//
// The format is that of SOPS 3: every leaf is encrypted by itself with
// AES-256-GCM under the file's data key, bound to its place by the keys above
// it; the data key is encrypted for each recipient; a SHA-512 over all values
// in their order, encrypted in the same way, seals the file as a whole. A file
// whose seal does not match is not decrypted.
//
// A File also has the contents with placeholders. They do not depend on the
// values, so that what is made of both tells which parts of it are secret.
//
// Errors name keys, places and recipients, never values nor keys' contents.
package sops
