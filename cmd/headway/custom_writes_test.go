package main

import (
	"fmt"
	"strings"
	"testing"

	"headway.dev/cmd/headway/cli"
	"headway.dev/cmd/headway/headwaytest"
)

// lampVersion is one of the two versions of lamps.
const lampVersion = `  - name: %s
    served: true
    storage: %t
    subresources:
      status: {}
      scale: {specReplicasPath: .spec.bulbs, statusReplicasPath: .status.bulbs}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            properties:
              bulbs: {type: integer, maximum: 10}
              color: {type: string, default: white}
              parts:
                type: array
                x-kubernetes-list-type: map
                x-kubernetes-list-map-keys: [name]
                items:
                  type: object
                  required: [name]
                  properties:
                    name: {type: string}
                    value: {type: string}
                    unit: {type: string, default: none}
          status:
            type: object
            x-kubernetes-preserve-unknown-fields: true
            properties:
              bulbs: {type: integer}
`

// lamps defines custom resources with all subresources.
func lamps() string {
	return "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: lamps.example.com}\nspec:\n  group: example.com\n  scope: Namespaced\n" +
		"  names: {plural: lamps, singular: lamp, kind: Lamp}\n  versions:\n" + fmt.Sprintf(lampVersion, "v1", true) + fmt.Sprintf(lampVersion, "v1beta1", false)
}

const lamp = `# The one at the door.
apiVersion: example.com/v1
kind: Lamp
metadata:
  name: one   # not two
  namespace: default
spec:
  bulbs: 2 # for now
  parts:
  # how loud
  - name: level
    value: 'value: info'
`

// Every way in which kubectl writes a custom resource that Git declares becomes a
// commit, as for other kinds, or is only tried. Blame names the lines.
func TestCustomWritesBecomeCommits(t *testing.T) {
	c := newWritesCluster(t, "commit", map[string]string{"crd.yaml": lamps(), "lamp.yaml": lamp, "beta.yaml": "apiVersion: example.com/v1beta1\nkind: Lamp\nmetadata: {name: beta, namespace: default}\nspec: {bulbs: 1} # one\n", "free.yaml": "apiVersion: example.com/v1\nkind: Lamp\nmetadata: {name: free, namespace: default}\n"})
	c.eventually("kubectl finds the lamps", func() bool {
		out, err := c.try("", "", "kubectl", "get", "lamp/one", "lamp/beta", "-o", "name")
		return err == nil && strings.Contains(out, "beta")
	})
	stdin := func(replace ...string) string { return strings.NewReplacer(replace...).Replace(lamp) }
	before := c.head()
	for _, args := range []string{
		"scale lamp/free --replicas=3", "scale lamp/one --replicas=3 --dry-run=server", `patch lamp/one --type=merge -p {"spec":{"bulbs":3}} --dry-run=server`, "delete lamp/one --dry-run=server",
		`patch lamp/one --subresource=status --type=merge -p {"status":{"bulbs":2}}`, "create -f mine.yaml", "label lamp/mine a=b", "delete lamp/mine",
	} {
		c.write(map[string]string{"mine.yaml": strings.Replace(lamp, "name: one ", "name: mine ", 1)})
		if out, err := c.try(c.work, "", "kubectl", strings.Fields(args)...); err != nil {
			t.Errorf("kubectl %s: %v\n%s", args, err, out)
		}
	}
	for args, want := range map[string]string{
		`patch lamp/one --type=merge -p {"spec":{"bulbs":11}}`:                "should be less than or equal to 10",
		`delete --raw /apis/example.com/v1/namespaces/default/lamps`:          "the object is declared in Git, where it can be changed only by a request for it alone",
		`patch lamp/one --type=merge -p {"metadata":{"resourceVersion":"1"}}`: "the object has been modified",
	} {
		if out, err := c.try("", "", "kubectl", strings.Fields(args)...); err == nil || !strings.Contains(out, want) {
			t.Errorf("kubectl %s: %v\n%s\nwant %s", args, err, out, want)
		}
	}
	if got := c.head(); got != before {
		t.Errorf("a commit was made:\n%s", c.changed())
	}
	if got := c.run("", "kubectl", "get", "lamp/free", "-o", "jsonpath={.spec.bulbs}"); got != "3" {
		t.Errorf("free has %s bulbs", got)
	}
	c.become([]writeStep{
		{
			args: []string{"scale", "lamp/one", "--replicas=5"}, want: "lamp.yaml\n-  bulbs: 2 # for now\n+  bulbs: 5 # for now",
			get: "lamp/one {.spec.bulbs}", value: "5",
		},
		{
			args: []string{"edit", "lamp/one"}, want: "lamp.yaml\n-    value: 'value: info'\n+    value: 'value: debug'",
			get: "lamp/one {.spec.parts[0].value}", value: "value: debug",
		},
		{
			args: []string{"patch", "lamp/one", "--type=json", "-p", `[{"op":"replace","path":"/spec/bulbs","value":6}]`}, want: "lamp.yaml\n-  bulbs: 5 # for now\n+  bulbs: 6 # for now",
			get: "lamp/one {.spec.bulbs}", value: "6",
		},
		{
			args: []string{"patch", "lamp/one", "--type=json", "-p", `[{"op":"add","path":"/spec/parts/-","value":{"name":"lens","value":"x"}}]`}, want: "lamp.yaml\n+  - name: lens\n+    value: x",
			get: "lamp/one {.spec.parts[1].unit}", value: "none",
		},
		{
			args: []string{"patch", "lamp/one", "--type=merge", "-p", `{"spec":{"color":"red"}}`}, want: "lamp.yaml\n+  color: red",
			get: "lamp/one {.spec.color}", value: "red",
		},
		{
			args: []string{"apply", "-f", "-"}, stdin: stdin("bulbs: 2", "bulbs: 7", "info", "debug", "    value: 'value", "    value: 'value") + "  - {name: lens, value: x}\n  color: red\n",
			want: "lamp.yaml\n-  bulbs: 6 # for now\n+  bulbs: 7 # for now", get: "lamp/one {.spec.bulbs}", value: "7",
		},
		{
			args: []string{"apply", "--server-side", "--force-conflicts", "-f", "-"}, stdin: stdin("bulbs: 2", "bulbs: 8", "info", "debug"),
			want: "lamp.yaml\n-  bulbs: 7 # for now\n+  bulbs: 8 # for now", get: "lamp/one {.spec.bulbs}", value: "8",
		},
		{
			args: []string{"annotate", "lamp/one", "example.com/note=yes"}, want: "lamp.yaml\n+  annotations:\n+    example.com/note: \"yes\"",
			get: `lamp/one {.metadata.annotations.example\.com/note}`, value: "yes",
		},
		{
			args: []string{"scale", "lamp/beta", "--replicas=4"}, want: "beta.yaml\n-spec: {bulbs: 1} # one\n+spec: {bulbs: 4} # one",
			get: "lamps.v1beta1.example.com/beta {.spec.bulbs}", value: "4",
		},
	})
	if err := c.Engine.WriteKubeconfig(c.Cfg.KubeconfigPath()); err != nil {
		t.Fatal(err)
	}
	code, out, errOut := headway(t, "--data-dir", c.Cfg.DataDir, "blame", "lamp/one", "-n", "default", "--all")
	if code != cli.ExitOK {
		t.Fatalf("blame: %s%s", out, errOut)
	}
	commit := c.run(c.bare, "git", "log", "--format=%h", "--abbrev=7", "-1", "main", "--", "lamp.yaml")
	for line := range strings.SplitSeq(out, "\n") {
		if strings.Contains(line, "annotations") {
			headwaytest.Shows(t, "blame of the annotation", line, "lamp.yaml", commit)
		}
		if strings.Contains(line, "unit") {
			headwaytest.Shows(t, "blame of a default", line, "default")
		}
	}
	headwaytest.Shows(t, "blame", out, "spec.bulbs", "spec.color", "unit", fmt.Sprint(8))
	c.become([]writeStep{
		{args: []string{"delete", "lamp/beta"}, want: "beta.yaml", get: "lamps {.items[?(@.metadata.name=='beta')].metadata.name}"},
	})
}

