package encryption_test

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"

	"headway.dev/engine/encryption"
	"headway.dev/engine/store"
	"headway.dev/engine/store/record"
	"headway.dev/manifests/model/change"
)

// both runs a benchmark on a store that encrypts nothing, and on one that
// encrypts Secrets with the key file.
func both(b *testing.B, bench func(b *testing.B, open func() *store.Store)) {
	b.Helper()
	for _, name := range []string{"plain", "encrypted"} {
		b.Run(name, func(b *testing.B) {
			dir := b.TempDir()
			var cipher record.Cipher
			if name == "encrypted" {
				c, err := encryption.Open(encryption.Config{KeyFile: filepath.Join(dir, "key")})
				if err != nil {
					b.Fatal(err)
				}
				if err := c.Save(); err != nil {
					b.Fatal(err)
				}
				cipher = c
			}
			bench(b, func() *store.Store {
				s, err := store.Open(store.Options{Path: filepath.Join(dir, "db"), Cipher: cipher})
				if err != nil {
					b.Fatal(err)
				}
				return s
			})
		})
	}
}

func closeStore(b *testing.B, s *store.Store) {
	b.Helper()
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
}

var value = string(bytes.Repeat([]byte("0123456789abcdef"), 64)) // 1 KiB, twice in a Secret

func fillStore(b *testing.B, s *store.Store, n int) {
	b.Helper()
	for i := 0; i < n; i += 500 {
		var tx change.Tx
		for j := i; j < min(n, i+500); j++ {
			tx.Changes = append(tx.Changes, put(secret(fmt.Sprint("s", j), value)))
		}
		if _, err := s.Commit(context.Background(), tx); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCreate(b *testing.B) {
	both(b, func(b *testing.B, open func() *store.Store) {
		b.Helper()
		s := open()
		defer closeStore(b, s)
		var n atomic.Int64
		b.SetParallelism(32)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := s.Commit(context.Background(), change.Tx{Changes: []change.Change{put(secret(fmt.Sprint("s", n.Add(1)), value))}}); err != nil {
					b.Error(err)
				}
			}
		})
	})
}

func BenchmarkGet(b *testing.B) {
	both(b, func(b *testing.B, open func() *store.Store) {
		b.Helper()
		s := open()
		defer closeStore(b, s)
		fillStore(b, s, 1000)
		for b.Loop() {
			if s.Get(secretKey("s500")) == nil {
				b.Fatal("missing")
			}
		}
	})
}

// BenchmarkReplay opens a store of 10,000 Secrets.
func BenchmarkReplay(b *testing.B) {
	both(b, func(b *testing.B, open func() *store.Store) {
		b.Helper()
		s := open()
		fillStore(b, s, 10000)
		closeStore(b, s)
		for b.Loop() {
			s := open()
			b.StopTimer()
			closeStore(b, s)
			b.StartTimer()
		}
	})
}

// BenchmarkReencrypt rotates the key of a store of 10,000 Secrets.
func BenchmarkReencrypt(b *testing.B) {
	dir := b.TempDir()
	c, err := encryption.Open(encryption.Config{KeyFile: filepath.Join(dir, "key")})
	if err != nil {
		b.Fatal(err)
	}
	if err := c.Save(); err != nil {
		b.Fatal(err)
	}
	s, err := store.Open(store.Options{Path: filepath.Join(dir, "db"), Cipher: c})
	if err != nil {
		b.Fatal(err)
	}
	defer closeStore(b, s)
	fillStore(b, s, 10000)
	for b.Loop() {
		for _, step := range []func() error{c.Rotate, func() error { return s.Reencrypt(context.Background(), nil) }, c.Retire} {
			if err := step(); err != nil {
				b.Fatal(err)
			}
		}
	}
}
