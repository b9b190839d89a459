package defaults_test

// cases are manifests and what the API makes of them; without want, nothing:
// everything that has a default is given, with another value. There are more in
// given_test.go.
var cases = map[string]struct{ in, want string }{
	"autoscaler": {
		in: `
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web}
spec: {scaleTargetRef: {kind: Deployment, name: web}, maxReplicas: 5, behavior: {scaleDown: {tolerance: 50m}}}
`,
		want: `
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web}
spec:
  scaleTargetRef: {kind: Deployment, name: web}
  minReplicas: 1
  maxReplicas: 5
  metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 80}}}]
  behavior:
    scaleUp: {stabilizationWindowSeconds: 0, selectPolicy: Max, policies: [{type: Pods, value: 4, periodSeconds: 15}, {type: Percent, value: 100, periodSeconds: 15}]}
    scaleDown: {selectPolicy: Max, policies: [{type: Percent, value: 100, periodSeconds: 15}], tolerance: 50m}
status: {currentMetrics: null, desiredReplicas: 0}
`,
	},
	"resource quota": {
		in:   `{apiVersion: v1, kind: ResourceQuota, metadata: {name: q}, spec: {hard: {cpu: 0.0001, pods: 1}}}`,
		want: `{apiVersion: v1, kind: ResourceQuota, metadata: {name: q}, spec: {hard: {cpu: 1m, pods: "1"}}, status: {}}`,
	},
	"claim": {
		in:   `{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: c}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}`,
		want: `{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: c}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}, volumeMode: Filesystem}, status: {phase: Pending}}`,
	},
	"volume": {
		in:   `{apiVersion: v1, kind: PersistentVolume, metadata: {name: v}, spec: {accessModes: [ReadWriteOnce], capacity: {storage: 1Gi}, hostPath: {path: /srv}}}`,
		want: `{apiVersion: v1, kind: PersistentVolume, metadata: {name: v}, spec: {accessModes: [ReadWriteOnce], capacity: {storage: 1Gi}, hostPath: {path: /srv, type: ""}, persistentVolumeReclaimPolicy: Retain, volumeMode: Filesystem}, status: {phase: Pending}}`,
	},
	"storage class": {
		in:   `{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: s}, provisioner: example.com/disks}`,
		want: `{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: s}, provisioner: example.com/disks, reclaimPolicy: Delete, volumeBindingMode: Immediate}`,
	},
	"runtime class": {
		in:   `{apiVersion: node.k8s.io/v1, kind: RuntimeClass, metadata: {name: r}, handler: kata, overhead: {podFixed: {cpu: 0.0001}}}`,
		want: `{apiVersion: node.k8s.io/v1, kind: RuntimeClass, metadata: {name: r}, handler: kata, overhead: {podFixed: {cpu: 1m}}}`,
	},
	"priority class": {
		in:   `{apiVersion: scheduling.k8s.io/v1, kind: PriorityClass, metadata: {name: high}, value: 7}`,
		want: `{apiVersion: scheduling.k8s.io/v1, kind: PriorityClass, metadata: {name: high}, value: 7, preemptionPolicy: PreemptLowerPriority}`,
	},
	"limit range": {
		in: `
apiVersion: v1
kind: LimitRange
metadata: {name: limits}
spec:
  limits:
  - {type: Container, max: {cpu: 2}, min: {memory: 10Mi, cpu: 1}, default: {memory: 20Mi}}
  - {type: Container, defaultRequest: {cpu: 1}, min: {cpu: 500m, memory: 1Mi}}
  - {type: Pod, max: {cpu: 2}}
`,
		want: `
apiVersion: v1
kind: LimitRange
metadata: {name: limits}
spec:
  limits:
  - {type: Container, max: {cpu: "2"}, min: {memory: 10Mi, cpu: "1"}, default: {cpu: "2", memory: 20Mi}, defaultRequest: {cpu: "2", memory: 20Mi}}
  - {type: Container, defaultRequest: {cpu: "1", memory: 1Mi}, min: {cpu: 500m, memory: 1Mi}}
  - {type: Pod, max: {cpu: "2"}}
`,
	},
	"deployment": {
		in: `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      serviceAccount: web
      containers:
      - name: web
        image: web:1
        ports: [{containerPort: 80}]
        env: [{name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}]
        resources: {limits: {cpu: 100.5m}}
        readinessProbe: {httpGet: {port: 80}}
        livenessProbe: {grpc: {port: 80}}
        lifecycle: {preStop: {httpGet: {port: 80}}}
`,
		want: `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 1
  revisionHistoryLimit: 10
  progressDeadlineSeconds: 600
  strategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 25%, maxUnavailable: 25%}}
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      dnsPolicy: ClusterFirst
      restartPolicy: Always
      schedulerName: default-scheduler
      securityContext: {}
      serviceAccount: web
      serviceAccountName: web
      terminationGracePeriodSeconds: 30
      containers:
      - name: web
        image: web:1
        imagePullPolicy: IfNotPresent
        ports: [{containerPort: 80, protocol: TCP}]
        env: [{name: IP, valueFrom: {fieldRef: {apiVersion: v1, fieldPath: status.podIP}}}]
        resources: {limits: {cpu: 101m}}
        terminationMessagePath: /dev/termination-log
        terminationMessagePolicy: File
        readinessProbe: {failureThreshold: 3, periodSeconds: 10, successThreshold: 1, timeoutSeconds: 1, httpGet: {path: /, port: 80, scheme: HTTP}}
        livenessProbe: {failureThreshold: 3, periodSeconds: 10, successThreshold: 1, timeoutSeconds: 1, grpc: {port: 80, service: ""}}
        lifecycle: {preStop: {httpGet: {path: /, port: 80, scheme: HTTP}}}
`,
	},
	"deployment, recreate": {
		in: `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec: {replicas: 0, revisionHistoryLimit: 0, strategy: {type: Recreate}}
`,
		want: `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 0
  revisionHistoryLimit: 0
  progressDeadlineSeconds: 600
  strategy: {type: Recreate}
  template:
    metadata: {}
    spec: {dnsPolicy: ClusterFirst, restartPolicy: Always, schedulerName: default-scheduler, securityContext: {}, terminationGracePeriodSeconds: 30}
`,
	},
	"replica set": {
		in: `{apiVersion: apps/v1, kind: ReplicaSet, metadata: {name: web}}`,
		want: `
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: web}
status: {replicas: 0}
spec:
  replicas: 1
  template:
    metadata: {}
    spec: {dnsPolicy: ClusterFirst, restartPolicy: Always, schedulerName: default-scheduler, securityContext: {}, terminationGracePeriodSeconds: 30}
`,
	},
	"job": {
		in: `{apiVersion: batch/v1, kind: Job, metadata: {name: pi}, spec: {template: {metadata: {labels: {app: pi}}, spec: {restartPolicy: Never}}}}`,
		want: `
apiVersion: batch/v1
kind: Job
metadata: {name: pi, labels: {app: pi}}
spec:
  parallelism: 1
  completions: 1
  backoffLimit: 6
  completionMode: NonIndexed
  suspend: false
  manualSelector: false
  podReplacementPolicy: TerminatingOrFailed
  template:
    metadata: {labels: {app: pi}}
    spec: {dnsPolicy: ClusterFirst, restartPolicy: Never, schedulerName: default-scheduler, securityContext: {}, terminationGracePeriodSeconds: 30}
`,
	},
	"cron job": {
		in: `{apiVersion: batch/v1, kind: CronJob, metadata: {name: tick}, spec: {schedule: "* * * * *", jobTemplate: {spec: {template: {spec: {restartPolicy: Never}}}}}}`,
		want: `
apiVersion: batch/v1
kind: CronJob
metadata: {name: tick}
spec:
  schedule: "* * * * *"
  concurrencyPolicy: Allow
  suspend: false
  successfulJobsHistoryLimit: 3
  failedJobsHistoryLimit: 1
  jobTemplate:
    metadata: {}
    spec:
      template:
        metadata: {}
        spec: {dnsPolicy: ClusterFirst, restartPolicy: Never, schedulerName: default-scheduler, securityContext: {}, terminationGracePeriodSeconds: 30}
`,
	},
	"job with policies": {
		in: `{apiVersion: batch/v1, kind: Job, metadata: {name: pi}, spec: {parallelism: 3, backoffLimitPerIndex: 1, podFailurePolicy: {rules: [{action: Ignore, onPodConditions: [{type: DisruptionTarget}]}]}, template: {spec: {restartPolicy: Never}}}}`,
		want: `
apiVersion: batch/v1
kind: Job
metadata: {name: pi}
spec:
  parallelism: 3
  backoffLimit: 2147483647
  backoffLimitPerIndex: 1
  completionMode: NonIndexed
  suspend: false
  manualSelector: false
  podReplacementPolicy: Failed
  podFailurePolicy: {rules: [{action: Ignore, onPodConditions: [{type: DisruptionTarget, status: "True"}]}]}
  template:
    metadata: {}
    spec: {dnsPolicy: ClusterFirst, restartPolicy: Never, schedulerName: default-scheduler, securityContext: {}, terminationGracePeriodSeconds: 30}
`,
	},
	"daemon set": {
		in: `{apiVersion: apps/v1, kind: DaemonSet, metadata: {name: web}}`,
		want: `
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: web}
status: {currentNumberScheduled: 0, numberMisscheduled: 0, desiredNumberScheduled: 0, numberReady: 0}
spec:
  revisionHistoryLimit: 10
  selector: null
  updateStrategy: {type: RollingUpdate, rollingUpdate: {maxUnavailable: 1, maxSurge: 0}}
  template:
    metadata: {}
    spec: {containers: null, dnsPolicy: ClusterFirst, restartPolicy: Always, schedulerName: default-scheduler, securityContext: {}, terminationGracePeriodSeconds: 30}
`,
	},
	"stateful set": {
		in: `{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: web}}`,
		want: `
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: web}
status: {replicas: 0, availableReplicas: 0}
spec:
  replicas: 1
  revisionHistoryLimit: 10
  selector: null
  serviceName: ""
  podManagementPolicy: OrderedReady
  persistentVolumeClaimRetentionPolicy: {whenDeleted: Retain, whenScaled: Retain}
  updateStrategy: {type: RollingUpdate, rollingUpdate: {partition: 0, maxUnavailable: 1}}
  template:
    metadata: {}
    spec: {containers: null, dnsPolicy: ClusterFirst, restartPolicy: Always, schedulerName: default-scheduler, securityContext: {}, terminationGracePeriodSeconds: 30}
`,
	},
	"stateful set with claims": {
		in: `{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: web}, spec: {volumeClaimTemplates: [{metadata: {name: data}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}]}}`,
		want: `
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: web}
status: {replicas: 0, availableReplicas: 0}
spec:
  replicas: 1
  revisionHistoryLimit: 10
  selector: null
  serviceName: ""
  podManagementPolicy: OrderedReady
  persistentVolumeClaimRetentionPolicy: {whenDeleted: Retain, whenScaled: Retain}
  updateStrategy: {type: RollingUpdate, rollingUpdate: {partition: 0, maxUnavailable: 1}}
  template:
    metadata: {}
    spec: {containers: null, dnsPolicy: ClusterFirst, restartPolicy: Always, schedulerName: default-scheduler, securityContext: {}, terminationGracePeriodSeconds: 30}
  volumeClaimTemplates:
  - apiVersion: v1
    kind: PersistentVolumeClaim
    metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}, volumeMode: Filesystem}
    status: {phase: Pending}
`,
	},
	"replication controller": {
		in: `{apiVersion: v1, kind: ReplicationController, metadata: {name: web}, spec: {template: {metadata: {labels: {app: web}}}}}`,
		want: `
apiVersion: v1
kind: ReplicationController
metadata: {name: web, labels: {app: web}}
status: {replicas: 0}
spec:
  replicas: 1
  selector: {app: web}
  template:
    metadata: {labels: {app: web}}
    spec: {dnsPolicy: ClusterFirst, restartPolicy: Always, schedulerName: default-scheduler, securityContext: {}, terminationGracePeriodSeconds: 30}
`,
	},
	"replication controller without a template": {
		in:   `{apiVersion: v1, kind: ReplicationController, metadata: {name: web}}`,
		want: `{apiVersion: v1, kind: ReplicationController, metadata: {name: web}, spec: {replicas: 1}, status: {replicas: 0}}`,
	},
	"pod template": {
		in: `{apiVersion: v1, kind: PodTemplate, metadata: {name: web}, template: {spec: {restartPolicy: Never, containers: [{name: web, image: "web:1"}]}}}`,
		want: `
apiVersion: v1
kind: PodTemplate
metadata: {name: web}
template:
  metadata: {}
  spec:
    dnsPolicy: ClusterFirst
    restartPolicy: Never
    schedulerName: default-scheduler
    securityContext: {}
    terminationGracePeriodSeconds: 30
    containers: [{name: web, image: "web:1", imagePullPolicy: IfNotPresent, resources: {}, terminationMessagePath: /dev/termination-log, terminationMessagePolicy: File}]
`,
	},
	"pod": {
		in: `
apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  hostNetwork: true
  containers:
  - name: a
    image: a
    ports: [{containerPort: 80, protocol: UDP}]
    resources: {limits: {cpu: 1, memory: 1Gi}, requests: {cpu: 500m}}
`,
		want: `
apiVersion: v1
kind: Pod
metadata: {name: p}
status: {phase: Pending}
spec:
  hostNetwork: true
  dnsPolicy: ClusterFirst
  enableServiceLinks: true
  restartPolicy: Always
  schedulerName: default-scheduler
  securityContext: {}
  terminationGracePeriodSeconds: 30
  containers:
  - name: a
    image: a
    imagePullPolicy: Always
    ports: [{containerPort: 80, hostPort: 80, protocol: UDP}]
    resources: {limits: {cpu: "1", memory: 1Gi}, requests: {cpu: 500m, memory: 1Gi}}
    terminationMessagePath: /dev/termination-log
    terminationMessagePolicy: File
`,
	},
	"pod, amounts of its own, and a negative grace period": {
		in: `
apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  terminationGracePeriodSeconds: -5
  resources: {requests: {cpu: 2}}
  containers:
  - {name: a, image: "a:1", resources: {limits: {cpu: 1, memory: 1Gi}}}
  - {name: b, image: "b:1", resources: {limits: {cpu: 2}}}
`,
		want: `
apiVersion: v1
kind: Pod
metadata: {name: p}
status: {phase: Pending}
spec:
  dnsPolicy: ClusterFirst
  enableServiceLinks: true
  restartPolicy: Always
  schedulerName: default-scheduler
  securityContext: {}
  terminationGracePeriodSeconds: 1
  resources: {requests: {cpu: "2"}}
  containers:
  - {name: a, image: "a:1", imagePullPolicy: IfNotPresent, resources: {limits: {cpu: "1", memory: 1Gi}, requests: {cpu: "1", memory: 1Gi}}, terminationMessagePath: /dev/termination-log, terminationMessagePolicy: File}
  - {name: b, image: "b:1", imagePullPolicy: IfNotPresent, resources: {limits: {cpu: "2"}, requests: {cpu: "2"}}, terminationMessagePath: /dev/termination-log, terminationMessagePolicy: File}
`,
	},
	"pod, own values": {
		in: `
apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  dnsPolicy: Default
  enableServiceLinks: false
  priorityClassName: system-node-critical
  restartPolicy: Never
  schedulerName: mine
  securityContext: {runAsUser: 1}
  serviceAccountName: own
  serviceAccount: older
  terminationGracePeriodSeconds: 0
  tolerations: [{operator: Exists}]
  resources: {limits: {cpu: 2, memory: 1Gi}}
  initContainers: [{name: i, image: "i:1", imagePullPolicy: Never, terminationMessagePath: /x, terminationMessagePolicy: FallbackToLogsOnError}]
  containers: [{name: a, image: "a:1", resources: {requests: {cpu: 500m}}}]
`,
		want: `
apiVersion: v1
kind: Pod
metadata: {name: p}
status: {phase: Pending}
spec:
  dnsPolicy: Default
  enableServiceLinks: false
  priorityClassName: system-node-critical
  restartPolicy: Never
  schedulerName: mine
  securityContext: {runAsUser: 1}
  serviceAccountName: own
  serviceAccount: own
  terminationGracePeriodSeconds: 0
  tolerations: [{operator: Exists}]
  resources: {limits: {cpu: "2", memory: 1Gi}}
  initContainers: [{name: i, image: "i:1", imagePullPolicy: Never, resources: {}, terminationMessagePath: /x, terminationMessagePolicy: FallbackToLogsOnError}]
  containers:
  - {name: a, image: "a:1", imagePullPolicy: IfNotPresent, resources: {requests: {cpu: 500m}}, terminationMessagePath: /dev/termination-log, terminationMessagePolicy: File}
`,
	},
	"volumes": {
		in: `
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: v}
spec:
  template:
    spec:
      volumes:
      - {name: none}
      - {name: host, hostPath: {path: /x}}
      - {name: secret, secret: {secretName: s}}
      - {name: config, configMap: {name: c}}
      - {name: mode, configMap: {name: c, defaultMode: 256}}
      - {name: down, downwardAPI: {items: [{path: a, fieldRef: {fieldPath: metadata.name}}]}}
      - {name: all, projected: {sources: [{downwardAPI: {items: [{path: a, fieldRef: {fieldPath: metadata.name}}]}}, {serviceAccountToken: {path: t}}]}}
      - {name: image, image: {reference: "i:1"}}
`,
		want: `
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: v}
status: {replicas: 0}
spec:
  replicas: 1
  template:
    metadata: {}
    spec:
      dnsPolicy: ClusterFirst
      restartPolicy: Always
      schedulerName: default-scheduler
      securityContext: {}
      terminationGracePeriodSeconds: 30
      volumes:
      - {name: none, emptyDir: {}}
      - {name: host, hostPath: {path: /x, type: ""}}
      - {name: secret, secret: {secretName: s, defaultMode: 420}}
      - {name: config, configMap: {name: c, defaultMode: 420}}
      - {name: mode, configMap: {name: c, defaultMode: 256}}
      - {name: down, downwardAPI: {defaultMode: 420, items: [{path: a, fieldRef: {apiVersion: v1, fieldPath: metadata.name}}]}}
      - {name: all, projected: {defaultMode: 420, sources: [{downwardAPI: {items: [{path: a, fieldRef: {apiVersion: v1, fieldPath: metadata.name}}]}}, {serviceAccountToken: {path: t, expirationSeconds: 3600}}]}}
      - {name: image, image: {reference: "i:1", pullPolicy: IfNotPresent}}
`,
	},
	"service": {
		in: `{apiVersion: v1, kind: Service, metadata: {name: s}, spec: {ports: [{port: 80}]}}`,
		want: `
apiVersion: v1
kind: Service
metadata: {name: s}
spec:
  type: ClusterIP
  sessionAffinity: None
  internalTrafficPolicy: Cluster
  ports: [{port: 80, protocol: TCP, targetPort: 80}]
`,
	},
	"service, load balancer": {
		in: `{apiVersion: v1, kind: Service, metadata: {name: s}, spec: {type: LoadBalancer, clusterIP: "fd00::1", sessionAffinity: ClientIP, ports: [{port: 80, targetPort: http}]}}`,
		want: `
apiVersion: v1
kind: Service
metadata: {name: s}
spec:
  type: LoadBalancer
  allocateLoadBalancerNodePorts: true
  clusterIP: fd00::1
  clusterIPs: ["fd00::1"]
  externalTrafficPolicy: Cluster
  sessionAffinity: ClientIP
  sessionAffinityConfig: {clientIP: {timeoutSeconds: 10800}}
  internalTrafficPolicy: Cluster
  ports: [{port: 80, protocol: TCP, targetPort: http}]
`,
	},
	"service, node port and headless": {
		in: `{apiVersion: v1, kind: Service, metadata: {name: s}, spec: {type: NodePort, clusterIP: None, ports: [{port: 80, protocol: UDP}]}}`,
		want: `
apiVersion: v1
kind: Service
metadata: {name: s}
spec:
  type: NodePort
  clusterIP: None
  clusterIPs: [None]
  externalTrafficPolicy: Cluster
  sessionAffinity: None
  internalTrafficPolicy: Cluster
  ports: [{port: 80, protocol: UDP, targetPort: 80}]
`,
	},
	"service, external name": {
		in:   `{apiVersion: v1, kind: Service, metadata: {name: s}, spec: {type: ExternalName, externalName: a.example}}`,
		want: `{apiVersion: v1, kind: Service, metadata: {name: s}, spec: {type: ExternalName, externalName: a.example, sessionAffinity: None}}`,
	},
	"secret": {
		in:   `{apiVersion: v1, kind: Secret, metadata: {name: s}, data: {a: b2xk, b: b2xk}, stringData: {a: new, c: new}}`,
		want: `{apiVersion: v1, kind: Secret, metadata: {name: s}, type: Opaque, data: {a: bmV3, b: b2xk, c: bmV3}}`,
	},
	"config map":    {in: `{apiVersion: v1, kind: ConfigMap, metadata: {name: c}}`},
	"lease":         {in: `{apiVersion: coordination.k8s.io/v1, kind: Lease, metadata: {name: c}}`, want: `{apiVersion: coordination.k8s.io/v1, kind: Lease, metadata: {name: c}, spec: {}}`},
	"namespace":     {in: `{apiVersion: v1, kind: Namespace, metadata: {name: x}}`, want: `{apiVersion: v1, kind: Namespace, metadata: {name: x, labels: {kubernetes.io/metadata.name: x}}, spec: {}, status: {phase: Active}}`},
	"node":          {in: `{apiVersion: v1, kind: Node, metadata: {name: x}, status: {capacity: {cpu: 1}}}`, want: `{apiVersion: v1, kind: Node, metadata: {name: x}, spec: {}, status: {capacity: {cpu: "1"}, allocatable: {cpu: "1"}, daemonEndpoints: {kubeletEndpoint: {Port: 0}}, nodeInfo: {machineID: "", systemUUID: "", bootID: "", kernelVersion: "", osImage: "", containerRuntimeVersion: "", kubeletVersion: "", kubeProxyVersion: "", operatingSystem: "", architecture: ""}}}`},
	"endpoints":     {in: `{apiVersion: v1, kind: Endpoints, metadata: {name: e}, subsets: [{addresses: [{ip: 10.0.0.1}], ports: [{port: 80}]}]}`, want: `{apiVersion: v1, kind: Endpoints, metadata: {name: e}, subsets: [{addresses: [{ip: 10.0.0.1}], ports: [{port: 80, protocol: TCP}]}]}`},
	"endpointslice": {in: `{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: e}, addressType: IPv4, endpoints: [], ports: [{port: 80}]}`, want: `{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: e}, addressType: IPv4, endpoints: [], ports: [{name: "", port: 80, protocol: TCP}]}`},
	"git repository": {
		in:   `{apiVersion: source.toolkit.fluxcd.io/v1, kind: GitRepository, metadata: {name: g}, spec: {url: "https://x.example/y", interval: 1m, verify: {secretRef: {name: k}}}}`,
		want: `{apiVersion: source.toolkit.fluxcd.io/v1, kind: GitRepository, metadata: {name: g}, spec: {url: "https://x.example/y", interval: 1m0s, timeout: 1m0s, verify: {mode: HEAD, secretRef: {name: k}}}}`,
	},
	"kustomization": {
		in:   `{apiVersion: kustomize.toolkit.fluxcd.io/v1, kind: Kustomization, metadata: {name: k}, spec: {interval: 1m, prune: true, sourceRef: {kind: GitRepository, name: g}}}`,
		want: `{apiVersion: kustomize.toolkit.fluxcd.io/v1, kind: Kustomization, metadata: {name: k}, spec: {interval: 1m0s, prune: true, sourceRef: {kind: GitRepository, name: g}}}`,
	},
	"kustomization, own values": {in: `{apiVersion: kustomize.toolkit.fluxcd.io/v1, kind: Kustomization, metadata: {name: k}, spec: {interval: 1m0s, prune: false, path: ./apps, sourceRef: {kind: GitRepository, name: g}}}`},
	"validating webhooks": {
		in: `
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: w}
webhooks:
- name: a.b.example
  clientConfig: {service: {namespace: shop, name: s}}
  rules: [{operations: [CREATE], apiGroups: [""], apiVersions: [v1], resources: [pods]}]
  sideEffects: None
  admissionReviewVersions: [v1]
`,
		want: `
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: w}
webhooks:
- name: a.b.example
  clientConfig: {service: {namespace: shop, name: s, port: 443}}
  rules: [{operations: [CREATE], apiGroups: [""], apiVersions: [v1], resources: [pods], scope: "*"}]
  failurePolicy: Fail
  matchPolicy: Equivalent
  namespaceSelector: {}
  objectSelector: {}
  sideEffects: None
  timeoutSeconds: 10
  admissionReviewVersions: [v1]
`,
	},
	"APIService": {
		in:   `{apiVersion: apiregistration.k8s.io/v1, kind: APIService, metadata: {name: v1.example.com}, spec: {service: {namespace: a, name: b}}}`,
		want: `{apiVersion: apiregistration.k8s.io/v1, kind: APIService, metadata: {name: v1.example.com}, spec: {service: {namespace: a, name: b, port: 443}, groupPriorityMinimum: 0, versionPriority: 0}, status: {}}`,
	},
	"mutating webhooks": {
		in:   `{apiVersion: admissionregistration.k8s.io/v1, kind: MutatingWebhookConfiguration, metadata: {name: w}, webhooks: [{name: a, clientConfig: {url: "https://x"}, sideEffects: None, admissionReviewVersions: [v1]}]}`,
		want: `{apiVersion: admissionregistration.k8s.io/v1, kind: MutatingWebhookConfiguration, metadata: {name: w}, webhooks: [{name: a, clientConfig: {url: "https://x"}, sideEffects: None, admissionReviewVersions: [v1], failurePolicy: Fail, matchPolicy: Equivalent, namespaceSelector: {}, objectSelector: {}, timeoutSeconds: 10, reinvocationPolicy: Never}]}`,
	},
	"validating policy": {
		in:   `{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingAdmissionPolicy, metadata: {name: p}, spec: {matchConstraints: {excludeResourceRules: [{resources: [pods]}]}}}`,
		want: `{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingAdmissionPolicy, metadata: {name: p}, spec: {failurePolicy: Fail, matchConstraints: {matchPolicy: Equivalent, namespaceSelector: {}, objectSelector: {}, excludeResourceRules: [{resources: [pods], scope: "*"}]}}, status: {}}`,
	},
	"validating binding": {
		in:   `{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingAdmissionPolicyBinding, metadata: {name: p}, spec: {policyName: p, matchResources: {}}}`,
		want: `{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingAdmissionPolicyBinding, metadata: {name: p}, spec: {policyName: p, matchResources: {matchPolicy: Equivalent, namespaceSelector: {}, objectSelector: {}}}}`,
	},
	"mutating policy": {
		in:   `{apiVersion: admissionregistration.k8s.io/v1, kind: MutatingAdmissionPolicy, metadata: {name: p}, spec: {matchConstraints: {resourceRules: [{resources: [pods]}]}}}`,
		want: `{apiVersion: admissionregistration.k8s.io/v1, kind: MutatingAdmissionPolicy, metadata: {name: p}, spec: {failurePolicy: Fail, matchConstraints: {matchPolicy: Equivalent, namespaceSelector: {}, objectSelector: {}, resourceRules: [{resources: [pods], scope: "*"}]}}}`,
	},
}