// In reject mode every write of a field of Git's is refused with its place; what Git does
// not set, and the status, are free.
func TestCustomWritesAreRefused(t *testing.T) {
	c := newWritesCluster(t, "reject", map[string]string{"crd.yaml": lamps(), "lamp.yaml": lamp})
	c.eventually("kubectl finds the lamp", func() bool {
		_, err := c.try("", "", "kubectl", "get", "lamp/one")
		return err == nil
	})
	commit := c.head()[:12]
	c.refuse([][2]string{
		{"scale lamp/one --replicas=5", "spec.bulbs is set by Git in lamp.yaml:8 (commit " + commit + `, "Begin")`},
		{"scale lamp/one --replicas=5 --dry-run=server", "lamp.yaml:8"},
		{`patch lamp/one --type=merge -p {"spec":{"bulbs":3}}`, "spec.bulbs is set by Git in lamp.yaml:8"},
		{`patch lamp/one --type=json -p [{"op":"replace","path":"/spec/parts/0/value","value":"x"}]`, "spec.parts[name=level].value is set by Git in lamp.yaml:12"},
		{"delete lamp/one", "the object is set by Git in lamp.yaml:2"},
		{"delete lamps --all", "the object is set by Git in"},
		{"annotate lamp/one note=mine", "metadata.annotations.note is not in Git"},
	})
	for _, args := range []string{
		"annotate lamp/one note=mine --field-manager=ada", `patch lamp/one --type=merge -p {"spec":{"color":"red"}} --field-manager=ada`,
		`patch lamp/one --subresource=status --type=merge -p {"status":{"bulbs":2}}`,
	} {
		c.run("", "kubectl", strings.Fields(args)...)
	}
}
