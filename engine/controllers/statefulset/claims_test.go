package statefulset

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"headway.dev/manifests/model/kind"
	"headway.dev/manifests/model/kinds/apps"
)

// A claim is written as its name and by whom it is owned: set, pod, oldset, oldpod (of
// the same names, but others), loose (the set, which does not control it), other (somebody
// who controls it), friend (somebody who does not); or deleted.
func newClaims(set *appsv1.StatefulSet, lines ...string) func(string) *corev1.PersistentVolumeClaim {
	claims := map[string]*corev1.PersistentVolumeClaim{}
	for _, line := range lines {
		words := strings.Fields(line)
		claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: words[0]}}
		_, pod, _ := strings.Cut(claim.Name, "-")
		own := func(kind, name, uid string, controls bool) {
			version := map[string]string{"Pod": "v1", "StatefulSet": "apps/v1", "Disk": "example.com/v1"}[kind]
			claim.OwnerReferences = append(claim.OwnerReferences, metav1.OwnerReference{APIVersion: version, Kind: kind, Name: name, UID: types.UID(uid), Controller: &controls})
		}
		for _, word := range words[1:] {
			switch word {
			case "set":
				own("StatefulSet", set.Name, "set", true)
			case "oldset":
				own("StatefulSet", set.Name, "before", true)
			case "loose":
				own("StatefulSet", set.Name, "set", false)
			case "pod":
				own("Pod", pod, pod, true)
			case "oldpod":
				own("Pod", pod, "before", true)
			case "other":
				own("Disk", "disk", "disk", true)
			case "friend":
				own("Disk", "disk", "disk", false)
			case "deleted":
				claim.DeletionTimestamp = &metav1.Time{Time: now}
			}
		}
		claims[claim.Name] = claim
	}
	return func(name string) *corev1.PersistentVolumeClaim { return claims[name] }
}

// ownersOf are the owners of a claim, each with a space before it.
func ownersOf(claim *corev1.PersistentVolumeClaim) (text string) {
	for _, ref := range claim.OwnerReferences {
		text += " " + string(ref.UID)
	}
	return text
}

