package pull

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/distribution/reference"
	corev1 "k8s.io/api/core/v1"

	"headway.dev/nodes/runtime"
)

type registryLogin struct {
	Username      string `json:"username"`
	Password      string `json:"password"`
	Auth          string `json:"auth"`
	IdentityToken string `json:"identitytoken"`
}

// Logins reads a dockerconfigjson or dockercfg secret. It returns every login
// that matches the image, in the kubelet's order: a registry with a path comes
// before the same one without. Its errors never contain the content.
func Logins(secret *corev1.Secret, image string) ([]runtime.Auth, error) {
	var auths map[string]registryLogin
	if data, ok := secret.Data[corev1.DockerConfigJsonKey]; ok {
		var file struct {
			Auths map[string]registryLogin `json:"auths"`
		}
		if json.Unmarshal(data, &file) != nil {
			return nil, fmt.Errorf("key %s is not valid JSON", corev1.DockerConfigJsonKey)
		}
		auths = file.Auths
	} else if data, ok := secret.Data[corev1.DockerConfigKey]; ok {
		if json.Unmarshal(data, &auths) != nil {
			return nil, fmt.Errorf("key %s is not valid JSON", corev1.DockerConfigKey)
		}
	} else {
		return nil, fmt.Errorf("neither key %s nor %s", corev1.DockerConfigJsonKey, corev1.DockerConfigKey)
	}
	ref, err := reference.ParseDockerRef(image)
	if err != nil {
		return nil, fmt.Errorf("image reference: %w", err)
	}
	var out []runtime.Auth
	for _, registry := range slices.Backward(slices.Sorted(maps.Keys(auths))) {
		login := auths[registry]
		if !loginMatches(registry, ref) {
			continue
		}
		if login.Auth != "" && login.Username == "" {
			plain, err := base64.StdEncoding.DecodeString(login.Auth)
			user, password, ok := strings.Cut(string(plain), ":")
			if err != nil || !ok {
				return nil, errors.New("an auth field is not base64 of user:password")
			}
			login.Username, login.Password = user, password
		}
		out = append(out, runtime.Auth{Username: login.Username, Password: login.Password, IdentityToken: login.IdentityToken})
	}
	return out, nil
}

// loginMatches compares a registry of a login with an image: the host has to be
// the same, a path has to be a prefix, and each part of the host may hold
// wildcards.
func loginMatches(registry string, image reference.Named) bool {
	registry = strings.TrimPrefix(strings.TrimPrefix(registry, "https://"), "http://")
	host, path, _ := strings.Cut(registry, "/")
	if host == "index.docker.io" || host == "registry-1.docker.io" {
		host = "docker.io"
	}
	path = strings.Trim(path, "/")
	if path == "v1" || path == "v2" {
		path = "" // the API's version, as docker login writes it
	}
	wantParts, haveParts := strings.Split(host, "."), strings.Split(reference.Domain(image), ".")
	if len(wantParts) != len(haveParts) {
		return false
	}
	for i := range wantParts {
		if ok, err := filepath.Match(wantParts[i], haveParts[i]); err != nil || !ok {
			return false
		}
	}
	return path == "" || reference.Path(image) == path || strings.HasPrefix(reference.Path(image), path+"/")
}
