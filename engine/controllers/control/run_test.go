package control_test

import (
	"context"
	"errors"
	"testing"

	"headway.dev/engine/controllers/control"
)

// A start that fails is told, unless it was to be broken off.
func TestFailingStart(t *testing.T) {
	fault := errors.New("no disk")
	start := func(ctx context.Context, end func()) error {
		return control.Run(ctx, control.Env{}, []control.Controller{{Name: "test", Start: func(context.Context) error { end(); return fault }}})
	}
	if err := start(t.Context(), func() {}); !errors.Is(err, fault) {
		t.Errorf("a start that fails: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if err := start(ctx, cancel); err != nil {
		t.Errorf("a start that is broken off: %v", err)
	}
}