// TestDecideClaims: the cases are those of the table of owners, and what Kubernetes'
// controller says of claims that are not as they should be.
func TestDecideClaims(t *testing.T) {
	for name, tc := range map[string]struct {
		set          string
		pods, claims []string
		want         string
	}{
		"with the first pod":                    {set: "2 claims=data+log", want: "+data-db-0, +log-db-0, +0 new"},
		"all at once":                           {set: "2 claims=data parallel", want: "+data-db-0, +data-db-1, +0 new, +1 new"},
		"one is there":                          {set: "2 claims=data+log", claims: []string{"log-db-0"}, want: "+data-db-0, +0 new"},
		"all are there":                         {set: "1 claims=data", claims: []string{"data-db-0"}, want: "+0 new"},
		"it goes with the set":                  {set: "1 claims=data whendeleted", want: "+data-db-0 set, +0 new"},
		"one that is there goes with the set":   {set: "1 claims=data whendeleted", claims: []string{"data-db-0"}, want: "=data-db-0 set, +0 new"},
		"it goes when it is too many":           {set: "1 claims=data whenscaled", want: "+data-db-0, +0 new"},
		"it goes in any case":                   {set: "1 claims=data whenscaled whendeleted", want: "+data-db-0 set, +0 new"},
		"all is well":                           {set: "1 claims=data", pods: []string{"0 new ready"}, claims: []string{"data-db-0"}},
		"all is well, and goes with the set":    {set: "1 claims=data whendeleted", pods: []string{"0 new ready"}, claims: []string{"data-db-0 set"}},
		"from now on it stays":                  {set: "1 claims=data", pods: []string{"0 new ready"}, claims: []string{"data-db-0 set"}, want: "=data-db-0"},
		"from now on it goes with the set":      {set: "1 claims=data whendeleted", pods: []string{"0 new ready"}, claims: []string{"data-db-0"}, want: "=data-db-0 set"},
		"nothing before the pod is available":   {set: "1 claims=data whendeleted minready=5", pods: []string{"0 new young"}, claims: []string{"data-db-0"}, want: "4s"},
		"a pod that waits has lost its claim":   {set: "1 claims=data", pods: []string{"0 new"}, want: "+data-db-0"},
		"a pod that runs has lost its claim":    {set: "1 claims=data", pods: []string{"0 new ready"}},
		"one pod too many, its claim stays":     {set: "1 claims=data", pods: []string{"0 new ready", "1 new ready"}, claims: []string{"data-db-0", "data-db-1"}, want: "-1"},
		"one pod too many, its claim goes":      {set: "1 claims=data whenscaled", pods: []string{"0 new ready", "1 new ready"}, claims: []string{"data-db-0", "data-db-1"}, want: "=data-db-1 db-1, -1"},
		"from the set's to the pod's":           {set: "1 claims=data whenscaled whendeleted", pods: []string{"0 new ready", "1 new ready"}, claims: []string{"data-db-0 set", "data-db-1 set"}, want: "=data-db-1 db-1, -1"},
		"it stays the set's when it is scaled":  {set: "1 claims=data whendeleted", pods: []string{"0 new ready", "1 new ready"}, claims: []string{"data-db-0 set", "data-db-1 set"}, want: "-1"},
		"two too many, one after the other":     {set: "1 claims=data whenscaled", pods: []string{"0 new ready", "1 new ready", "2 new ready"}, claims: []string{"data-db-0", "data-db-1", "data-db-2"}, want: "=data-db-2 db-2, =data-db-1 db-1, -2"},
		"the second of them is wanted again":    {set: "2 claims=data whenscaled", pods: []string{"0 new ready", "1 new ready"}, claims: []string{"data-db-0", "data-db-1 pod"}, want: "=data-db-1"},
		"it goes with a pod that goes":          {set: "2 claims=data whenscaled", pods: []string{"0 new ready", "1 new ready deleted"}, claims: []string{"data-db-0", "data-db-1 pod"}},
		"it stays, which parallel is in time":   {set: "2 claims=data whenscaled parallel", pods: []string{"0 new ready", "1 new ready deleted"}, claims: []string{"data-db-0", "data-db-1 pod"}, want: "=data-db-1"},
		"it goes with a pod that is gone":       {set: "2 claims=data whenscaled", pods: []string{"0 new ready"}, claims: []string{"data-db-0", "data-db-1 oldpod"}},
		"the others do not wait for it":         {set: "3 claims=data whenscaled parallel", pods: []string{"0 new ready"}, claims: []string{"data-db-0", "data-db-1 oldpod"}, want: "+data-db-2, +2 new"},
		"of a pod that is gone, and kept":       {set: "1 claims=data", claims: []string{"data-db-0 oldpod"}, want: "+0 new"},
		"one that is being deleted":             {set: "1 claims=data+log", claims: []string{"data-db-0 deleted"}, want: "+log-db-0, FailedCreate"},
		"a pod waits for one that is deleted":   {set: "1 claims=data", pods: []string{"0 new"}, claims: []string{"data-db-0 deleted"}},
		"of a set that is gone":                 {set: "1 claims=data whendeleted", pods: []string{"0 new ready"}, claims: []string{"data-db-0 oldset"}},
		"somebody else controls it":             {set: "1 claims=data whendeleted", pods: []string{"0 new ready"}, claims: []string{"data-db-0 other"}},
		"somebody else controls it, too":        {set: "1 claims=data whendeleted", pods: []string{"0 new ready"}, claims: []string{"data-db-0 other set"}, want: "=data-db-0 disk, ConflictingController"},
		"somebody else controls a new pod's":    {set: "1 claims=data whendeleted", claims: []string{"data-db-0 other"}, want: "+0 new, ConflictingController"},
		"somebody else controls it, no matter":  {set: "1 claims=data", claims: []string{"data-db-0 other"}, want: "+0 new"},
		"the set owns it and is to control it":  {set: "1 claims=data whendeleted", pods: []string{"0 new ready"}, claims: []string{"data-db-0 loose"}, want: "=data-db-0 set"},
		"somebody else owns it":                 {set: "1 claims=data whendeleted", pods: []string{"0 new ready"}, claims: []string{"data-db-0 friend"}, want: "=data-db-0 disk set"},
		"nothing of a set that is deleted":      {set: "1 claims=data deleted", pods: []string{"0 new ready", "1 new ready"}, claims: []string{"data-db-0 set"}},
		"those of a pod that has failed stay":   {set: "1 claims=data whenscaled", pods: []string{"0 new failed"}, claims: []string{"data-db-0"}, want: "-0"},
		"numbers that start later":              {set: "1 claims=data whenscaled start=1", pods: []string{"0 new ready", "1 new ready"}, claims: []string{"data-db-0", "data-db-1"}, want: "=data-db-0 db-0, -0"},
		"of the same name twice":                {set: "1 claims=data+data", want: "+data-db-0, +0 new"},
		"an update keeps them":                  {set: "1 claims=data whenscaled whendeleted", pods: []string{"0 old ready"}, claims: []string{"data-db-0 set"}, want: "-0"},
		"a pod too many waits for one that ...": {set: "1 claims=data whenscaled", pods: []string{"0 new", "1 new ready"}, claims: []string{"data-db-0", "data-db-1"}},
	} {
		t.Run(name, func(t *testing.T) {
			set := newSet(tc.set)
			plan := Decide(Input{Set: set, Pods: newPods(set, tc.pods...), Claim: newClaims(set, tc.claims...), Current: "old", Update: "new", Now: now})
			if got := words(set, plan); got != tc.want {
				t.Errorf("Decide = %q, want %q", got, tc.want)
			}
		})
	}
}

