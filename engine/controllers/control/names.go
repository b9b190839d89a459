package control

import (
	"strings"

	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apimachinery/pkg/util/validation"
)

const (
	// randomLength is that of what generated names end in.
	randomLength = 5
	// MaxBase is what a generated name leaves for what it begins with.
	MaxBase = validation.DNS1123LabelMaxLength - randomLength
)

// Generated is a name that nothing has yet, beginning with an owner's, as API servers
// generate them.
func Generated(owner string) string {
	// What is cut off may leave a dot at the end, which a hyphen could not follow.
	if len(owner) >= MaxBase {
		return owner[:MaxBase] + rand.String(randomLength)
	}
	return owner + "-" + rand.String(randomLength)
}

// Ending is an owner's name, as far as most characters leave room for the end, with that:
// a valid name, if the end begins with a hyphen.
func Ending(owner, end string, most int) string {
	if room := most - len(end); len(owner) > room {
		// No dot comes before a hyphen.
		owner = strings.TrimRight(owner[:room], ".-")
	}
	return owner + end
}
