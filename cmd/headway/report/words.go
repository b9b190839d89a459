package report

import (
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/duration"

	"headway.dev/syncer/wire"
)

// commitLine is one commit as a person reads it.
func commitLine(c *wire.Commit, now time.Time) string {
	return fmt.Sprintf("%s %q by %s, %s ago", ShortSHA(c.SHA), c.Subject, c.Author.Name, age(c.Author.Date, now))
}

// ObjectName returns the name of an object as people read it.
func ObjectName(kind, namespace, name string) string {
	if namespace == "" {
		return kind + "/" + name
	}
	return fmt.Sprintf("%s/%s in %s", kind, name, namespace)
}

// CountObjects counts objects in words.
func CountObjects(n int) string {
	if n == 1 {
		return "1 object"
	}
	return fmt.Sprintf("%d objects", n)
}

// ShortSHA shortens the hash of a commit, as git log does.
func ShortSHA(sha string) string { return sha[:min(7, len(sha))] }

// ShortRevision shortens the hash in Flux's branch@sha1:hash.
func ShortRevision(revision string) string {
	if branch, sha, ok := strings.Cut(revision, "@sha1:"); ok {
		return branch + "@" + ShortSHA(sha)
	}
	return revision
}

func age(t, now time.Time) string { return duration.HumanDuration(now.Sub(t)) }

func since(t, now time.Time) string {
	if t.IsZero() {
		return "the start"
	}
	return fmt.Sprintf("%s (%s ago)", t.Local().Format(time.DateTime), age(t, now))
}

func until(t, now time.Time) string {
	if !t.After(now) {
		return "now"
	}
	return fmt.Sprintf("in %s (%s)", duration.HumanDuration(t.Sub(now)), t.Local().Format(time.DateTime))
}

// someNames names the first pods and counts the rest.
func someNames(names []string) string {
	const most = 5
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// Count counts things in words.
func Count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
