package nftables

import (
	"cmp"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/types"
)

// claims are which Service has an element. Two Services may name the same
// external address and port; the first has it, as long as it wants it.
type claims struct {
	elements *tracked[element, string]
	owners   map[element]types.NamespacedName
	rivals   map[element]map[types.NamespacedName]string
}

func newClaims() *claims {
	return &claims{
		elements: newTracked[element, string](), owners: map[element]types.NamespacedName{},
		rivals: map[element]map[types.NamespacedName]string{},
	}
}

func (c *claims) claim(e element, by types.NamespacedName, value string) {
	if owner, taken := c.owners[e]; taken && owner != by {
		if c.rivals[e] == nil {
			c.rivals[e] = map[types.NamespacedName]string{}
		}
		c.rivals[e][by] = value
		return
	}
	c.owners[e] = by
	c.elements.set(e, value)
}

func (c *claims) release(e element, by types.NamespacedName) {
	rivals := c.rivals[e]
	if c.owners[e] != by {
		delete(rivals, by)
	} else if delete(c.owners, e); len(rivals) == 0 {
		c.elements.remove(e)
	} else {
		next := slices.MinFunc(slices.Collect(maps.Keys(rivals)), func(a, b types.NamespacedName) int {
			return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
		})
		value := rivals[next]
		delete(rivals, next)
		c.claim(e, next, value)
	}
	if len(rivals) == 0 {
		delete(c.rivals, e)
	}
}
