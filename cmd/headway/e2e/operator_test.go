package e2e_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"regexp"
	"strings"
	"testing"
	"time"

	"headway.dev/cmd/headway/e2e"
)

// operator is a manager of controller-runtime, whose objects all come from one commit:
// the definition, its rights, webhooks, two replicas that elect a leader, and the first
// resource. Others are made by kubectl. A revert of that commit takes all of it away.
func operator(t *testing.T, c *e2e.Cluster) {
	t.Helper()
	if r := c.Headway("image", "import", e2e.OperatorImage(t)); r.Code != 0 {
		t.Fatalf("image import: exit code %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	certificate, key := servingCertificate(t, "operator.operator.svc")
	c.Clone.Write("operator/operator.yaml", strings.NewReplacer("CERTIFICATE", certificate, "KEY", key).Replace(script(t, "operator", "operator.yaml")))
	c.Clone.Write("operator/site.yaml", script(t, "operator", "site.yaml"))
	c.Clone.Replace("kustomization.yaml", "resources:\n", "resources:\n  - operator/operator.yaml\n  - operator/site.yaml\n")
	added := c.Clone.Push("Add the operator")
	c.Deployed(added)

	sites{t, c, "garden", "flower"}.fromGit()
	o := sites{t, c, "sites", "one"}
	o.kubectl("create", "namespace", "sites")
	o.apply(site("one", "hello"), "site.sites.example.com/one created")
	o.ready("hello")
	o.made()
	o.webhooks()
	o.follows()
	o.leader()
	o.ends()

	// The Site goes first: it waits for the operator to end it.
	c.Clone.Git("revert", "--no-edit", added)
	c.Clone.Git("push", "-q", "origin", "HEAD")
	c.Deployed(c.Clone.Git("rev-parse", "HEAD"))
	c.Eventually(time.Minute, "all of it is gone", func() error {
		if got := regexp.MustCompile(`(?m)^.*(site|operator|garden).*$`).FindAllString(c.Kubectl("get", "crd,ns,clusterrole,clusterrolebinding,mutatingwebhookconfiguration,validatingwebhookconfiguration", "-o", "name"), -1); len(got) != 1 || got[0] != "namespace/sites" {
			return fmt.Errorf("left are %q", got)
		}
		return nil
	})
}

// sites is a Site in a namespace.
type sites struct {
	t               *testing.T
	c               *e2e.Cluster
	namespace, name string
}

// fromGit is the Site that came with the operator. Later commits that edit it are
// judged by the webhooks, and told of what they refuse.
func (o sites) fromGit() {
	o.t.Helper()
	o.ready("from Git")
	contains(o.t, "what the webhook makes of it, once it is there", o.kubectl("get", "site", o.name, "-o", "yaml"), "replicas: 1", `sites.example.com/seen: "true"`)
	o.c.Clone.Replace("operator/site.yaml", "from Git #", "forbidden #")
	bad := o.c.Clone.Push("Say what is forbidden")
	o.c.Eventually(time.Minute, "the webhook refuses the commit", func() error {
		got := o.c.Kubectl("get", "kustomization", "-n", "headway-system", "cluster", "-o", "jsonpath={.status.lastAttemptedRevision} {.status.conditions[?(@.type==\"Ready\")].message}")
		if !strings.Contains(got, bad) || !strings.Contains(got, `admission webhook "rules.sites.example.com" denied the request`) || !strings.Contains(got, "operator/site.yaml:") {
			return errors.New(got)
		}
		return nil
	})
	o.c.Clone.Replace("operator/site.yaml", "forbidden #", "changed in Git #")
	o.c.Deployed(o.c.Clone.Push("Say something else"))
	o.ready("changed in Git")
	contains(o.t, "what the webhook made of it", o.kubectl("get", "site", o.name, "-o", "yaml"), "replicas: 1", `sites.example.com/seen: "true"`)
	o.c.Clone.Git("revert", "--no-edit", "HEAD", bad)
	o.c.Clone.Git("push", "-q", "origin", "HEAD")
	o.c.Deployed(o.c.Clone.Git("rev-parse", "HEAD"))
}

func site(name, text string) string {
	return fmt.Sprintf("apiVersion: sites.example.com/v1\nkind: Site\nmetadata: {name: %s, namespace: sites}\nspec: {text: %s}\n", name, text)
}

func (o sites) kubectl(args ...string) string {
	o.t.Helper()
	return o.c.Kubectl(append([]string{"-n", o.namespace}, args...)...)
}

func (o sites) apply(manifest string, want ...string) {
	o.t.Helper()
	r := o.c.Run(manifest, "kubectl", "apply", "-f", "-")
	contains(o.t, "kubectl apply", r.Stdout+r.Stderr, want...)
}

// ready waits until the operator says so of this generation of the Site, and that has
// the text.
func (o sites) ready(text string) {
	o.t.Helper()
	o.c.Eventually(time.Minute, "the site is ready and says "+text, func() error {
		got := o.kubectl("get", "site", o.name, "-o", "jsonpath={.metadata.generation} {.status.observedGeneration} {.status.conditions[?(@.type==\"Ready\")].status}")
		fields := strings.Fields(got)
		if len(fields) != 3 || fields[0] != fields[1] || fields[2] != "True" {
			return fmt.Errorf("generation, observed, ready: %q", got)
		}
		address := o.kubectl("get", "service", o.name, "-o", "jsonpath={.spec.clusterIP}")
		return answers(o.c, "http://"+address+"/", text)
	})
}

// made is who made what, and for whom.
func (o sites) made() {
	o.t.Helper()
	contains(o.t, "the table", o.kubectl("get", "sites"), "READY   TEXT", "True")
	contains(o.t, "default and mark of the webhook", o.kubectl("get", "site", "one", "-o", "yaml"), "replicas: 1", `sites.example.com/seen: "true"`, "- sites.example.com/record")
	for _, kind := range []string{"deployment", "service"} {
		contains(o.t, "owner and manager of the "+kind, o.kubectl("get", kind, "one", "--show-managed-fields", "-o", "jsonpath={.metadata.ownerReferences[*].kind} {.metadata.ownerReferences[*].controller} {.metadata.managedFields[?(@.operation==\"Apply\")].manager}"),
			"Site true site-operator")
	}
	o.c.Eventually(time.Minute, "the events are there", func() error {
		events := o.kubectl("events", "--for=site/one")
		if !strings.Contains(events, "Available") || !strings.Contains(events, "the site is Available") {
			return errors.New(events)
		}
		return nil
	})
}

// webhooks refuse, warn and protect.
func (o sites) webhooks() {
	o.t.Helper()
	o.apply(site("bad", "forbidden"), "Error from server (Forbidden)", `admission webhook "rules.sites.example.com" denied the request`, "nobody may say that")
	o.apply(site("bad", `""`), "spec.text in body should be at least 1 chars long")
	o.apply(site("long", "abcdefghijklmnopqrstuvwxyz"), "Warning: spec.text is long", "created")
	o.kubectl("annotate", "site", "long", "sites.example.com/protected=yes")
	r := o.c.Run("", "kubectl", "delete", "site", "long", "-n", "sites")
	contains(o.t, "the deletion of what is protected", r.Stderr, "the site is protected")
	o.kubectl("annotate", "site", "long", "sites.example.com/protected-")
	o.kubectl("delete", "site", "long", "--timeout=60s")
}

// follows: what the operator made follows the Site, and comes back.
func (o sites) follows() {
	o.t.Helper()
	o.kubectl("patch", "site", "one", "--type=merge", "-p", `{"spec":{"text":"changed","replicas":2}}`)
	o.ready("changed")
	uid := o.kubectl("get", "deployment", "one", "-o", "jsonpath={.metadata.uid}")
	// kubectl does not wait: it misses the end of what is there again, under another UID,
	// between its look and its watch.
	o.kubectl("delete", "deployment", "one", "--cascade=foreground", "--wait=false")
	o.c.Eventually(time.Minute, "the Deployment is there again", func() error {
		r := o.c.Run("", "kubectl", "get", "deployment", "-n", "sites", "one", "-o", "jsonpath={.metadata.uid}")
		if r.Code != 0 || r.Stdout == uid {
			return errors.New(r.Stdout + r.Stderr)
		}
		return nil
	})
	o.ready("changed")
}

// leader: when the leader goes, the other replica takes over.
func (o sites) leader() {
	o.t.Helper()
	holder := func() string {
		name, _, _ := strings.Cut(o.kubectl("get", "lease", "-n", "operator", "site-operator", "-o", "jsonpath={.spec.holderIdentity}"), "_")
		return name
	}
	before := holder()
	if by := o.kubectl("get", "site", "one", "-o", "jsonpath={.status.by}"); by != before {
		o.t.Errorf("the status is by %q, the leader is %q", by, before)
	}
	o.kubectl("delete", "pod", "-n", "operator", before, "--timeout=60s")
	o.c.Eventually(time.Minute, "another replica leads", func() error {
		if after := holder(); after == before || after == "" {
			return fmt.Errorf("the holder is %q", after)
		}
		return nil
	})
	o.kubectl("patch", "site", "one", "--type=merge", "-p", `{"spec":{"text":"by another"}}`)
	o.ready("by another")
	if by := o.kubectl("get", "site", "one", "-o", "jsonpath={.status.by}"); by == before {
		o.t.Errorf("the status is still by %q", by)
	}
}

// ends: the finalizer does its work, and what the Site owned goes with it.
func (o sites) ends() {
	o.t.Helper()
	o.kubectl("delete", "site", "one", "--timeout=60s")
	if got := o.kubectl("get", "configmap", "ended", "-o", "jsonpath={.data.one}"); got != "by another" {
		o.t.Errorf("the finalizer wrote %q", got)
	}
	o.c.Eventually(time.Minute, "what the Site owned is collected", func() error {
		if got := o.kubectl("get", "deployment,replicaset,pod,service", "-o", "name"); got != "" {
			return errors.New(got)
		}
		return nil
	})
}

// servingCertificate is one that signs itself, in base64.
func servingCertificate(t *testing.T, host string) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	encode := func(kind string, bytes []byte) string {
		return base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: bytes}))
	}
	return encode("CERTIFICATE", der), encode("PRIVATE KEY", pkcs8)
}
