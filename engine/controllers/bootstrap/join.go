package bootstrap

import (
	"fmt"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	bootstrapapi "k8s.io/cluster-bootstrap/token/api"

	"headway.dev/engine/controllers/control"
	"headway.dev/engine/pki"
	"headway.dev/engine/rbac"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
	"headway.dev/manifests/nodeconfig"
)

// Join is what machines that join are told.
type Join struct {
	// Server is the URL by which other machines reach the API; empty: they cannot, and
	// none joins.
	Server string
	// Nodes is what nodes are configured by.
	Nodes nodeconfig.Config
}

// The Roles, and RoleBindings, of those who may read these ConfigMaps.
const clusterInfoRole, nodeConfigRole = "headway:bootstrap-signer-clusterinfo", "headway:node-config"

// The label of the ConfigMaps that this controller has made.
const managedBy, manager = "app.kubernetes.io/managed-by", "headway"

var bindingKind = schema.GroupKind{Group: rbacv1.GroupName, Kind: "RoleBinding"}

// join publishes what machines need to join: cluster-info, with the API's address and
// authority, for everybody, as in clusters of kubeadm; and what nodes are configured by,
// for nodes.
func (c *controller) join(now time.Time) ([]change.Change, error) {
	info := object.Key{GroupKind: control.ConfigMap, Namespace: metav1.NamespacePublic, Name: bootstrapapi.ConfigMapClusterInfo}
	if c.Join.Server == "" {
		// What a former run told is not true any more; what somebody else tells is theirs.
		if told := c.Store.Get(info); told == nil || told.GetLabels()[managedBy] != manager {
			return nil, nil
		}
		return []change.Change{change.Delete(info, metav1.DeleteOptions{}, now)}, nil
	}
	kubeconfig, err := pki.ClusterInfo(c.Join.Server, c.ClientCA)
	if err != nil {
		return nil, fmt.Errorf("describe the cluster to machines that join: %w", err)
	}
	var changes []change.Change
	for key, want := range map[object.Key]map[string]string{
		info: {bootstrapapi.KubeConfigKey: string(kubeconfig)},
		{GroupKind: control.ConfigMap, Namespace: metav1.NamespaceSystem, Name: nodeconfig.Name}: c.Join.Nodes.Data(),
	} {
		changes = append(changes, c.configMap(key, want, now)...)
	}
	for _, r := range []struct {
		namespace, name, reads string
		who                    rbacv1.Subject
	}{
		{info.Namespace, clusterInfoRole, info.Name, rbacv1.Subject{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: "system:anonymous"}},
		{metav1.NamespaceSystem, nodeConfigRole, nodeconfig.Name, rbacv1.Subject{Kind: rbacv1.GroupKind, APIGroup: rbacv1.GroupName, Name: rbac.Nodes}},
	} {
		meta := metav1.ObjectMeta{Namespace: r.namespace, Name: r.name}
		rules := []rbacv1.PolicyRule{{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"configmaps"}, ResourceNames: []string{r.reads}}}
		if c.Store.Get(object.Key{GroupKind: readerKind, Namespace: r.namespace, Name: r.name}) == nil {
			changes = append(changes, change.Absent(change.Create(&rbacv1.Role{ObjectMeta: meta, Rules: rules}, now)))
		}
		if c.Store.Get(object.Key{GroupKind: bindingKind, Namespace: r.namespace, Name: r.name}) == nil {
			changes = append(changes, change.Absent(change.Create(&rbacv1.RoleBinding{
				ObjectMeta: meta, Subjects: []rbacv1.Subject{r.who}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: r.name},
			}, now)))
		}
	}
	return changes, nil
}

// configMap makes a ConfigMap have some data, and leaves what it has besides.
func (c *controller) configMap(key object.Key, want map[string]string, now time.Time) []change.Change {
	cm := control.Get[corev1.ConfigMap](c.Store, key)
	if cm == nil {
		return []change.Change{change.Absent(change.Create(&corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name, Labels: map[string]string{managedBy: manager}}, Data: want,
		}, now))}
	}
	if has(cm.Data, want) {
		return nil
	}
	return []change.Change{control.Present(change.Patch(key, func(obj object.Object) bool {
		cm := obj.(*corev1.ConfigMap)
		if cm.Data == nil {
			cm.Data = map[string]string{}
		}
		maps.Copy(cm.Data, want)
		return true
	}))}
}
