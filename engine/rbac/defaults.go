package rbac

import (
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"headway.dev/manifests/model/object"
)

// webhookRole lets Git servers reach where webhooks are checked.
const webhookRole = "headway:webhook"

// autoscalerRole lets the controller of HorizontalPodAutoscalers ask for metrics, which
// others may serve.
const autoscalerRole = "system:controller:horizontal-pod-autoscaler"

// bootstrapLabel marks the roles that every cluster has.
const bootstrapLabel = "kubernetes.io/bootstrapping"

var (
	readVerbs  = []string{"get", "list", "watch"}
	writeVerbs = []string{"create", "delete", "deletecollection", "patch", "update"}
	allVerbs   = []string{"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"}
	create     = []string{"create"}
	get        = []string{"get"}
	anything   = []string{"*"}
)

// on is a rule about resources of a group.
func on(verbs []string, group string, resources ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{Verbs: verbs, APIGroups: []string{group}, Resources: resources}
}

// at is a rule about paths.
func at(verbs []string, paths ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{Verbs: verbs, NonResourceURLs: paths}
}

// Defaults are the ClusterRoles and ClusterRoleBindings that every cluster has:
// Kubernetes' own for users, with their names and rules (those for kinds that
// are not served do no harm), and Headway's, named headway:….
func Defaults() []object.Object {
	var list []object.Object
	for _, roles := range [][]*rbacv1.ClusterRole{clusterRoles(), certificateRoles(), userRoles(), headwayRoles()} {
		for _, r := range roles {
			list = append(list, r)
		}
	}
	for _, b := range clusterRoleBindings() {
		list = append(list, b)
	}
	return list
}

func bootstrapMeta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name:        name,
		Labels:      map[string]string{bootstrapLabel: "rbac-defaults"},
		Annotations: map[string]string{rbacv1.AutoUpdateAnnotationKey: "true"},
	}
}

func clusterRole(name string, rules ...rbacv1.PolicyRule) *rbacv1.ClusterRole {
	return &rbacv1.ClusterRole{ObjectMeta: bootstrapMeta(name), Rules: rules}
}

// aggregateTo is the label of the roles that a user role gathers.
func aggregateTo(role string) string { return "rbac.authorization.k8s.io/aggregate-to-" + role }

// aggregated has the rules of another role gathered by that role.
func aggregated(to string, r *rbacv1.ClusterRole) *rbacv1.ClusterRole {
	r.Labels[aggregateTo(to)] = "true"
	return r
}

// aggregating is a user role, which gathers its rules.
func aggregating(name string) *rbacv1.ClusterRole {
	r := clusterRole(name)
	r.AggregationRule = &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{{MatchLabels: map[string]string{aggregateTo(name): "true"}}}}
	return r
}

func clusterRoles() []*rbacv1.ClusterRole {
	info := []string{"/livez", "/readyz", "/healthz", "/version", "/version/"}
	return []*rbacv1.ClusterRole{
		clusterRole("cluster-admin", on(anything, "*", "*"), at(anything, "*")),
		clusterRole("system:discovery", at(get, append(info, "/openapi", "/openapi/*", "/api", "/api/*", "/apis", "/apis/*")...)),
		clusterRole("system:public-info-viewer", at(get, info...)),
		clusterRole("system:monitoring", at(get, "/healthz", "/healthz/*", "/livez", "/livez/*", "/metrics", "/metrics/slis", "/readyz", "/readyz/*")),
		clusterRole(autoscalerRole,
			on([]string{"get", "list"}, "metrics.k8s.io", "pods"), on([]string{"get", "list"}, "custom.metrics.k8s.io", "*"),
			on([]string{"get", "list"}, "external.metrics.k8s.io", "*")),
		clusterRole("system:basic-user",
			on(create, "authorization.k8s.io", "selfsubjectaccessreviews", "selfsubjectrulesreviews"),
			on(create, "authentication.k8s.io", "selfsubjectreviews")),
		clusterRole("system:auth-delegator",
			on(create, "authentication.k8s.io", "tokenreviews"),
			on(create, "authorization.k8s.io", "subjectaccessreviews")),
		clusterRole("system:service-account-issuer-discovery",
			at(get, "/.well-known/openid-configuration", "/.well-known/openid-configuration/", "/openid/v1/jwks", "/openid/v1/jwks/")),
		clusterRole("system:kubelet-api-admin",
			on(readVerbs, "", "nodes"), on([]string{"proxy"}, "", "nodes"),
			on(anything, "", "nodes/log", "nodes/metrics", "nodes/proxy", "nodes/stats")),
	}
}

// Joining is the group of those who have a token of `headway token create`: they may ask
// for the certificate of a node.
const Joining = "system:bootstrappers:headway:default-node-token"

// Nodes is the group of all nodes.
const Nodes = "system:nodes"

