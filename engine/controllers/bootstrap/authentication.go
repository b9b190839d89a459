package bootstrap

import (
	"encoding/json"
	"fmt"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/engine/controllers/control"
	"headway.dev/engine/rbac"
	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

// authenticationName is the ConfigMap in which servers of aggregated APIs look up by
// whom requests are handed on to them.
const authenticationName = "extension-apiserver-authentication"

var readerKind = schema.GroupKind{Group: rbacv1.GroupName, Kind: "Role"}

// authentication writes the ConfigMap, and the Role of those who may read it.
func (c *controller) authentication(now time.Time) ([]change.Change, error) {
	if len(c.FrontProxyCA) == 0 {
		return nil, nil
	}
	want := map[string]string{"client-ca-file": string(c.ClientCA), "requestheader-client-ca-file": string(c.FrontProxyCA)}
	for key, list := range map[string][]string{
		"requestheader-allowed-names":        c.FrontProxyNames,
		"requestheader-username-headers":     {"X-Remote-User"},
		"requestheader-uid-headers":          {"X-Remote-Uid"},
		"requestheader-group-headers":        {"X-Remote-Group"},
		"requestheader-extra-headers-prefix": {"X-Remote-Extra-"},
	} {
		data, err := json.Marshal(list)
		if err != nil {
			return nil, fmt.Errorf("describe the front proxy: %w", err)
		}
		want[key] = string(data)
	}
	var changes []change.Change
	key := object.Key{GroupKind: control.ConfigMap, Namespace: metav1.NamespaceSystem, Name: authenticationName}
	changes = append(changes, c.configMap(key, want, now)...)
	role := rbac.AuthenticationReaderRole()
	if c.Store.Get(object.Key{GroupKind: readerKind, Namespace: role.Namespace, Name: role.Name}) == nil {
		changes = append(changes, change.Absent(change.Create(role, now)))
	}
	return changes, nil
}

// has reports whether data has all of want.
func has(data, want map[string]string) bool {
	for k, v := range want {
		if data[k] != v {
			return false
		}
	}
	return true
}
