package memstore_test

import (
	"testing"

	"headway.dev/syncer/env"
	"headway.dev/syncer/internal/memstore"
	"headway.dev/syncer/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, func(*testing.T) env.Store { return memstore.New() })
}