// SelfNodeServer is the role of nodes by which their servers' certificates are approved,
// for addresses that are theirs.
const SelfNodeServer = "headway:certificatesigningrequests:selfnodeserver"

// AuthenticationReader is the Role in kube-system by which the servers of aggregated
// APIs learn whom requests are from.
const AuthenticationReader = "extension-apiserver-authentication-reader"

// AuthenticationReaderRole returns that Role.
func AuthenticationReaderRole() *rbacv1.Role {
	rule := on(readVerbs, "", "configmaps")
	rule.ResourceNames = []string{"extension-apiserver-authentication"}
	role := &rbacv1.Role{ObjectMeta: bootstrapMeta(AuthenticationReader), Rules: []rbacv1.PolicyRule{rule}}
	role.Namespace = metav1.NamespaceSystem
	return role
}

// certificateRoles are for those who ask for certificates and approve them.
func certificateRoles() []*rbacv1.ClusterRole {
	const group, requests, prefix = "certificates.k8s.io", "certificatesigningrequests", "system:certificates.k8s.io:"
	approver := func(signer string) *rbacv1.ClusterRole {
		rule := on([]string{"approve"}, group, "signers")
		rule.ResourceNames = []string{"kubernetes.io/" + signer}
		return clusterRole(prefix+signer+"-approver", rule)
	}
	return []*rbacv1.ClusterRole{
		clusterRole("system:node-bootstrapper", on([]string{"create", "get", "list", "watch"}, group, requests)),
		clusterRole(prefix+requests+":nodeclient", on(create, group, requests+"/nodeclient")),
		clusterRole(prefix+requests+":selfnodeclient", on(create, group, requests+"/selfnodeclient")),
		clusterRole(SelfNodeServer, on(create, group, requests+"/selfnodeserver")),
		approver("legacy-unknown"), approver("kubelet-serving"), approver("kube-apiserver-client"), approver("kube-apiserver-client-kubelet"),
	}
}

// userRoles are admin, edit and view, and what they gather.
func userRoles() []*rbacv1.ClusterRole {
	apps := []string{"statefulsets", "statefulsets/scale", "daemonsets", "deployments", "deployments/scale", "replicasets", "replicasets/scale"}
	return []*rbacv1.ClusterRole{
		aggregating("admin"),
		aggregated("admin", aggregating("edit")),
		aggregated("edit", aggregating("view")),
		aggregated("admin", clusterRole("system:aggregate-to-admin",
			on(create, "authorization.k8s.io", "localsubjectaccessreviews"),
			on(allVerbs, rbacv1.GroupName, "roles", "rolebindings"))),
		aggregated("edit", clusterRole("system:aggregate-to-edit",
			on(readVerbs, "", "pods/attach", "pods/proxy", "pods/exec", "pods/portforward", "secrets", "services/proxy"),
			on([]string{"impersonate"}, "", "serviceaccounts"),
			on(writeVerbs, "", "pods", "pods/attach", "pods/proxy", "pods/exec", "pods/portforward"),
			on([]string{"get", "patch", "update"}, "", "pods/resize"),
			on(create, "", "pods/eviction"),
			on(writeVerbs, "", "replicationcontrollers", "replicationcontrollers/scale", "serviceaccounts", "services", "services/proxy",
				"persistentvolumeclaims", "configmaps", "secrets", "events"),
			on(create, "", "serviceaccounts/token"),
			on(writeVerbs, "apps", append(apps, "deployments/rollback")...),
			on(writeVerbs, "autoscaling", "horizontalpodautoscalers"),
			on(writeVerbs, "batch", "jobs", "cronjobs"),
			on(writeVerbs, "policy", "poddisruptionbudgets"),
			on(writeVerbs, "networking.k8s.io", "networkpolicies", "ingresses"),
			on(allVerbs, "coordination.k8s.io", "leases"))),
		aggregated("view", aggregated("edit", aggregated("admin", clusterRole("system:aggregated-metrics-reader",
			on(readVerbs, "metrics.k8s.io", "pods", "nodes"))))),
		aggregated("view", clusterRole("system:aggregate-to-view",
			on(readVerbs, "", "pods", "replicationcontrollers", "replicationcontrollers/scale", "serviceaccounts", "services", "services/status",
				"endpoints", "persistentvolumeclaims", "persistentvolumeclaims/status", "configmaps"),
			on(readVerbs, "", "limitranges", "resourcequotas", "bindings", "events", "pods/status", "resourcequotas/status", "namespaces/status",
				"replicationcontrollers/status", "pods/log"),
			on(readVerbs, "", "namespaces"),
			on(readVerbs, "discovery.k8s.io", "endpointslices"),
			on(readVerbs, "apps", append(apps, "controllerrevisions", "statefulsets/status", "daemonsets/status", "deployments/status", "replicasets/status")...),
			on(readVerbs, "autoscaling", "horizontalpodautoscalers", "horizontalpodautoscalers/status"),
			on(readVerbs, "batch", "jobs", "cronjobs", "cronjobs/status", "jobs/status"),
			on(readVerbs, "policy", "poddisruptionbudgets", "poddisruptionbudgets/status"),
			on(readVerbs, "networking.k8s.io", "networkpolicies", "ingresses", "ingresses/status"))),
	}
}

