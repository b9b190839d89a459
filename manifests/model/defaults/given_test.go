package defaults_test

import "maps"

// allCases are those of every kind.
func allCases() map[string]struct{ in, want string } {
	all := maps.Clone(cases)
	maps.Copy(all, given)
	return all
}

// given are cases in which all is given that has a default, and some more.
var given = map[string]struct{ in, want string }{
	"network policy, filled in": {
		in:   `{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: np}, spec: {podSelector: {}, ingress: [{ports: [{port: 80}]}], egress: [{ports: [{port: 53, protocol: UDP}, {}]}]}}`,
		want: `{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: np}, spec: {podSelector: {}, ingress: [{ports: [{port: 80, protocol: TCP}]}], egress: [{ports: [{port: 53, protocol: UDP}, {protocol: TCP}]}], policyTypes: [Ingress, Egress]}}`,
	},
	"network policy, ingress only": {
		in:   `{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: np}, spec: {podSelector: {}}}`,
		want: `{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: np}, spec: {podSelector: {}, policyTypes: [Ingress]}}`,
	},
	"ingress class": {
		in:   `{apiVersion: networking.k8s.io/v1, kind: IngressClass, metadata: {name: i}, spec: {controller: example.com/proxy, parameters: {kind: Settings, name: s}}}`,
		want: `{apiVersion: networking.k8s.io/v1, kind: IngressClass, metadata: {name: i}, spec: {controller: example.com/proxy, parameters: {kind: Settings, name: s, scope: Cluster}}}`,
	},
	"resource quota, own values": {in: `{apiVersion: v1, kind: ResourceQuota, metadata: {name: q}, spec: {hard: {cpu: 1m, pods: "1"}}}`},
	"claim, own values": {
		in: `{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: c}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}, volumeMode: Block}, status: {phase: Bound}}`,
	},
	"volume, own values": {
		in: `{apiVersion: v1, kind: PersistentVolume, metadata: {name: v}, spec: {accessModes: [ReadWriteOnce], capacity: {storage: 1Gi}, hostPath: {path: /srv, type: Directory}, persistentVolumeReclaimPolicy: Delete, volumeMode: Block}, status: {phase: Bound}}`,
	},
	"storage class, own values": {
		in: `{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: s}, provisioner: example.com/disks, reclaimPolicy: Retain, volumeBindingMode: WaitForFirstConsumer}`,
	},
	"volume attachment": {
		in: `{apiVersion: storage.k8s.io/v1, kind: VolumeAttachment, metadata: {name: a}, spec: {attacher: csi.example.com, nodeName: n1, source: {persistentVolumeName: disk}}, status: {attached: false}}`,
	},
	"ingress class, own values": {
		in: `{apiVersion: networking.k8s.io/v1, kind: IngressClass, metadata: {name: i}, spec: {controller: example.com/proxy, parameters: {kind: Settings, name: s, scope: Namespace, namespace: shop}}}`,
	},
	"ingress": {
		in: `{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: i}, spec: {rules: [{http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: s, port: {number: 80}}}}]}}]}, status: {loadBalancer: {}}}`,
	},
	"runtime class, own values": {
		in: `{apiVersion: node.k8s.io/v1, kind: RuntimeClass, metadata: {name: r}, handler: kata, overhead: {podFixed: {cpu: 1m}}, scheduling: {nodeSelector: {a: b}, tolerations: [{key: a, operator: Exists}]}}`,
	},
	"priority class, own values": {in: `{apiVersion: scheduling.k8s.io/v1, kind: PriorityClass, metadata: {name: high}, value: 7, preemptionPolicy: Never}`},
	"limit range, fractions": {
		in:   `{apiVersion: v1, kind: LimitRange, metadata: {name: l}, spec: {limits: [{type: Pod, max: {cpu: 100.5m}, min: {cpu: 10.5m}, maxLimitRequestRatio: {cpu: 1.0001}}]}}`,
		want: `{apiVersion: v1, kind: LimitRange, metadata: {name: l}, spec: {limits: [{type: Pod, max: {cpu: 101m}, min: {cpu: 11m}, maxLimitRequestRatio: {cpu: 1001m}}]}}`,
	},
	"limit range, own values": {
		in: `{apiVersion: v1, kind: LimitRange, metadata: {name: l}, spec: {limits: [{type: Container, max: {cpu: "2"}, min: {cpu: 1m}, default: {cpu: "1"}, defaultRequest: {cpu: 500m}}]}}`,
	},
	"deployment, own values": {
		in: `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  revisionHistoryLimit: 1
  progressDeadlineSeconds: 5
  strategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      dnsPolicy: Default
      restartPolicy: Always
      schedulerName: mine
      securityContext: {runAsUser: 1}
      serviceAccount: web
      serviceAccountName: web
      terminationGracePeriodSeconds: 1
      containers:
      - name: web
        image: web:1
        imagePullPolicy: Never
        ports: [{containerPort: 80, protocol: UDP}]
        env: [{name: IP, valueFrom: {fieldRef: {apiVersion: v2, fieldPath: status.podIP}}}]
        resources: {limits: {cpu: 101m}}
        terminationMessagePath: /x
        terminationMessagePolicy: FallbackToLogsOnError
        readinessProbe: {failureThreshold: 1, periodSeconds: 1, successThreshold: 2, timeoutSeconds: 2, httpGet: {path: /x, port: 80, scheme: HTTPS}}
        livenessProbe: {failureThreshold: 1, periodSeconds: 1, successThreshold: 1, timeoutSeconds: 2, grpc: {port: 80, service: x}}
        lifecycle: {preStop: {httpGet: {path: /x, port: 80, scheme: HTTPS}}}
`,
	},
	"replica set, own values": {
		in: `
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: v}
status: {replicas: 0}
spec:
  replicas: 0
  template:
    metadata: {}
    spec:
      dnsPolicy: Default
      restartPolicy: Always
      schedulerName: mine
      securityContext: {runAsUser: 1}
      terminationGracePeriodSeconds: 1
      volumes:
      - {name: none, emptyDir: {medium: Memory}}
      - {name: host, hostPath: {path: /x, type: Directory}}
      - {name: secret, secret: {secretName: s, defaultMode: 256}}
      - {name: down, downwardAPI: {defaultMode: 256, items: [{path: a, fieldRef: {apiVersion: v2, fieldPath: metadata.name}}]}}
      - {name: all, projected: {defaultMode: 256, sources: [{serviceAccountToken: {path: t, expirationSeconds: 600}}]}}
      - {name: image, image: {reference: "i:1", pullPolicy: Never}}
`,
	},
	"cron job, own values": {
		in: `
apiVersion: batch/v1
kind: CronJob
metadata: {name: tick}
spec:
  schedule: "@daily"
  concurrencyPolicy: Forbid
  suspend: true
  successfulJobsHistoryLimit: 0
  failedJobsHistoryLimit: 0
  jobTemplate:
    metadata: {}
    spec:
      podFailurePolicy: {rules: [{action: Ignore, onPodConditions: [{type: DisruptionTarget, status: "False"}]}]}
      template:
        metadata: {}
        spec: {dnsPolicy: Default, restartPolicy: Never, schedulerName: mine, securityContext: {runAsUser: 1}, terminationGracePeriodSeconds: 1}
`,
	},
	"job, own values": {
		in: `
apiVersion: batch/v1
kind: Job
metadata: {name: pi, labels: {own: label}}
spec:
  parallelism: 2
  completions: 3
  backoffLimit: 1
  backoffLimitPerIndex: 1
  completionMode: Indexed
  suspend: true
  manualSelector: true
  podReplacementPolicy: Failed
  podFailurePolicy: {rules: [{action: Ignore, onPodConditions: [{type: DisruptionTarget, status: "False"}]}]}
  template:
    metadata: {labels: {app: pi}}
    spec: {dnsPolicy: Default, restartPolicy: Never, schedulerName: mine, securityContext: {runAsUser: 1}, terminationGracePeriodSeconds: 1}
`,
	},
	"replication controller, own values": {
		in: `
apiVersion: v1
kind: ReplicationController
metadata: {name: v, labels: {a: b}}
status: {replicas: 0}
spec:
  replicas: 0
  selector: {c: d}
  template:
    metadata: {labels: {e: f}}
    spec: {dnsPolicy: Default, restartPolicy: Never, schedulerName: mine, securityContext: {runAsUser: 1}, terminationGracePeriodSeconds: 1}
`,
	},
	"controller revision": {
		in: `{apiVersion: apps/v1, kind: ControllerRevision, metadata: {name: web-1}, data: {spec: {template: {$patch: replace}}}, revision: 2}`,
	},
	"daemon set, own values": {
		in: `
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: web}
status: {currentNumberScheduled: 0, numberMisscheduled: 0, desiredNumberScheduled: 0, numberReady: 0}
spec:
  revisionHistoryLimit: 0
  minReadySeconds: 3
  selector: {matchLabels: {e: f}}
  updateStrategy: {type: OnDelete}
  template:
    metadata: {labels: {e: f}}
    spec: {containers: null, dnsPolicy: Default, restartPolicy: Never, schedulerName: mine, securityContext: {runAsUser: 1}, terminationGracePeriodSeconds: 1}
`,
	},
	"daemon set, surging": {
		in: `
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: web}
status: {currentNumberScheduled: 0, numberMisscheduled: 0, desiredNumberScheduled: 0, numberReady: 0}
spec:
  revisionHistoryLimit: 1
  selector: {matchLabels: {e: f}}
  updateStrategy: {type: RollingUpdate, rollingUpdate: {maxUnavailable: 0, maxSurge: 10%}}
  template:
    metadata: {labels: {e: f}}
    spec: {containers: null, dnsPolicy: Default, restartPolicy: Always, schedulerName: mine, securityContext: {}, terminationGracePeriodSeconds: 1}
`,
	},
	"stateful set, own values": {
		in: `
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: web}
status: {replicas: 0, availableReplicas: 0}
spec:
  replicas: 0
  revisionHistoryLimit: 0
  minReadySeconds: 3
  serviceName: web
  podManagementPolicy: Parallel
  ordinals: {start: 3}
  persistentVolumeClaimRetentionPolicy: {whenDeleted: Delete, whenScaled: Delete}
  selector: {matchLabels: {e: f}}
  updateStrategy: {type: RollingUpdate, rollingUpdate: {partition: 2, maxUnavailable: 10%}}
  template:
    metadata: {labels: {e: f}}
    spec: {containers: null, dnsPolicy: Default, restartPolicy: Never, schedulerName: mine, securityContext: {runAsUser: 1}, terminationGracePeriodSeconds: 1}
`,
	},
	"autoscaler, own values": {
		in: `
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}
  minReplicas: 2
  maxReplicas: 5
  metrics: [{type: Resource, resource: {name: memory, target: {type: AverageValue, averageValue: 1Gi}}}]
  behavior:
    scaleUp: {stabilizationWindowSeconds: 5, selectPolicy: Min, policies: [{type: Pods, value: 1, periodSeconds: 60}], tolerance: "0"}
    scaleDown: {stabilizationWindowSeconds: 5, selectPolicy: Disabled, policies: [{type: Pods, value: 1, periodSeconds: 60}]}
status: {currentMetrics: null, desiredReplicas: 0}
`,
	},
	"network policy": {
		in: `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Egress]
  ingress: [{from: [{podSelector: {}}], ports: [{port: 53, protocol: UDP}]}]
  egress: [{ports: [{port: 80, endPort: 90, protocol: SCTP}]}]
`,
	},
	"disruption budget": {
		in: `
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web}
spec: {minAvailable: 50%, unhealthyPodEvictionPolicy: AlwaysAllow, selector: {matchLabels: {app: web}}}
status: {disruptionsAllowed: 0, currentHealthy: 0, desiredHealthy: 0, expectedPods: 0}
`,
	},
	"pod template, own values": {
		in: `
apiVersion: v1
kind: PodTemplate
metadata: {name: web}
template:
  metadata: {labels: {a: b}}
  spec:
    dnsPolicy: Default
    restartPolicy: Never
    schedulerName: mine
    securityContext: {runAsUser: 1}
    terminationGracePeriodSeconds: 1
    containers: [{name: web, image: "web:1", imagePullPolicy: Never, resources: {}, terminationMessagePath: /x, terminationMessagePolicy: FallbackToLogsOnError}]
`,
	},
	"pod, everything given": {
		in: `
apiVersion: v1
kind: Pod
metadata: {name: p}
status: {phase: Running}
spec:
  dnsPolicy: Default
  enableServiceLinks: false
  restartPolicy: Never
  schedulerName: mine
  securityContext: {runAsUser: 1}
  terminationGracePeriodSeconds: 0
  containers:
  - {name: a, image: "a:1", imagePullPolicy: Never, resources: {limits: {cpu: "1"}, requests: {cpu: 500m}}, terminationMessagePath: /x, terminationMessagePolicy: FallbackToLogsOnError}
`,
	},
	"service, own values": {
		in: `
apiVersion: v1
kind: Service
metadata: {name: s}
spec:
  type: NodePort
  clusterIP: 10.0.0.1
  clusterIPs: [10.0.0.1]
  externalTrafficPolicy: Local
  sessionAffinity: ClientIP
  sessionAffinityConfig: {clientIP: {timeoutSeconds: 5}}
  internalTrafficPolicy: Local
  ipFamilies: [IPv4]
  ipFamilyPolicy: PreferDualStack
  ports: [{port: 80, protocol: UDP, targetPort: 8080}]
`,
	},
	"service, timeout without an affinity": {
		in:   `{apiVersion: v1, kind: Service, metadata: {name: s}, spec: {type: ExternalName, externalName: a.example, sessionAffinityConfig: {clientIP: {timeoutSeconds: 5}}}}`,
		want: `{apiVersion: v1, kind: Service, metadata: {name: s}, spec: {type: ExternalName, externalName: a.example, sessionAffinity: None}}`,
	},
	"secret, own values":        {in: `{apiVersion: v1, kind: Secret, metadata: {name: s}, type: example.com/x, data: {a: b2xk}}`},
	"lease, own values":         {in: `{apiVersion: coordination.k8s.io/v1, kind: Lease, metadata: {name: c}, spec: {holderIdentity: a, leaseDurationSeconds: 1}}`},
	"namespace, own values":     {in: `{apiVersion: v1, kind: Namespace, metadata: {name: x, labels: {kubernetes.io/metadata.name: x}}, spec: {finalizers: [kubernetes]}, status: {phase: Terminating}}`},
	"node, own values":          {in: `{apiVersion: v1, kind: Node, metadata: {name: x}, spec: {unschedulable: true}, status: {capacity: {cpu: "2"}, allocatable: {cpu: "1"}, daemonEndpoints: {kubeletEndpoint: {Port: 1}}, nodeInfo: {machineID: a, systemUUID: a, bootID: a, kernelVersion: a, osImage: a, containerRuntimeVersion: a, kubeletVersion: a, kubeProxyVersion: a, operatingSystem: a, architecture: a}}}`},
	"endpoints, own values":     {in: `{apiVersion: v1, kind: Endpoints, metadata: {name: e}, subsets: [{addresses: [{ip: 10.0.0.1}], ports: [{port: 80, protocol: UDP}]}]}`},
	"endpointslice, own values": {in: `{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: e}, addressType: IPv4, endpoints: [], ports: [{name: a, port: 80, protocol: UDP}]}`},
	"service account":           {in: `{apiVersion: v1, kind: ServiceAccount, metadata: {name: a}}`},
	"event":                     {in: `{apiVersion: v1, kind: Event, metadata: {name: a}, involvedObject: {kind: Pod}, source: {component: x}, reportingComponent: "", reportingInstance: ""}`},
	"event, of the other group": {in: `{apiVersion: events.k8s.io/v1, kind: Event, metadata: {name: a}, regarding: {kind: Pod}, deprecatedSource: {component: x}}`},
	"role":                      {in: `{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: a}, rules: [{verbs: [get], apiGroups: [""], resources: [pods]}]}`},
	"cluster role":              {in: `{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: a}, rules: [{verbs: [get], nonResourceURLs: [/x]}]}`},
	"role binding": {
		in:   `{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: a}, roleRef: {kind: Role, name: r}, subjects: [{kind: User, name: u}, {kind: Group, name: g}, {kind: ServiceAccount, name: a}]}`,
		want: `{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: a}, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: r}, subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: u}, {apiGroup: rbac.authorization.k8s.io, kind: Group, name: g}, {kind: ServiceAccount, name: a}]}`,
	},
	"role binding, own values": {in: `{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: a}, roleRef: {apiGroup: x, kind: Role, name: r}, subjects: [{apiGroup: x, kind: User, name: u}]}`},
	"cluster role binding": {
		in:   `{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: a}, roleRef: {kind: ClusterRole, name: r}, subjects: [{kind: User, name: u}]}`,
		want: `{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: a}, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: r}, subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: u}]}`,
	},
	"cluster role binding, own values": {in: `{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: a}, roleRef: {apiGroup: x, kind: ClusterRole, name: r}, subjects: [{apiGroup: x, kind: Group, name: u}]}`},
	"migration":                        {in: `{apiVersion: storagemigration.k8s.io/v1, kind: StorageVersionMigration, metadata: {name: m}, spec: {resource: {group: apps, resource: deployments}}}`},
	"signing request":                  {in: `{apiVersion: certificates.k8s.io/v1, kind: CertificateSigningRequest, metadata: {name: a}, spec: {request: b2xk, signerName: example.com/a, usages: [client auth]}}`},
	"flow schema": {
		in:   `{apiVersion: flowcontrol.apiserver.k8s.io/v1, kind: FlowSchema, metadata: {name: a}, spec: {priorityLevelConfiguration: {name: l}}}`,
		want: `{apiVersion: flowcontrol.apiserver.k8s.io/v1, kind: FlowSchema, metadata: {name: a}, spec: {matchingPrecedence: 1000, priorityLevelConfiguration: {name: l}}}`,
	},
	"flow schema, own values": {in: `{apiVersion: flowcontrol.apiserver.k8s.io/v1, kind: FlowSchema, metadata: {name: a}, spec: {matchingPrecedence: 7, priorityLevelConfiguration: {name: l}}}`},
	"priority level": {
		in:   `{apiVersion: flowcontrol.apiserver.k8s.io/v1, kind: PriorityLevelConfiguration, metadata: {name: a}, spec: {type: Limited, limited: {limitResponse: {type: Queue, queuing: {}}}}}`,
		want: `{apiVersion: flowcontrol.apiserver.k8s.io/v1, kind: PriorityLevelConfiguration, metadata: {name: a}, spec: {type: Limited, limited: {nominalConcurrencyShares: 30, lendablePercent: 0, limitResponse: {type: Queue, queuing: {queues: 64, handSize: 8, queueLengthLimit: 50}}}}}`,
	},
	"priority level, exempt": {
		in:   `{apiVersion: flowcontrol.apiserver.k8s.io/v1, kind: PriorityLevelConfiguration, metadata: {name: exempt}, spec: {type: Exempt, exempt: {}}}`,
		want: `{apiVersion: flowcontrol.apiserver.k8s.io/v1, kind: PriorityLevelConfiguration, metadata: {name: exempt}, spec: {type: Exempt, exempt: {nominalConcurrencyShares: 0, lendablePercent: 0}}}`,
	},
	"priority level, own values": {in: `{apiVersion: flowcontrol.apiserver.k8s.io/v1, kind: PriorityLevelConfiguration, metadata: {name: a}, spec: {type: Limited, limited: {nominalConcurrencyShares: 0, lendablePercent: 9, limitResponse: {type: Queue, queuing: {queues: 1, handSize: 1, queueLengthLimit: 1}}}}}`},
	"git repository, own values": {in: `{apiVersion: source.toolkit.fluxcd.io/v1, kind: GitRepository, metadata: {name: g}, spec: {url: "https://x.example/y", interval: 1m0s, timeout: 5s, verify: {mode: Tag, secretRef: {name: k}}}}`},
	"definition": {
		in: `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec: {group: example.com, scope: Namespaced, names: {plural: widgets, kind: Widget}, versions: [{name: v1, served: true, storage: true}]}
status: {conditions: [], acceptedNames: {plural: widgets, kind: Widget}, storedVersions: [v1]}
`,
		want: `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec: {group: example.com, scope: Namespaced, conversion: {strategy: None}, names: {plural: widgets, singular: widget, kind: Widget, listKind: WidgetList}, versions: [{name: v1, served: true, storage: true}]}
status: {conditions: [], acceptedNames: {plural: widgets, kind: Widget}, storedVersions: [v1]}
`,
	},
	"definition, own values": {
		in: `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec: {group: example.com, scope: Namespaced, conversion: {strategy: Webhook, webhook: {conversionReviewVersions: [v1], clientConfig: {service: {namespace: a, name: b, port: 8443}}}}, names: {plural: widgets, singular: one, kind: Widget, listKind: Widgets}, versions: [{name: v1, served: true, storage: true}]}
status: {conditions: [], acceptedNames: {plural: widgets, kind: Widget}, storedVersions: [v1]}
`,
	},
	"webhooks, own values": {
		in: `
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: w}
webhooks:
- name: a.b.example
  clientConfig: {service: {namespace: shop, name: s, port: 8443}}
  rules: [{operations: [CREATE], apiGroups: [""], apiVersions: [v1], resources: [pods], scope: Namespaced}]
  failurePolicy: Ignore
  matchPolicy: Exact
  namespaceSelector: {matchLabels: {a: b}}
  objectSelector: {matchLabels: {a: b}}
  sideEffects: None
  timeoutSeconds: 1
  admissionReviewVersions: [v1]
`,
	},
	"mutating webhooks, own values":  {in: `{apiVersion: admissionregistration.k8s.io/v1, kind: MutatingWebhookConfiguration, metadata: {name: w}, webhooks: [{name: a, clientConfig: {url: "https://x"}, sideEffects: None, admissionReviewVersions: [v1], failurePolicy: Ignore, matchPolicy: Exact, namespaceSelector: {matchLabels: {a: b}}, objectSelector: {matchLabels: {a: b}}, timeoutSeconds: 1, reinvocationPolicy: IfNeeded}]}`},
	"validating policy, own values":  {in: `{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingAdmissionPolicy, metadata: {name: p}, spec: {failurePolicy: Ignore, matchConstraints: {matchPolicy: Exact, namespaceSelector: {matchLabels: {a: b}}, objectSelector: {matchLabels: {a: b}}, resourceRules: [{resources: [pods], scope: Cluster}]}}}`},
	"validating binding, own values": {in: `{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingAdmissionPolicyBinding, metadata: {name: p}, spec: {policyName: p, paramRef: {name: a, parameterNotFoundAction: Allow}, matchResources: {matchPolicy: Exact, namespaceSelector: {matchLabels: {a: b}}, objectSelector: {matchLabels: {a: b}}}}}`},
	"mutating policy, own values":    {in: `{apiVersion: admissionregistration.k8s.io/v1, kind: MutatingAdmissionPolicy, metadata: {name: p}, spec: {failurePolicy: Ignore, reinvocationPolicy: IfNeeded, matchConstraints: {matchPolicy: Exact, namespaceSelector: {matchLabels: {a: b}}, objectSelector: {matchLabels: {a: b}}}}}`},
	"mutating binding, filled": {
		in:   `{apiVersion: admissionregistration.k8s.io/v1, kind: MutatingAdmissionPolicyBinding, metadata: {name: p}, spec: {policyName: p, matchResources: {resourceRules: [{resources: [pods]}]}}}`,
		want: `{apiVersion: admissionregistration.k8s.io/v1, kind: MutatingAdmissionPolicyBinding, metadata: {name: p}, spec: {policyName: p, matchResources: {matchPolicy: Equivalent, namespaceSelector: {}, objectSelector: {}, resourceRules: [{resources: [pods], scope: "*"}]}}}`,
	},
	"mutating binding, own values": {in: `{apiVersion: admissionregistration.k8s.io/v1, kind: MutatingAdmissionPolicyBinding, metadata: {name: p}, spec: {policyName: p, matchResources: {matchPolicy: Exact, namespaceSelector: {matchLabels: {a: b}}, objectSelector: {matchLabels: {a: b}}}}}`},
}
