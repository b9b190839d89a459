package render

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"headway.dev/manifests/model/object"
	"headway.dev/manifests/yaml/load"
	"headway.dev/manifests/yaml/sops"
	"headway.dev/manifests/yaml/substitute"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/plan"
	"headway.dev/syncer/rights"
)

// inputs are what a build depends on besides the files: values of variables,
// and keys. id differs for different ones, and is empty if there are none.
type inputs struct {
	vars     *substitute.Vars
	keys     *sops.Keys
	decrypts bool
	// blind leaves out what depends on Secrets that are not to be read.
	blind bool
	id    string
}

func (in inputs) options(o load.Options) load.Options {
	o.Substitute, o.Inputs = in.vars, in.id
	o.Blind = in.blind
	switch {
	case in.decrypts && in.blind && in.keys == nil:
		o.Decrypt = sops.Placeholders
	case in.decrypts:
		o.Decrypt = in.keys.Decrypt
	}
	return o
}

// ReadsFrom returns the ConfigMaps and Secrets that a build depends on.
func ReadsFrom(ks *kustomizev1.Kustomization) []object.Key {
	var keys []object.Key
	if d := ks.Spec.Decryption; d != nil && d.SecretRef != nil {
		keys = append(keys, object.Key{GroupKind: flux.Secret, Namespace: ks.Namespace, Name: d.SecretRef.Name})
	}
	if p := ks.Spec.PostBuild; p != nil {
		for _, ref := range p.SubstituteFrom {
			keys = append(keys, object.Key{GroupKind: schema.GroupKind{Kind: ref.Kind}, Namespace: ks.Namespace, Name: ref.Name})
		}
	}
	return keys
}

// inputs reads what the build depends on, as it is now, and remembers what to
// be woken for.
func (r *Renderer) inputs(ctx context.Context, ks *kustomizev1.Kustomization) (inputs, error) {
	r.mu.Lock()
	r.reads = ReadsFrom(ks)
	r.mu.Unlock()
	var in inputs
	if d := ks.Spec.Decryption; d != nil {
		in.decrypts = true
		if d.SecretRef == nil {
			in.id = "keys " + in.keys.ID()
		} else if read, err := r.mayRead(ctx, ks, d.SecretRef.Name); err != nil {
			return in, err
		} else if !read {
			in.blind, in.id = true, "no keys"
		} else {
			secret, ok := r.env.Store.Get(object.Key{GroupKind: flux.Secret, Namespace: ks.Namespace, Name: d.SecretRef.Name}).(*corev1.Secret)
			if !ok {
				return in, fmt.Errorf("cannot get %s decryption Secret '%s/%s': %w", d.Provider, ks.Namespace, d.SecretRef.Name, notFound(flux.Secret, d.SecretRef.Name))
			}
			var err error
			if in.keys, err = sops.ParseKeys(secret.Data); err != nil {
				return in, fmt.Errorf("failed to import data from %s decryption Secret '%s/%s': %w", d.Provider, ks.Namespace, d.SecretRef.Name, err)
			}
			in.id = "keys " + in.keys.ID()
		}
	}
	vars, err := r.variables(ctx, ks)
	if err != nil {
		return in, fmt.Errorf("post build failed: %w", err)
	}
	if vars != nil {
		in.vars = vars
		in.blind = in.blind || vars.Partial()
		in.id += " vars " + vars.ID()
	}
	return in, nil
}

// mayRead reports whether a Secret of the Kustomization's namespace is to be
// read. It fails if whom the Kustomization acts as may not: who may declare a
// Kustomization could else read by it what its account may not. A plan does
// without those that its caller may not read, whether they exist or not.
func (r *Renderer) mayRead(ctx context.Context, ks *kustomizev1.Kustomization, name string) (bool, error) {
	key := object.Key{GroupKind: flux.Secret, Namespace: ks.Namespace, Name: name}
	acts, o := r.rights, r.forCaller
	if o != nil {
		acts = o.acts
	}
	if err := acts.Allowed(ctx, ks, "get", key); err != nil {
		return false, err
	}
	if o == nil || o.Sees(key) {
		return true, nil
	}
	if !slices.Contains(o.unread, key) {
		o.unread = append(o.unread, key)
	}
	return false, nil
}

// variables are those of spec.postBuild; nil if nothing is to be substituted.
// Later references override earlier ones, and those in the spec all of them.
func (r *Renderer) variables(ctx context.Context, ks *kustomizev1.Kustomization) (*substitute.Vars, error) {
	p := ks.Spec.PostBuild
	if p == nil {
		return nil, nil
	}
	vars := substitute.New()
	for _, ref := range p.SubstituteFrom {
		if ref.Kind == flux.Secret.Kind {
			if read, err := r.mayRead(ctx, ks, ref.Name); err != nil {
				return nil, err
			} else if !read {
				vars.Forget()
				continue
			}
		}
		key := object.Key{GroupKind: schema.GroupKind{Kind: ref.Kind}, Namespace: ks.Namespace, Name: ref.Name}
		values := map[string]string{}
		switch obj := r.env.Store.Get(key).(type) {
		case *corev1.ConfigMap:
			values = obj.Data
		case *corev1.Secret:
			for name, v := range obj.Data {
				values[name] = string(v)
			}
		default:
			if ref.Optional {
				continue
			}
			return nil, fmt.Errorf("substitute from '%s/%s' error: %w", ref.Kind, ref.Name, notFound(key.GroupKind, ref.Name))
		}
		if err := setAll(vars, values, ref.Kind == flux.Secret.Kind); err != nil {
			return nil, err
		}
	}
	if err := setAll(vars, p.Substitute, false); err != nil {
		return nil, err
	}
	if vars.Len() == 0 && !vars.Partial() && ks.GetSubstituteStrategy() != kustomizev1.SubstituteStrategyAlways {
		return nil, nil
	}
	return vars, nil
}

// setAll sets the variables in the order of their names, so that the same
// fault is named each time.
func setAll(vars *substitute.Vars, values map[string]string, secret bool) error {
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if err := vars.Set(name, values[name], secret); err != nil {
			return err
		}
	}
	return nil
}

func notFound(kind schema.GroupKind, name string) error {
	return apierrors.NewNotFound(plan.Resource(object.Key{GroupKind: kind}), name)
}

// InputsID identifies the inputs, or what is wrong with them, for attempts.
func (r *Renderer) InputsID(ctx context.Context, ks *kustomizev1.Kustomization) string {
	in, err := r.inputs(ctx, ks)
	if errors.Is(err, rights.ErrUnanswered) {
		return rights.ErrUnanswered.Error() // whatever it failed by this time
	}
	if err != nil {
		return err.Error()
	}
	return in.id
}

// Depends reports whether what was built last depends on an object besides the
// files.
func (r *Renderer) Depends(key object.Key) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Contains(r.reads, key)
}
