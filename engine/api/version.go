package api

import (
	"strings"

	apiversion "k8s.io/apimachinery/pkg/version"
	"k8s.io/component-base/compatibility"
	"k8s.io/component-base/version"
)

// defaultVersion is reported by builds that do not set
// k8s.io/component-base/version.gitVersion: the version of the libraries.
const defaultVersion = "v1.37.2+headway"

// versionInfo is what /version answers. kubectl parses gitVersion, so it has to
// be a semantic version.
func versionInfo(gitVersion string) apiversion.Info {
	info := version.Get()
	if gitVersion != "" {
		info.GitVersion = gitVersion
	}
	if strings.HasPrefix(info.GitVersion, "v0.0.0") {
		info.GitVersion = defaultVersion
	}
	if strings.HasPrefix(info.GitCommit, "$Format") {
		info.GitCommit = ""
	}
	parts := strings.SplitN(strings.TrimPrefix(info.GitVersion, "v"), ".", 3)
	if len(parts) >= 2 {
		info.Major, info.Minor = parts[0], parts[1]
	}
	return info
}

// effectiveVersion reports info as the server's version.
type effectiveVersion struct {
	compatibility.EffectiveVersion
	info apiversion.Info
}

// Info implements compatibility.EffectiveVersion.
func (v effectiveVersion) Info() *apiversion.Info { return &v.info }
