package content_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"headway.dev/manifests/yaml/load"
	"headway.dev/syncer/plan"
	"headway.dev/syncer/preview/content"
	"headway.dev/syncer/wire"
)

// all are objects in which types have parts that nobody has to write.
const all = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: main, image: web:1, securityContext: {}}]
      volumes: [{name: tmp, emptyDir: {}}]
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: tick}
spec:
  schedule: "* * * * *"
  jobTemplate:
    spec:
      template:
        spec: {restartPolicy: Never, containers: [{name: main, image: web:1}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  selector: {matchLabels: {app: db}}
  serviceName: db
  template: {metadata: {labels: {app: db}}, spec: {containers: [{name: main, image: db:1}]}}
  volumeClaimTemplates: [{metadata: {name: data}, spec: {accessModes: [ReadWriteOnce]}}]
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: log}
spec:
  selector: {matchLabels: {app: log}}
  template: {metadata: {labels: {app: log}}, spec: {containers: [{name: main, image: log:1}]}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny}
spec: {podSelector: {}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: open}
spec: {podSelector: {matchLabels: {app: web}}, ingress: [{}], policyTypes: [Ingress, Egress]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {ports: [{port: 80}, {port: 81, name: b, targetPort: web}], selector: {app: web}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web}
spec: {maxReplicas: 3, scaleTargetRef: {kind: Deployment, name: web}}
---
apiVersion: v1
kind: Pod
metadata: {name: one}
spec: {containers: [{name: main, image: web:1, env: [{name: A, valueFrom: {resourceFieldRef: {resource: limits.cpu}}}]}], securityContext: {}}
`

// TestNothingUnsaid: of new objects a plan shows what their files say, and nothing that is
// there because Go's types have it.
func TestNothingUnsaid(t *testing.T) {
	items, err := load.Bytes("all.yaml", []byte(all))
	if err != nil {
		t.Fatal(err)
	}
	var actions []wire.Action
	for _, it := range items {
		key, err := plan.KeyOf(it.Object)
		if err != nil {
			t.Fatal(err)
		}
		actions = append(actions, wire.Action{Action: string(plan.Create), Group: key.Group, Kind: key.Kind, Namespace: key.Namespace, Name: key.Name})
	}
	content.Describe(actions, nil, nil, content.Declared(items))
	for i, written := range strings.Split(all, "---\n") {
		var want map[string]any
		if err := yaml.Unmarshal([]byte(written), &want); err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(actions[i].Object)
		if err != nil {
			t.Fatal(err)
		}
		var got map[string]any
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", actions[i].Kind, d)
		}
	}
}
