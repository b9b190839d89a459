package tree_test

import (
	"testing"

	"headway.dev/syncer/internal/gittest"
	"headway.dev/syncer/tree"
)

// What is made of an edited file is found again under the hash that it has once the
// edit is committed; a file that is not edited keeps its own.
func TestEditedHashIsThatOfTheCommit(t *testing.T) {
	bare, work := gittest.Repository(t)
	before := gittest.Push(t, work, "before", map[string]string{"a.yaml": "a: 1\n", "dir/b.yaml": "b: 1\n"})
	after := gittest.Push(t, work, "after", map[string]string{"a.yaml": "a: 2\n"})
	repo := gittest.Open(t, bare)
	at := func(commit string) tree.Tree {
		t.Helper()
		tr, err := repo.Tree(commit, "")
		if err != nil {
			t.Fatal(err)
		}
		return tr
	}
	hash := func(tr tree.Tree, name string) string {
		t.Helper()
		sum, err := tr.Hash(name)
		if err != nil {
			t.Fatal(err)
		}
		return sum
	}
	edited := tree.NewEdited(at(before), map[string][]byte{"a.yaml": []byte("a: 2\n")})
	for _, name := range []string{"a.yaml", "dir", "dir/b.yaml"} {
		if got, want := hash(edited, name), hash(at(after), name); got != want {
			t.Errorf("the hash of %s is %s, and %s once it is committed", name, got, want)
		}
	}
	if hash(edited, ".") == hash(at(before), ".") {
		t.Error("the edited tree has the hash of the one before")
	}
	gone := tree.NewEdited(at(before), map[string][]byte{"a.yaml": nil})
	if sum, err := gone.Hash("a.yaml"); err == nil {
		t.Errorf("a removed file has the hash %s", sum)
	}
}
