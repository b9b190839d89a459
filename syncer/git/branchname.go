package git

import (
	"errors"
	"fmt"

	"github.com/go-git/go-git/v5/plumbing"
)

// CheckBranch says whether Git allows the name for a branch.
func CheckBranch(name string) error {
	if name == "" {
		return errors.New("it is empty: give the name of a branch, such as main")
	}
	if err := plumbing.NewBranchReferenceName(name).Validate(); err != nil {
		return fmt.Errorf("no name of a branch in Git: %q", name)
	}
	return nil
}
