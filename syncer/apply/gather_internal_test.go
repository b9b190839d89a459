package apply

import (
	"context"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
	"headway.dev/syncer/env"
	"headway.dev/syncer/flux"
)

func loopOf(s *Set) *kustomization {
	return newKustomization(s, object.Key{GroupKind: flux.Kustomization, Namespace: "headway-system", Name: "one"})
}

// A turn that is free is taken also when there is no time left to wait, and one
// that is not is not.
func TestTakeWithoutTime(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for range 100 {
		k := loopOf(&Set{Env: &env.Env{}})
		if !k.turn.take(ctx) {
			t.Fatal("the turn was free, and was not taken")
		}
		if k.turn.take(ctx) {
			t.Fatal("the turn was taken twice")
		}
	}
}

// A retry that a group has taken up and not made is made later, and so is one
// that was asked for after a member's round had begun.
func TestRetryOutlivesGroup(t *testing.T) {
	for name, tc := range map[string]struct{ taken, meanwhile, want bool }{
		"not made":            {taken: true, want: true},
		"asked for meanwhile": {meanwhile: true, want: true},
		"none":                {},
	} {
		k := loopOf(&Set{Env: &env.Env{}})
		k.turn.takeNow()
		if tc.taken {
			k.board.Retry()
		}
		m := &member{k: k, retry: k.board.TakeRetry()}
		g := &group{order: []*member{m}}
		if tc.meanwhile {
			k.board.Again()
		}
		g.leave()
		if got := k.board.Retries(); got != tc.want {
			t.Errorf("%s: a retry is due: %v, want %v", name, got, tc.want)
		}
		if !k.turn.takeNow() {
			t.Errorf("%s: the turn was not given back", name)
		}
	}
}

// What was planned in an earlier try, and failed, is planned anew before it counts, and not
// completed as it was then when a definition comes.
func TestNoCompletionOfAnEarlierTry(t *testing.T) {
	s := &Set{Env: &env.Env{}}
	beaten, other := &member{k: loopOf(s), out: true, beaten: true}, &member{k: loopOf(s)}
	g := &group{s: s, order: []*member{beaten, other}}
	g.begin()
	crd := &apiextensionsv1.CustomResourceDefinition{}
	g.written[object.Key{GroupKind: scheme.Definition, Name: "widgets.example.com"}] = written{other, crd}
	if g.complete(t.Context()) {
		t.Error("a plan of an earlier try is completed")
	}
}