func TestClaimsOf(t *testing.T) {
	set := newSet("1 claims=data")
	template := &set.Spec.VolumeClaimTemplates[0]
	template.Annotations, template.Spec.VolumeName = map[string]string{"a": "b"}, "disk"
	want := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{
		Namespace: "shop", Name: "data-db-7", Labels: map[string]string{"disk": "fast", "app": "db"}, Annotations: map[string]string{"a": "b"},
	}, Spec: corev1.PersistentVolumeClaimSpec{VolumeName: "disk"}}
	if diff := cmp.Diff([]kind.PodClaim{{Volume: "data", Claim: want}}, apps.Claims(set, 7)); diff != "" {
		t.Errorf("claims (-want +got):\n%s", diff)
	}
	pod := newPod(set, &corev1.PodTemplateSpec{Spec: corev1.PodSpec{Volumes: []corev1.Volume{{Name: "tmp"}, {Name: "data"}}}}, "new", 7)
	var volumes []string
	for _, v := range pod.Spec.Volumes {
		if v.PersistentVolumeClaim != nil {
			v.Name += "=" + v.PersistentVolumeClaim.ClaimName
		}
		volumes = append(volumes, v.Name)
	}
	if got := strings.Join(volumes, " "); got != "data=data-db-7 tmp" {
		t.Errorf("volumes: %s", got)
	}
	for name, want := range map[string]bool{"data-db-7": true, "data-db": false, "data-db-x": false, "data-db-07": false, "log-db-7": false, "data-other-7": false} {
		if got := hasClaim(set, name); got != want {
			t.Errorf("hasClaim(%s) = %t", name, got)
		}
	}
}