// headwayRoles are for Headway's own API and kinds. Nobody but an administrator
// may write Kustomizations by default: one without a serviceAccountName acts
// with all rights.
func headwayRoles() []*rbacv1.ClusterRole {
	const api = "/headway/v1/"
	sources := on(readVerbs, "source.toolkit.fluxcd.io", "gitrepositories", "gitrepositories/status")
	kustomizations := on(readVerbs, "kustomize.toolkit.fluxcd.io", "kustomizations", "kustomizations/status")
	// The verbs sync and rollback are Headway's own: to patch a source or a
	// Kustomization is the right to deploy anything, with all rights.
	may := func(verbs ...string) []rbacv1.PolicyRule {
		return []rbacv1.PolicyRule{
			on(verbs, "source.toolkit.fluxcd.io", "gitrepositories"),
			on(get, "kustomize.toolkit.fluxcd.io", "kustomizations"),
		}
	}
	return []*rbacv1.ClusterRole{
		aggregated("view", clusterRole("headway:aggregate-to-view", sources, kustomizations,
			on(readVerbs, "gateway.networking.k8s.io", "gatewayclasses", "gateways", "gateways/status", "httproutes", "httproutes/status",
				"grpcroutes", "grpcroutes/status", "referencegrants"))),
		// Gateways open ports of all nodes: they are for whoever runs the cluster, and routes
		// for its users, as the Gateway API has its roles.
		aggregated("edit", clusterRole("headway:aggregate-to-edit", on(writeVerbs, "gateway.networking.k8s.io", "httproutes", "grpcroutes", "referencegrants"))),
		clusterRole("headway:view", at(get, api+"*"), sources, kustomizations),
		// Everybody's: what serves it asks for a signature.
		clusterRole(webhookRole, at([]string{"post"}, api+"hooks/*")),
		clusterRole("headway:plan", at(get, api+"*"), at([]string{"post"}, api+"plan"), sources, kustomizations),
		clusterRole("headway:sync", append(may("get", "sync"), at(get, api+"*"), at([]string{"post"}, api+"sync"))...),
		clusterRole("headway:rollback", append(may("get", "sync", "rollback"), at(get, api+"*"), at([]string{"post"}, api+"sync", api+"rollback"))...),
	}
}

// withdrawn are rules that default roles had once and must not have.
func withdrawn(role string) []rbacv1.PolicyRule {
	if role != "headway:sync" && role != "headway:rollback" {
		return nil
	}
	verbs := []string{"get", "patch"}
	return []rbacv1.PolicyRule{
		on(verbs, "source.toolkit.fluxcd.io", "gitrepositories"),
		on(verbs, "kustomize.toolkit.fluxcd.io", "kustomizations"),
	}
}

func clusterRoleBindings() []*rbacv1.ClusterRoleBinding {
	const authenticated, unauthenticated = "system:authenticated", "system:unauthenticated"
	bind := func(role string, groups ...string) *rbacv1.ClusterRoleBinding {
		b := &rbacv1.ClusterRoleBinding{
			ObjectMeta: bootstrapMeta(role),
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		}
		for _, g := range groups {
			b.Subjects = append(b.Subjects, rbacv1.Subject{Kind: rbacv1.GroupKind, APIGroup: rbacv1.GroupName, Name: g})
		}
		return b
	}
	named := func(name string, b *rbacv1.ClusterRoleBinding) *rbacv1.ClusterRoleBinding {
		b.Name = name
		return b
	}
	return []*rbacv1.ClusterRoleBinding{
		bind("cluster-admin", masters),
		bind("system:kubelet-api-admin", NodeClients),
		bind("system:monitoring", "system:monitoring"),
		bind("system:discovery", authenticated),
		bind("system:basic-user", authenticated),
		bind("system:public-info-viewer", authenticated, unauthenticated),
		bind(webhookRole, authenticated, unauthenticated),
		bind("system:service-account-issuer-discovery", "system:serviceaccounts"),
		named("headway:node-bootstrapper", bind("system:node-bootstrapper", Joining)),
		named("headway:node-autoapprove-bootstrap", bind("system:certificates.k8s.io:certificatesigningrequests:nodeclient", Joining)),
		named("headway:node-autoapprove-certificate-rotation", bind("system:certificates.k8s.io:certificatesigningrequests:selfnodeclient", Nodes)),
		bind(SelfNodeServer, Nodes),
		{
			ObjectMeta: bootstrapMeta(autoscalerRole),
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: autoscalerRole},
			Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: metav1.NamespaceSystem, Name: "horizontal-pod-autoscaler"}},
		},
	}
}
