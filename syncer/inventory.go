package syncer

import (
	"strings"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/object"
	"headway.dev/manifests/scheme"
)

// inventory is the status field's form of a list of keys.
func inventory(keys []object.Key) *kustomizev1.ResourceInventory {
	inv := &kustomizev1.ResourceInventory{Entries: make([]kustomizev1.ResourceRef, 0, len(keys))}
	for _, key := range keys {
		version := ""
		if k, ok := scheme.ForKind(key.GroupKind); ok {
			version = k.Version
		}
		inv.Entries = append(inv.Entries, kustomizev1.ResourceRef{
			ID: strings.Join([]string{key.Namespace, key.Name, key.Group, key.Kind}, "_"), Version: version,
		})
	}
	return inv
}

// inventoryOf reads the status's inventory; entries that are not
// <namespace>_<name>_<group>_<kind> are left out.
func inventoryOf(ks *kustomizev1.Kustomization) []object.Key {
	if ks.Status.Inventory == nil {
		return nil
	}
	keys := make([]object.Key, 0, len(ks.Status.Inventory.Entries))
	for _, e := range ks.Status.Inventory.Entries {
		// No part but the name of RBAC objects can hold an underscore, which
		// cli-utils writes as two; none of those is served.
		parts := strings.Split(e.ID, "_")
		if len(parts) != 4 {
			continue
		}
		keys = append(keys, object.Key{GroupKind: schema.GroupKind{Group: parts[2], Kind: parts[3]}, Namespace: parts[0], Name: parts[1]})
	}
	return keys
}

// defaultIgnore are the files that Flux leaves out of every artifact.
const defaultIgnore = `.git/
.gitignore
.gitmodules
.gitattributes
*.jpg
*.jpeg
*.gif
*.png
*.wmv
*.flv
*.tar.gz
*.zip
.github/
.circleci/
.travis.yml
.gitlab-ci.yml
appveyor.yml
.drone.yml
cloudbuild.yaml
codeship-services.yml
codeship-steps.yml
**/.goreleaser.yml
**/.sops.yaml
**/.flux.yaml
`

// ignoreOf is a source's patterns of files to leave out.
func (s *Syncer) ignoreOf(source object.Key) string {
	if obj, ok := s.cfg.Store.Get(source).(*sourcev1.GitRepository); ok && obj.Spec.Ignore != nil {
		return *obj.Spec.Ignore
	}
	return defaultIgnore
}
