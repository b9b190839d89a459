package report

import (
	"strings"
	"testing"
	"time"

	"headway.dev/syncer/wire"
)

// What a person reads of a Deployment whose pods find no room.
func TestPrintWhy(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	const sha = "3c7ab33000000000000000000000000000000000"
	why := wire.Why{
		Group: "apps", Kind: "Deployment", Namespace: "shop", Name: "web", State: wire.WhyWaiting, Message: "Available: 1/8",
		Kustomization: "headway-system/cluster", Revision: "main@sha1:" + sha, Declared: "Deployment/web",
		Commits: map[string]wire.Commit{sha: {SHA: sha, Subject: "Ask for more", Author: wire.Signature{Name: "Ann", Date: now.Add(-3 * time.Minute)}}},
		Reasons: []wire.WhyReason{
			{
				Reason: "Unschedulable", Message: "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint(s).", Count: 7, Pods: []string{"a", "b", "c", "d", "e", "f", "g"},
				Time: now.Add(-2 * time.Minute), Since: sha, Fixes: []string{"needs 200m more CPU on n2"},
				Nodes: []wire.WhyNode{{Node: "n2", Reasons: []string{"Insufficient cpu"}, Fixes: []string{"needs 200m more CPU on n2"}}, {Node: "n10"}},
				Set:   []wire.WhySet{{Path: "spec.template.spec.containers[name=web].resources.requests.cpu", Value: "3", File: "web.yaml", Line: 12, Commit: sha}},
			},
			{Reason: "FailedCreate", Object: "ReplicaSet/web-1", Message: "one\ntwo\x1b[2J", NodesHidden: true},
			{Reason: "Scheduled", Message: "it has been bound to n10", Count: 1, Pods: []string{"h"}, NodesHidden: true},
		},
	}
	var out strings.Builder
	if err := PrintWhy(&out, why, now); err != nil {
		t.Fatal(err)
	}
	at := now.Add(-2 * time.Minute).Local().Format(time.DateTime)
	want := `Deployment/web in shop: Waiting: Available: 1/8
  from Git in Kustomization headway-system/cluster at main@3c7ab33

Unschedulable, 7 pods: a, b, c, d, e and 2 more, since ` + at + ` (2m ago)
  0/2 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint(s).
  NODE   SAYS               NEAREST FIX
  n2     Insufficient cpu   needs 200m more CPU on n2
  n10    fits               
  fix    needs 200m more CPU on n2
  since  3c7ab33 "Ask for more" by Ann, 3m ago
         web.yaml:12 spec.template.spec.containers[name=web].resources.requests.cpu: 3

FailedCreate of ReplicaSet/web-1
  one
  two` + "�[2J" + `
  what each node says is not shown: you may not list nodes

Scheduled, 1 pod: h
  it has been bound to n10
`
	if out.String() != want {
		t.Errorf("it says\n%s\nwant\n%s", &out, want)
	}
}
