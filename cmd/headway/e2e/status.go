package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"k8s.io/apimachinery/pkg/api/meta"
)

type kustomization struct{ kustomizev1.Kustomization }

func (c *Cluster) kustomization(check func(kustomization) error) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	data, err := client.Discovery().RESTClient().Get().AbsPath("/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/headway-system/kustomizations/cluster").DoRaw(context.Background())
	if err != nil {
		return err
	}
	var k kustomization
	if err := json.Unmarshal(data, &k); err != nil {
		return err
	}
	return check(k)
}

// deployed reports whether the commit is applied and healthy.
func (k kustomization) deployed(commit string) error {
	ready := meta.FindStatusCondition(k.Status.Conditions, "Ready")
	if ready == nil {
		return fmt.Errorf("no Ready condition")
	}
	if !strings.HasSuffix(k.Status.LastAppliedRevision, commit) || ready.Status != "True" {
		return fmt.Errorf("applied %s, attempted %s, Ready %s: %s: %s", k.Status.LastAppliedRevision,
			k.Status.LastAttemptedRevision, ready.Status, ready.Reason, ready.Message)
	}
	return nil
}
