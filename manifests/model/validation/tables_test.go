package validation_test

import (
	"flag"
	"strings"
	"testing"

	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/model/scheme"
)

// tables has the cases of each kind and view, by its name and group: what is
// wrong with an object when it is created, when it is changed, and in its
// status, in the words of Kubernetes.
var tables = map[string]func(t *testing.T){
	"ClusterRole.rbac.authorization.k8s.io":         clusterRoleCases,
	"ClusterRoleBinding.rbac.authorization.k8s.io":  clusterRoleBindingCases,
	"CertificateSigningRequest.certificates.k8s.io": signingRequestCases,
	"ConfigMap": configMapCases,
	"CustomResourceDefinition.apiextensions.k8s.io": definitionCases,
	"ControllerRevision.apps":                       revisionCases,
	"DaemonSet.apps":                                daemonSetCases,
	"Deployment.apps":                               deploymentCases,
	"EndpointSlice.discovery.k8s.io":                endpointSliceCases,
	"Endpoints":                                     endpointsCases,
	"Event":                                         eventCases,
	"Event.events.k8s.io":                           viewedEventCases,
	"FlowSchema.flowcontrol.apiserver.k8s.io":       flowSchemaCases,
	"GitRepository.source.toolkit.fluxcd.io":        gitRepositoryCases,
	"CronJob.batch":                                 cronJobCases,
	"Job.batch":                                     jobCases,
	"Kustomization.kustomize.toolkit.fluxcd.io":     kustomizationCases,
	"Lease.coordination.k8s.io":                     leaseCases,
	"LimitRange":                                    limitRangeCases,
	"MutatingAdmissionPolicy.admissionregistration.k8s.io":        mutatingPolicyCases,
	"MutatingAdmissionPolicyBinding.admissionregistration.k8s.io": mutatingBindingCases,
	"MutatingWebhookConfiguration.admissionregistration.k8s.io":   mutatingWebhookCases,
	"Namespace":                           namespaceCases,
	"NetworkPolicy.networking.k8s.io":     networkPolicyCases,
	"Node":                                nodeCases,
	"Pod":                                 podCases,
	"PersistentVolume":                    persistentVolumeCases,
	"PersistentVolumeClaim":               claimCases,
	"VolumeAttachment.storage.k8s.io":     attachmentCases,
	"StorageClass.storage.k8s.io":         storageClassCases,
	"PodDisruptionBudget.policy":          budgetCases,
	"HorizontalPodAutoscaler.autoscaling": autoscalerCases,
	"PodTemplate":                         podTemplateCases,
	"PriorityClass.scheduling.k8s.io":     priorityClassCases,
	"RuntimeClass.node.k8s.io":            runtimeClassCases,
	"Ingress.networking.k8s.io":           ingressCases,
	"IngressClass.networking.k8s.io":      ingressClassCases,
	"PriorityLevelConfiguration.flowcontrol.apiserver.k8s.io": priorityLevelCases,
	"StatefulSet.apps":                      statefulSetCases,
	"ReplicaSet.apps":                       replicaSetCases,
	"ReplicationController":                 replicationControllerCases,
	"ResourceQuota":                         resourceQuotaCases,
	"Role.rbac.authorization.k8s.io":        roleCases,
	"RoleBinding.rbac.authorization.k8s.io": roleBindingCases,
	"Secret":                                secretCases,
	"Service":                               serviceCases,
	"ServiceAccount":                        serviceAccountCases,
	"StorageVersionMigration.storagemigration.k8s.io":               migrationCases,
	"ValidatingAdmissionPolicy.admissionregistration.k8s.io":        validatingPolicyCases,
	"ValidatingAdmissionPolicyBinding.admissionregistration.k8s.io": validatingBindingCases,
	"ValidatingWebhookConfiguration.admissionregistration.k8s.io":   validatingWebhookCases,
}

// podCases are many: a group of them is a subtest.
func podCases(t *testing.T) {
	t.Helper()
	for name, cases := range map[string]func(*testing.T){
		"container": containerCases, "env": envCases, "resources": resourceCases, "probe": probeCases, "volumes": volumeCases,
		"spec": podSpecCases, "update": podUpdateCases, "status": podStatusCases,
	} {
		t.Run(name, cases)
	}
}

// refused counts the cases in which an object of a kind was refused, as they are
// run.
type refused struct{ created, changed, status int }

var shown = map[string]*refused{}

func shownOf(obj object.Object) *refused {
	name := ""
	if k, ok := scheme.ForObject(obj); ok {
		name = k.GroupKind().String()
	}
	return shownAs(name)
}

func shownAs(name string) *refused {
	if shown[name] == nil {
		shown[name] = &refused{}
	}
	return shown[name]
}

// TestRules runs the table of each served kind. A kind without one is a gap, and
// so is a table that never refuses a new object, a change, or, where a status has
// rules, a status.
func TestRules(t *testing.T) {
	served := map[string]kind.Rules[object.Object]{}
	for _, k := range scheme.Kinds() {
		if k.Kind != "APIService" { // whose cases are in a test of its own
			served[k.GroupKind().String()] = k.Rules
		}
	}
	for _, v := range scheme.Views() {
		served[v.GroupKind().String()] = kind.Rules[object.Object]{}
	}
	for name := range tables {
		if _, ok := served[name]; !ok {
			t.Errorf("there are cases of %s, which is not served", name)
		}
	}
	for name, rules := range served {
		t.Run(name, func(t *testing.T) {
			cases, ok := tables[name]
			if !ok {
				t.Fatal("it has no table of cases")
			}
			before := *shownAs(name)
			cases(t)
			now := *shownAs(name)
			if strings.Count(flag.Lookup("test.run").Value.String(), "/") > 1 {
				return // some of the cases were asked for
			}
			if now.created == before.created {
				t.Error("no case is refused when it is created")
			}
			if now.changed == before.changed {
				t.Error("no case is refused when it is changed")
			}
			if rules.Status != nil && now.status == before.status {
				t.Error("no case is refused in its status")
			}
		})
	}
}
