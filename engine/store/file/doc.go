// Package file is the store's file in bbolt: its buckets, what is written into
// them, and how a damaged one is found before anything is done with it.
//
// Bucket "objects" maps the revision (8 bytes, big endian) to a record: what
// happened, the key, the encoded object, a checksum. Sequential keys make
// bbolt append to its last page. Bucket "logs" holds the append-only logs, a
// bucket each, keyed by index+1; bucket "meta" the format version and the
// ceiling, a revision that is at least every one given out.
//
// [File.Rewrite] replaces the file by one without the pages of deleted records.
package file
