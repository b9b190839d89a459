package source

import (
	"errors"
	"fmt"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	corev1 "k8s.io/api/core/v1"

	"headway.dev/manifests/model/object"
	"headway.dev/syncer/fault"
	"headway.dev/syncer/flux"
	"headway.dev/syncer/git/remote"
)

// Secret reads a Secret of the source's namespace.
func Secret(stored object.Reader, namespace, name string) (map[string][]byte, error) {
	key := object.Key{GroupKind: flux.Secret, Namespace: namespace, Name: name}
	secret, ok := stored.Get(key).(*corev1.Secret)
	if !ok {
		return nil, fmt.Errorf("secrets %q not found", name)
	}
	return secret.Data, nil
}

// credentials are what the source's Secrets say about how to reach its
// repository, or nil.
func credentials(stored object.Reader, obj *sourcev1.GitRepository) (*remote.Auth, error) {
	app := obj.GetProvider() == sourcev1.GitProviderGitHub
	if app && obj.Spec.SecretRef == nil {
		return nil, fault.New(sourcev1.InvalidProviderConfigurationReason, errors.New("secretRef with github app data must be specified when provider is set to github"))
	}
	var auth *remote.Auth
	if ref := obj.Spec.SecretRef; ref != nil {
		data, err := Secret(stored, obj.Namespace, ref.Name)
		if err != nil {
			return nil, fault.New(sourcev1.AuthenticationFailedReason, fmt.Errorf("failed to get secret '%s/%s': %w", obj.Namespace, ref.Name, err))
		}
		if !app && len(data["githubAppID"]) > 0 {
			return nil, fault.New(sourcev1.InvalidProviderConfigurationReason,
				fmt.Errorf("secretRef '%s/%s' has github app data but provider is not set to github", obj.Namespace, ref.Name))
		}
		if auth, err = remote.AuthFromSecret(obj.Spec.URL, data); err == nil && app {
			auth.App, err = remote.AppFromSecret(obj.Spec.URL, data)
		}
		if err != nil {
			return nil, fault.New(sourcev1.AuthenticationFailedReason, fmt.Errorf("failed to configure authentication options: %w", err))
		}
	}
	if ref := obj.Spec.ProxySecretRef; ref != nil {
		data, err := Secret(stored, obj.Namespace, ref.Name)
		if err != nil {
			return nil, fault.New(sourcev1.AuthenticationFailedReason, fmt.Errorf("failed to get proxy secret '%s/%s': %w", obj.Namespace, ref.Name, err))
		}
		if auth == nil {
			auth = &remote.Auth{}
		}
		if auth.Proxy, err = remote.ProxyFromSecret(obj.Spec.URL, data); err != nil {
			return nil, fault.New(sourcev1.AuthenticationFailedReason, fmt.Errorf("invalid proxy secret '%s/%s': %w", obj.Namespace, ref.Name, err))
		}
	}
	return auth, nil
}
