package api_test

import (
	"strings"
	"testing"

	"headway.dev/engine/api/apitest"
)

const (
	rootPod        = `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"NAME"},"spec":{"containers":[{"name":"c","image":"i"}]}}`
	rootDeployment = `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"NAME"},"spec":{"selector":{"matchLabels":{"a":"b"}},
		"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i"}]}}}}`
	violatesRestricted = `violate PodSecurity "restricted:latest": allowPrivilegeEscalation != false (container "c" must set securityContext.allowPrivilegeEscalation=false), ` +
		`unrestricted capabilities (container "c" must set securityContext.capabilities.drop=["ALL"]), ` +
		`runAsNonRoot != true (pod or container "c" must set securityContext.runAsNonRoot=true), ` +
		`seccompProfile (pod or container "c" must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")`
)

// The documented modes: enforce refuses pods, warn warns of pods and of what
// makes pods, audit does neither; with a dry run as without.
func TestPodSecurityModes(t *testing.T) {
	s := apitest.Start(t)
	for mode, want := range map[string]struct{ pod, deployment string }{
		"enforce": {pod: `Error from server (Forbidden): error when creating "STDIN": pods "p" is forbidden: ` + strings.Replace(violatesRestricted, "violate", "violates", 1)},
		"warn":    {pod: "Warning: would " + violatesRestricted, deployment: "Warning: would " + violatesRestricted},
		"audit":   {},
	} {
		kubectl(t, s, "", "create", "namespace", mode)
		kubectl(t, s, "", "label", "namespace", mode, "pod-security.kubernetes.io/"+mode+"=restricted")
		if mode == "enforce" {
			// Without it, the enforced level is warned of, too.
			kubectl(t, s, "", "label", "namespace", mode, "pod-security.kubernetes.io/warn=privileged")
		}
		for _, dry := range []string{"server", "none"} {
			for manifest, text := range map[string]string{strings.ReplaceAll(rootPod, "NAME", "p"): want.pod, strings.ReplaceAll(rootDeployment, "NAME", "d"): want.deployment} {
				_, stderr, err := s.Kubectl(t, manifest, "create", "--dry-run="+dry, "-n", mode, "-f", "-")
				if refused := mode == "enforce" && text != ""; (err != nil) != refused || strings.TrimSpace(stderr) != text {
					t.Errorf("%s, dry run %s: %v\n%q\nwant\n%q", mode, dry, err, stderr, text)
				}
			}
		}
	}
}

// Who raises the level of a namespace is told which of its pods violate it; a
// version that there is not is refused.
func TestPodSecurityOfNamespaces(t *testing.T) {
	s := apitest.Start(t)
	kubectl(t, s, "", "create", "namespace", "team")
	for _, name := range []string{"b", "a"} {
		kubectl(t, s, strings.ReplaceAll(rootPod, "NAME", name), "create", "-n", "team", "-f", "-")
	}
	_, stderr, err := s.Kubectl(t, "", "label", "namespace", "team", "pod-security.kubernetes.io/enforce=restricted")
	const want = "Warning: existing pods in namespace \"team\" violate the new PodSecurity enforce level \"restricted:latest\"\n" +
		"Warning: a (and 1 other pod): allowPrivilegeEscalation != false, unrestricted capabilities, runAsNonRoot != true, seccompProfile\n"
	if err != nil || stderr != want {
		t.Errorf("label: %v\n%s\nwant\n%s", err, stderr, want)
	}
	refuse(t, s, "", []string{"label", "namespace", "team", "pod-security.kubernetes.io/warn-version=1.2"},
		`metadata.labels[pod-security.kubernetes.io/warn-version]: Invalid value: "1.2"`)
	// The pods that are there stay, and may be changed in what PodSecurity does not mind.
	kubectl(t, s, "", "label", "pod", "-n", "team", "a", "tier=web")
	refuse(t, s, "", []string{"set", "image", "-n", "team", "pod/a", "c=other"}, `pods "a" is forbidden: `+strings.Replace(violatesRestricted, "violate", "violates", 1))
	// A version is the one of its time: of 1.8 there is less to be said.
	kubectl(t, s, "", "label", "namespace", "team", "pod-security.kubernetes.io/enforce=privileged", "pod-security.kubernetes.io/warn=restricted", "pod-security.kubernetes.io/warn-version=v1.8", "--overwrite")
	_, stderr, err = s.Kubectl(t, strings.ReplaceAll(rootPod, "NAME", "old"), "create", "-n", "team", "-f", "-")
	if err != nil || !strings.Contains(stderr, `would violate PodSecurity "restricted:v1.8": allowPrivilegeEscalation`) || strings.Contains(stderr, "seccompProfile") {
		t.Errorf("warned of 1.8: %v\n%s", err, stderr)
	}
}
