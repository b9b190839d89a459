package writeback

import (
	"context"
	"encoding/json"
	"reflect"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kjson "k8s.io/apimachinery/pkg/util/json"

	"headway.dev/manifests/model/object"
	"headway.dev/manifests/yaml/edit"
	"headway.dev/manifests/yaml/load"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/git"
	"headway.dev/syncer/git/write"
	"headway.dev/syncer/plan"
	"headway.dev/syncer/source"
	"headway.dev/syncer/wire"
)

// asRevert writes the commit that takes back the one which changed the pod
// template last, if that is what the write asks for: kubectl rollout undo puts
// back the template of an older ReplicaSet. ok is false if the write is
// something else, or such a commit would change anything besides.
func (u *userWrite) asRevert(ctx context.Context, tip source.Head, branch string, before *view, base object.Object, author, committer git.Signature) (sha string, ok bool) {
	if !u.undoes() {
		return "", false
	}
	bad := ""
	err := u.s.Journal.Backwards(func(e wire.Entry) bool {
		if e.Type != wire.EntryApplied || e.Commit == nil || e.Kustomization != u.ks.Namespace+"/"+u.ks.Name {
			return true
		}
		for _, o := range e.Objects {
			if o.Group == u.key.Group && o.Kind == u.key.Kind && o.Namespace == u.key.Namespace && o.Name == u.key.Name &&
				slices.ContainsFunc(o.Fields, func(f string) bool { return partOf(f, "spec.template") }) {
				bad = e.Commit.SHA
				return false
			}
		}
		return true
	})
	if err != nil || bad == "" {
		return "", false
	}
	repo, err := tip.Repository()
	if err != nil {
		return "", false
	}
	sha, err = write.RevertOn(repo, tip.Commit, write.RevertOptions{
		Branch: branch, Commit: bad, Extra: "Undone through the API by " + git.OneLine(u.request.User) + ".", Author: author, Committer: committer, Key: u.s.SigningKey,
	})
	if err != nil {
		return "", false
	}
	after := tip.At(git.Head{Commit: sha})
	t, err := after.Tree(flux.Ignore(u.s.Env.Store, flux.SourceKey(u.ks)))
	if err != nil || u.verify(ctx, tip, t, before, base, []string{"the revert of " + bad}) != nil {
		return "", false
	}
	return sha, true
}

// undoes reports whether the write gives a Deployment the pod template of one of its
// older ReplicaSets.
func (u *userWrite) undoes() bool {
	next, ok := u.request.Next.(*appsv1.Deployment)
	old, _ := u.request.Old.(*appsv1.Deployment)
	if !ok || old == nil || !slices.ContainsFunc(u.changes, func(c fieldChange) bool { return strings.HasPrefix(c.path, "spec.template") }) {
		return false
	}
	list, _ := u.s.Env.Store.List(schema.GroupKind{Group: "apps", Kind: "ReplicaSet"}, u.key.Namespace)
	for _, o := range list {
		rs, ok := o.(*appsv1.ReplicaSet)
		if !ok || !slices.ContainsFunc(rs.OwnerReferences, func(r metav1.OwnerReference) bool { return r.UID == old.UID }) {
			continue
		}
		template := rs.Spec.Template.DeepCopy()
		delete(template.Labels, appsv1.DefaultDeploymentUniqueLabelKey)
		if equality.Semantic.DeepEqual(*template, next.Spec.Template) {
			return true
		}
	}
	return false
}

// written are the changes to write: those that ask only for the value that a
// new part has by default are left out.
func (u *userWrite) written(item load.Item, changes []fieldChange) []fieldChange {
	list := slices.Clone(changes)
	full, ok := u.withChanges(item, list)
	if !ok {
		return list
	}
	for i, c := range slices.Backward(changes) {
		// No label and no data has a default, and stringData hides what is written to data.
		if c.removed || strings.HasPrefix(c.path, "metadata.") || strings.HasPrefix(c.path, "data") {
			continue
		}
		less := slices.Delete(slices.Clone(list), i, i+1)
		if without, ok := u.withChanges(item, less); ok && equality.Semantic.DeepEqual(full, without) {
			list = less
		}
	}
	return list
}

// withChanges is the item's object with changes and defaults.
func (u *userWrite) withChanges(item load.Item, changes []fieldChange) (object.Object, bool) {
	doc, err := toDocument(item.Object)
	if err != nil {
		return nil, false
	}
	for _, c := range changes {
		if !c.removed {
			if doc, err = edit.Put(doc, c.path, c.value); err != nil {
				return nil, false
			}
		}
	}
	obj, err := fromDocument(doc, item.Object)
	if err != nil {
		return nil, false
	}
	return plan.WithDefaults(u.s.Env.Kinds, obj), true
}

func toDocument(obj object.Object) (any, error) {
	raw, err := json.Marshal(obj)
	if err != nil {
		return nil, err
	}
	var doc any
	return doc, kjson.Unmarshal(raw, &doc)
}

// fromDocument decodes a document into an object of the type of like.
func fromDocument(doc any, like object.Object) (object.Object, error) {
	raw, err := json.Marshal(doc)
	if err != nil {
		return nil, err
	}
	obj, _ := reflect.TypeAssert[object.Object](reflect.New(reflect.TypeOf(like).Elem()))
	return obj, json.Unmarshal(raw, obj)
}
