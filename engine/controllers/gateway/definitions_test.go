package gateway_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"

	"headway.dev/engine/controllers/gateway"
	pure "headway.dev/manifests/gateway"
)

// What is packed is what the module has, of the version that is named. If it is not:
// go generate ./engine/controllers/gateway
func TestDefinitions(t *testing.T) {
	list, err := gateway.Definitions()
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/gateway-api").Output()
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 5 {
		t.Errorf("there are %d definitions", len(list))
	}
	for _, got := range list {
		text, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(out)), "config/crd/standard", "gateway.networking.k8s.io_"+got.Spec.Names.Plural+".yaml"))
		if err != nil {
			t.Fatal(err)
		}
		want := &apiextensionsv1.CustomResourceDefinition{}
		if err := yaml.Unmarshal(text, want); err != nil {
			t.Fatal(err)
		}
		want.Status = apiextensionsv1.CustomResourceDefinitionStatus{}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s is another one in the module", got.Name)
		}
		if v := got.Annotations["gateway.networking.k8s.io/bundle-version"]; v != pure.Version {
			t.Errorf("%s is of the version %s, want %s", got.Name, v, pure.Version)
		}
	}
}
