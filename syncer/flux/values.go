package flux

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"headway.dev/syncer/git"
)

// The values of [OnFailure].
const (
	OnFailureNone   = "none"
	OnFailureRevert = "revert"
	OnFailureHold   = "hold"
)

// The values of [GitWrites].
const (
	WritesHeal   = "heal"
	WritesReject = "reject"
	WritesCommit = "commit"
)

const (
	// DefaultProbation leaves time to notice a container that crashes within a
	// minute.
	DefaultProbation = 2 * time.Minute
	maxPatience      = time.Hour
	// verifyEvery is the one value of [Verify].
	verifyEvery = "every-commit"
	// defaultDomain is that of e-mail addresses in commits.
	defaultDomain = "cluster.local"
)

// Commit names a commit by its first digits.
type Commit string

// Names reports whether it names the commit, by at least seven digits.
func (c Commit) Names(sha string) bool { return len(c) >= 7 && strings.HasPrefix(sha, string(c)) }

func anyCommit(text string) (Commit, error) { return Commit(text), nil }

func anyText(text string) (string, error) { return text, nil }

// oneOf reads a mode, which is the first one if it is empty.
func oneOf(known ...string) func(string) (string, error) {
	return func(text string) (string, error) {
		if text == "" {
			return known[0], nil
		}
		if !slices.Contains(known, text) {
			return "", fmt.Errorf("%q is not supported: use one of %s", text, strings.Join(known, ", "))
		}
		return text, nil
	}
}

func count(text string) (*int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return nil, fmt.Errorf("%q is not a number of objects", text)
	}
	return &n, nil
}

func duration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 || d > maxPatience {
		return 0, fmt.Errorf("%q is not a duration from 0s to %s", text, maxPatience)
	}
	return d, nil
}

// list reads what is separated by commas or spaces.
func list(text string) ([]string, error) {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' }), nil
}

func domain(text string) (string, error) { return cmp.Or(git.OneLine(text), defaultDomain), nil }

func everyCommit(text string) (bool, error) {
	if text != verifyEvery {
		return false, fmt.Errorf("%q is not supported: use %s", text, verifyEvery)
	}
	return true, nil
}