// TestClaimsFollowPolicy: however a set is scaled and whenDeleted changed, and in whatever
// order pods start and go, there are in the end the claims that there should be: those of
// its pods, owned as the policy says, and of others only such as were kept. No claim of
// a pod that stays is ever deleted.
func TestClaimsFollowPolicy(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := []string{"claims=data"}
		if rapid.Bool().Draw(t, "parallel") {
			text = append(text, "parallel")
		}
		set := newSet(strings.Join(text, " "))
		claims, pods, serial := map[string]*corev1.PersistentVolumeClaim{}, map[string]*corev1.Pod{}, 0
		policies := rapid.SampledFrom([]appsv1.PersistentVolumeClaimRetentionPolicyType{"Retain", "Delete"})
		p := set.Spec.PersistentVolumeClaimRetentionPolicy
		p.WhenScaled = policies.Draw(t, "when scaled")
		change := func() {
			set.Spec.Replicas, p.WhenDeleted = new(rapid.Int32Range(0, 4).Draw(t, "replicas")), policies.Draw(t, "when deleted")
		}
		change()
		for step := 0; ; step++ {
			if step > 1000 {
				t.Fatalf("it comes to no rest: %v, %v", claims, pods)
			}
			plan := Decide(Input{
				Set: set, Pods: slices.Collect(maps.Values(pods)), Current: "new", Update: "new", Now: now,
				Claim: func(name string) *corev1.PersistentVolumeClaim { return claims[name] },
			})
			for _, c := range plan.Claims {
				if claims[c.Claim.Name] != nil {
					t.Fatalf("%s is made twice", c.Claim.Name)
				}
				claims[c.Claim.Name] = c.Claim
			}
			for _, o := range plan.Own {
				if !reown(set, o)(claims[o.Claim.Name]) {
					t.Fatalf("%s had these owners", o.Claim.Name)
				}
			}
			for _, c := range plan.Create {
				pod := newPods(set, fmt.Sprintf("%d new", c.Ordinal))[0]
				serial++
				pod.UID = types.UID(fmt.Sprint("pod-", serial))
				if claims["data-"+pod.Name] == nil {
					t.Fatalf("%s is made before its claim", pod.Name)
				}
				pods[pod.Name] = pod
			}
			for _, pod := range plan.Delete {
				pod.DeletionTimestamp = &metav1.Time{Time: now}
			}
			moves := slices.Sorted(maps.Keys(pods))
			// The garbage collector.
			var garbage []string
			for name, claim := range claims {
				if refs := claim.OwnerReferences; len(refs) > 0 && !slices.ContainsFunc(refs, func(r metav1.OwnerReference) bool {
					return r.UID == "set" || pods[r.Name] != nil && pods[r.Name].UID == r.UID
				}) {
					garbage = append(garbage, name)
				}
			}
			slices.Sort(garbage)
			moves = append(moves, garbage...)
			if step < 50 && rapid.IntRange(0, 3).Draw(t, "change") == 0 {
				change()
				continue
			}
			moves = slices.DeleteFunc(moves, func(name string) bool { p := pods[name]; return p != nil && p.DeletionTimestamp == nil && runs(p) })
			if len(moves) == 0 {
				if len(plan.Claims)+len(plan.Own)+len(plan.Create)+len(plan.Delete) == 0 {
					break
				}
				continue
			}
			name := rapid.SampledFrom(moves).Draw(t, "moves")
			switch pod := pods[name]; {
			case pod == nil:
				if now := pods[strings.TrimPrefix(name, "data-")]; now != nil {
					t.Fatalf("%s is deleted, and %s is there", name, now.Name)
				}
				delete(claims, name)
			case pod.DeletionTimestamp != nil:
				delete(pods, name)
			default:
				pod.Status = newPods(set, "0 new ready")[0].Status
			}
		}
		size := int(*set.Spec.Replicas)
		_, deleted := policy(set)
		for i := range 4 {
			claim := claims[fmt.Sprint("data-db-", i)]
			switch {
			case i < size && (claim == nil || pods[fmt.Sprint("db-", i)] == nil):
				t.Fatalf("number %d has the claim %v", i, claim)
			case i < size && (ownersOf(claim) == " set") != deleted, i < size && ownersOf(claim) != "" && !deleted:
				t.Fatalf("claim %d is owned by%s", i, ownersOf(claim))
			case i >= size && claim != nil && strings.Contains(ownersOf(claim), "pod"):
				t.Fatalf("claim %d is left, and is owned by%s", i, ownersOf(claim))
			}
		}
	})
}
