package nodeconfig

import (
	"fmt"

	"k8s.io/apimachinery/pkg/util/version"
)

// Skew fails if an agent and a server cannot work together: the releases of Headway that
// they are of may differ by one minor version, in either direction. Builds that are of no
// release, such as "dev", are not judged, nor are servers of before they told their version.
func Skew(server, agent string) error {
	s, errServer := version.ParseSemantic(server)
	a, errAgent := version.ParseSemantic(agent)
	if errServer != nil || errAgent != nil {
		return nil //nolint:nilerr // see above
	}
	older, do := a, "upgrade this agent first"
	switch {
	case s.Major() == a.Major() && s.Minor() <= a.Minor()+1 && a.Minor() <= s.Minor()+1:
		return nil
	case s.LessThan(a):
		older, do = s, "upgrade the server first, or run an older agent here"
	}
	return fmt.Errorf("the server is of version %s and this agent of %s: they may differ by one minor version, and %s is too old: %s", server, agent, older, do)
}
