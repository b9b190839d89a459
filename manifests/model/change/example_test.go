package change_test

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"

	"headway.dev/manifests/model/change"
	"headway.dev/manifests/model/object"
)

// A controller scales a deployment. The store calls Mutate with what it has.
func ExamplePatch() {
	created, err := change.Create(deployment(nil), now).Mutate(nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	scale := change.Patch(key("Deployment", "shop", "web"), func(obj object.Object) bool {
		*obj.(*appsv1.Deployment).Spec.Replicas = 3
		return true
	})
	scaled, err := scale.Mutate(created)
	if err != nil {
		fmt.Println(err)
		return
	}
	again, _ := scale.Mutate(scaled)
	fmt.Println(scale.Key, "generation", scaled.GetGeneration(), "written again:", again != scaled)
	// Output: Deployment.apps/shop/web generation 2 written again: false
}
