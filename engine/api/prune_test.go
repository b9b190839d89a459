package api_test

import (
	"fmt"
	"strings"
	"testing"

	"headway.dev/engine/api/apitest"
)

// What is no longer among the manifests is pruned by kubectl, over the kinds
// that are named or as an ApplySet. kubectl's own list of kinds has some that
// are not served, which it says.
func TestApplyPrune(t *testing.T) {
	t.Setenv("KUBECTL_APPLYSET", "true")
	const both = `apiVersion: v1
kind: ConfigMap
metadata: {name: kept, labels: {app: web}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: dropped, labels: {app: web}}
`
	kept, _, _ := strings.Cut(both, "---")
	for name, flags := range map[string]string{
		"label":    "apply --prune -l app=web --prune-allowlist=core/v1/ConfigMap --prune-allowlist=apps/v1/Deployment -f -",
		"applyset": "apply -n default --prune --applyset=configmap/set -f -",
	} {
		t.Run(name, func(t *testing.T) {
			s := apitest.Start(t)
			expect(t, s, both, args(flags), "configmap/dropped created")
			expect(t, s, kept, args(flags), "configmap/dropped pruned")
			out, errOut, err := s.Kubectl(t, "", args("get configmaps -l app=web -n default -o name")...)
			if err != nil || strings.TrimSpace(out) != "configmap/kept" {
				t.Errorf("left: %q %s %v", out, errOut, err)
			}
		})
	}
}

// Without a list of kinds, kubectl prunes what it applied before of its own list, all of
// which is served.
func TestApplyPruneWithoutKinds(t *testing.T) {
	s := apitest.Start(t)
	const one = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s, labels: {app: web}}\n"
	flags := args("apply --prune -l app=web -f -")
	expect(t, s, fmt.Sprintf(one, "first"), flags, "configmap/first created")
	expect(t, s, fmt.Sprintf(one, "second"), flags, "configmap/second created", "configmap/first pruned")
	expect(t, s, "", args("get configmaps -l app=web -o name"), "configmap/second")
}
